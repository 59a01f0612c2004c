"""Which way a target is called."""

from __future__ import annotations

from gateway.upstream.base import Upstream, UpstreamAnswer, UpstreamRequest, UpstreamStream


class Upstreams:
    """An `Upstream` that relays a request in the format its target speaks and has any other translated."""

    def __init__(self, relay: Upstream, translated: Upstream) -> None:
        self._relay = relay
        self._translated = translated

    async def complete(self, request: UpstreamRequest) -> UpstreamAnswer:
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
        return self._relay if request.target.wire == request.surface.wire else self._translated
