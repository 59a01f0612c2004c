"""Collects the text of a streamed answer while its events pass."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from gateway.serving.turns import answer_text, normalised
from gateway.upstream.base import AnswerStream, RawHeaders
from gateway.upstream.json_text import parsed
from gateway.upstream.sse import is_last, payloads
from gateway.upstream.surfaces import CHAT, MESSAGES, Surface

_LONGEST: Final = 200_000
# Tuples, not sets, because the values to look up may be of any type.
_PLAIN_BLOCKS: Final = ("text", "thinking", "redacted_thinking")
_ENDINGS: Final = ("message_stop", "response.completed", "response.incomplete")


def ended_response(block: bytes) -> Mapping[str, Any] | None:
    """The whole of a streamed response, in the event that ends it; None where a block holds no such event."""
    if not any(kind.encode() in block for kind in _ENDINGS):
        return None
    for payload in payloads(block):
        try:
            event = parsed(payload)
        except ValueError:
            continue
        if isinstance(event, dict) and event.get("type") in _ENDINGS:
            whole = event.get("response")
            return whole if isinstance(whole, dict) else None
    return None


class StreamedText:
    """Collects the text of one answer.

    Attributes:
        is_over: Whether the answer is complete, even if more events come.
    """

    __slots__ = ("_is_plain", "_length", "_pieces", "_surface", "is_over")

    def __init__(self, surface: Surface) -> None:
        self._surface = surface
        self._pieces: list[str] = []
        self._length = 0
        self._is_plain = True
        self.is_over = False

    @property
    def text(self) -> str:
        """The text so far, normalised; empty if the answer is more than a text, or very long."""
        return normalised("".join(self._pieces)) if self._is_plain else ""

    @property
    def as_sent(self) -> str:
        """The text so far as it was sent; empty if the answer is more than a text, or very long."""
        return "".join(self._pieces) if self._is_plain else ""

    def read(self, block: bytes) -> None:
        """Take in a block of whole events."""
        for payload in payloads(block):
            try:
                event = parsed(payload)
            except ValueError:
                event = None
            if isinstance(event, dict):
                self._take(event)
            else:
                self._is_plain = False
        self.is_over = self.is_over or is_last(block)

    def _take(self, event: Mapping[str, Any]) -> None:
        if self._surface is CHAT:
            self._take_chunk(event)
            return
        kind = event.get("type")
        if self._surface is MESSAGES:
            self._take_message_event(kind, event)
        elif kind in _ENDINGS and isinstance(whole := event.get("response"), dict):
            self._add(answer_text(whole, self._surface))
        self.is_over = self.is_over or kind in _ENDINGS

    def _take_chunk(self, event: Mapping[str, Any]) -> None:
        choices = event.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            delta = choice.get("delta") if isinstance(choice, dict) else None
            if isinstance(delta, dict):
                self._add(delta.get("content"))
                called = delta.get("tool_calls") or delta.get("function_call")
                self._is_plain = self._is_plain and not called and not choice.get("index")

    def _take_message_event(self, kind: Any, event: Mapping[str, Any]) -> None:
        inner = event.get("content_block" if kind == "content_block_start" else "delta")
        if not isinstance(inner, dict):
            return
        if kind == "content_block_start":
            self._is_plain = self._is_plain and inner.get("type") in _PLAIN_BLOCKS
        if inner.get("type") in ("text", "text_delta"):
            self._add(inner.get("text"))

    def _add(self, piece: Any) -> None:
        if isinstance(piece, str):
            self._length += len(piece)
            self._is_plain = self._is_plain and self._length <= _LONGEST
            if self._is_plain:
                self._pieces.append(piece)


class ReadAlong:
    """A streamed answer whose text is read too.

    Args:
        stream: The answer.
        surface: The kind of request.
        complete: Called once with the whole text, before the last block passes.
    """

    __slots__ = ("_complete", "_is_complete", "_stream", "_text", "headers")

    def __init__(
        self, stream: AnswerStream, surface: Surface, complete: Callable[[str], Awaitable[None]]
    ) -> None:
        self.headers: RawHeaders = stream.headers
        self._stream = stream
        self._complete = complete
        self._text = StreamedText(surface)
        self._is_complete = False

    async def read(self) -> bytes:
        """The next block, unchanged."""
        block = await self._stream.read()
        if self._is_complete:
            return block
        self._text.read(block)
        if self._text.is_over or not block:
            self._is_complete = True
            await self._complete(self._text.text)
        return block

    async def aclose(self) -> None:
        """Close the stream."""
        await self._stream.aclose()
