"""Reads from an answer's own fields how it ended and whether it says anything: what it lacks, if anything.

Nothing is guessed from the words of an answer. A refusal is what the provider's format calls one:

    chat        `message.refusal`, or `finish_reason: content_filter`
    messages    `stop_reason: refusal`
    responses   a part of type `refusal`, or `incomplete_details.reason: content_filter`
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from gateway.config.feedback import Missing
from gateway.upstream.json_text import parsed
from gateway.upstream.sse import payloads
from gateway.upstream.surfaces import CHAT, MESSAGES, RESPONSES, Surface

_REFUSED_ENDS: Final = frozenset({"content_filter", "refusal", "safety"})
_LIMITED_ENDS: Final = frozenset(
    {"length", "max_tokens", "max_output_tokens", "model_context_window_exceeded"}
)
_THOUGHTS: Final = frozenset({"thinking", "redacted_thinking", "reasoning", "thinking_delta"})
_ENDED_RESPONSES: Final = frozenset({"response.completed", "response.incomplete"})


class Substance:
    """What is known of one answer: how it ended, and whether it says anything."""

    __slots__ = ("_end", "_is_refused", "_says_something", "_take")

    def __init__(self, surface: Surface) -> None:
        self._take: Callable[[Substance, Mapping[str, Any]], None] = _TAKERS[surface.name]
        self._end = ""
        self._is_refused = False
        self._says_something = False

    def take_answer(self, body: bytes) -> None:
        """Take in a whole answer."""
        self.take(parsed(body))

    def take_block(self, block: bytes) -> None:
        """Take in the events of one block of a streamed answer; what is not JSON says nothing."""
        for payload in payloads(block):
            try:
                event = parsed(payload)
            except ValueError:
                continue
            self.take(event)

    def take(self, part: Any) -> None:
        """Take in a whole answer or an event, as parsed; what is no object says nothing."""
        if isinstance(part, dict):
            self._take(self, part)

    @property
    def is_refused(self) -> bool:
        """Whether the answer is marked as a refusal."""
        return self._is_refused or self._end in _REFUSED_ENDS

    @property
    def shortfall(self) -> Missing | None:
        """What the answer lacks; None if nothing."""
        if self.is_refused:
            return Missing.REFUSAL
        if not self._says_something:
            return Missing.EMPTY
        return Missing.TRUNCATED if self._end in _LIMITED_ENDS else None

    @property
    def has_ended(self) -> bool:
        """Whether the answer said how it ended."""
        return bool(self._end)

    def _ended(self, why: Any) -> None:
        if isinstance(why, str) and why:
            self._end = why.lower()

    def _says(self, content: Any) -> None:
        """Note a text, or parts of which one is more than white space or thought."""
        if isinstance(content, str):
            self._says_something = self._says_something or bool(content.strip())
            return
        for part in _objects(content):
            kind = part.get("type")
            if kind == "refusal" and part.get("refusal"):
                self._is_refused = True
            elif kind in ("text", "output_text", "text_delta"):
                self._says(part.get("text"))
            elif not (isinstance(kind, str) and kind in _THOUGHTS):
                self._says_something = True

    def take_chat(self, answer: Mapping[str, Any]) -> None:
        """Take in the choices of a chat's answer or event."""
        for choice in _objects(answer.get("choices")):
            self._ended(choice.get("finish_reason"))
            message = choice.get("message") or choice.get("delta")
            if isinstance(message, dict):
                self._is_refused = self._is_refused or bool(message.get("refusal"))
                self._says(message.get("content"))
                more = (message.get(name) for name in ("tool_calls", "function_call", "audio"))
                self._says_something = self._says_something or any(more)

    def take_message(self, answer: Mapping[str, Any]) -> None:
        """Take in a message, or an event of one."""
        self._ended(answer.get("stop_reason"))
        self._says(answer.get("content"))
        for name in ("message", "delta"):
            inner = answer.get(name)
            if isinstance(inner, dict):
                self._ended(inner.get("stop_reason"))
                self._says(inner.get("text"))
        if answer.get("type") == "content_block_start":
            self._says([answer.get("content_block")])

    def take_response(self, answer: Mapping[str, Any]) -> None:
        """Take in a response, or the event that ends it, which holds all of it."""
        kind, inner = answer.get("type"), answer.get("response")
        if isinstance(kind, str) and kind.startswith("response."):
            if kind in _ENDED_RESPONSES and isinstance(inner, dict):
                self.take_response(inner)
            return
        details = answer.get("incomplete_details")
        self._ended(details.get("reason") if isinstance(details, dict) else None)
        for item in _objects(answer.get("output")):
            if item.get("type") == "message":
                self._says(item.get("content"))
            else:
                self._says([item])


_TAKERS: Final[Mapping[str, Callable[[Substance, Mapping[str, Any]], None]]] = {
    CHAT.name: Substance.take_chat,
    MESSAGES.name: Substance.take_message,
    RESPONSES.name: Substance.take_response,
}


def _objects(found: Any) -> Iterator[dict[str, Any]]:
    return (each for each in (found if isinstance(found, list) else ()) if isinstance(each, dict))
