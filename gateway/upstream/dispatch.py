"""Which way a target is called."""

from __future__ import annotations

from gateway.upstream.base import Upstream, UpstreamRequest, UpstreamStream


class Upstreams:
    """An `Upstream` that hands each request to the one that speaks its target's wire format."""

    def __init__(self, relay: Upstream, translated: Upstream) -> None:
        self._relay = relay
        self._translated = translated

    async def complete(self, request: UpstreamRequest) -> bytes:
        """See `Upstream.complete`."""
        return await self._of(request).complete(request)

    async def stream(self, request: UpstreamRequest) -> UpstreamStream:
        """See `Upstream.stream`."""
        return await self._of(request).stream(request)

    async def aclose(self) -> None:
        """See `Upstream.aclose`."""
        await self._relay.aclose()
        await self._translated.aclose()

    def _of(self, request: UpstreamRequest) -> Upstream:
        return self._relay if request.target.wire == "openai" else self._translated
