"""Tells what is missing of an answer once it has ended: what it lacks by itself, or how it broke off."""

from __future__ import annotations

from collections.abc import Callable

from gateway.config.feedback import Missing
from gateway.errors import UpstreamError
from gateway.experiments.substance import Substance
from gateway.serving.panel import missing_of
from gateway.upstream.base import AnswerStream, RawHeaders
from gateway.upstream.surfaces import Surface


def shortfall(body: bytes, surface: Surface) -> Missing | None:
    """What a whole answer lacks; None if nothing."""
    found = Substance(surface)
    found.take_answer(body)
    return found.shortfall


class WatchedEnd:
    """A streamed answer whose end says what is missing of it.

    Args:
        stream: The answer.
        surface: The kind of request; None if nothing is to be read from the answer itself.
        tell: Called once with what is missing: nothing if the answer is whole or its caller left.
    """

    __slots__ = ("_is_told", "_stream", "_substance", "_tell", "headers")

    def __init__(
        self, stream: AnswerStream, surface: Surface | None, tell: Callable[[Missing | None], None]
    ) -> None:
        self.headers: RawHeaders = stream.headers
        self._stream = stream
        self._substance = None if surface is None else Substance(surface)
        self._tell = tell
        self._is_told = False

    async def read(self) -> bytes:
        """The next block, unchanged."""
        try:
            block = await self._stream.read()
        except UpstreamError as error:
            self._end(missing_of(error))
            raise
        if self._substance is not None and not self._is_told:
            self._substance.take_block(block)
        if not block:
            self._end(None if self._substance is None else self._substance.shortfall)
        return block

    async def aclose(self) -> None:
        """Close the stream; if the answer has not ended, its caller wants no more of it."""
        found = self._substance
        self._end(found.shortfall if found is not None and found.has_ended else None)
        await self._stream.aclose()

    def _end(self, what: Missing | None) -> None:
        if not self._is_told:
            self._is_told = True
            self._tell(what)
