"""Chooses between relaying a request and translating it."""

from __future__ import annotations

from collections.abc import Mapping

from typing_extensions import override

from gateway.errors import UpstreamError
from gateway.upstream.base import AnswerStream, ModelTarget, Upstream, UpstreamAnswer, UpstreamRequest
from gateway.upstream.failures import unforeseen


class Upstreams(Upstream):
    """An `Upstream` that relays requests in the format of their target and has all others translated.

    It raises only `UpstreamError`, whatever the two raise: any other exception would count as the gateway's
    failure instead of the target's, and no fallback would answer.
    """

    def __init__(self, relay: Upstream, translated: Upstream) -> None:
        self._relay = relay
        self._translated = translated

    @override
    async def complete(self, request: UpstreamRequest) -> UpstreamAnswer:
        try:
            return await self._of(request).complete(request)
        except UpstreamError:
            raise
        except Exception as error:
            raise unforeseen(error) from error

    @override
    async def stream(self, request: UpstreamRequest) -> AnswerStream:
        try:
            return await self._of(request).stream(request)
        except UpstreamError:
            raise
        except Exception as error:
            raise unforeseen(error) from error

    @override
    def keep(self, targets: Mapping[str, ModelTarget]) -> None:
        self._relay.keep(targets)
        self._translated.keep(targets)

    @override
    async def aclose(self) -> None:
        await self._relay.aclose()
        await self._translated.aclose()

    def _of(self, request: UpstreamRequest) -> Upstream:
        return self._relay if request.target.speaks(request.surface) else self._translated
