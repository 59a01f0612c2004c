"""Decides from a stream's events whether it goes on, is complete, or reports a failure.

Every event is parsed, and the parsed value is discarded. This is the only way to know that the event is
JSON, that it holds no error in any place, and that an answer that just stops was complete. Most events of a
chat differ from the one before only in what they say: of those, only that text is looked at.

A stream is complete when its format says so, in any spelling: OpenAI's chat says it with `[DONE]`, or with a
`finish_reason` for every choice that began; responses and messages say it with a last event of their own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Final, Protocol

from orjson import JSONDecodeError, loads
from typing_extensions import override

from gateway.errors import UpstreamError
from gateway.upstream.failures import broken, cut_short
from gateway.upstream.json_text import parsed
from gateway.upstream.sse import DONE, RawEvent, events_of
from gateway.upstream.structure import MOST_EVENT_STRUCTURE_BYTES, MOST_PER_BYTE, is_heavy
from gateway.upstream.surfaces import SurfaceName

Event = Mapping[str, Any]

_LIGHT_BYTES: Final = MOST_EVENT_STRUCTURE_BYTES // MOST_PER_BYTE  # cannot be too heavy
_DONE_DATA: Final = b"[DONE]"
# Values of a choice's `finish_reason` (and of `stop_reason`) that mean that it was not finished. `error` is
# what OpenRouter and Mistral say, `insufficient_system_resource` DeepSeek, `abort` vLLM and SGLang,
# `error_limit` and `timeout` Cohere.
_FAILED_ENDS: Final = frozenset(
    {
        *("abort", "aborted", "cancelled", "error", "error_limit", "error_toxic", "failed"),
        *("insufficient_system_resource", "timeout"),
    }
)
_NO_END: Final = ("", "null")
_USUAL_END: Final = "stop"
# Tuples, not sets, because the values to look up may be of any type.
_FAILED_KINDS: Final = ("error", "response.failed", "response.error", "response.cancelled")
_FAILED_NAMES: Final = frozenset(kind.encode() for kind in _FAILED_KINDS)
_FAILED_STATES: Final = ("failed", "cancelled")
# A text without characters that JSON or UTF-8 have rules for, and the field that holds what an event says.
_PLAIN_TEXT: Final = re.compile(rb"[ !#-\[\]-~]*")
_SAID: Final = re.compile(rb'"(?:content|text)": ?"([ !#-\[\]-~]*)"')
_MOST_LEARNT: Final = 8
# Fields in which servers of OpenAI's format report a failure without `error`: FastAPI, Cloudflare, Baidu.
_COMPLAINTS: Final = ("detail", "errors", "message", "error_msg", "error_code", "error_message")


def is_failure(answer: Event) -> bool:
    """Whether an event or a whole answer reports a failure, whatever else it holds."""
    read = answer.get
    kind = read("type")
    if read("error") or (kind is not None and kind in _FAILED_KINDS) or read("object") == "error":
        return True
    choices = read("choices")
    if choices.__class__ is not list:
        # The end of a response or a message is reported at the top level or inside a part of the event.
        inner = (read(name) for name in ("response", "message", "delta"))
        ends = (answer, *(part for part in inner if isinstance(part, dict)))
        return _is_complaint(answer) or any(map(_has_failed, ends))
    for choice in choices:
        if choice.__class__ is dict:
            end = choice.get("finish_reason")
            if choice.get("error") or (end is not None and end != _USUAL_END and _is_failed_end(end)):
                return True
    return False


def _has_failed(part: Event) -> bool:
    """Whether a response or a message says that it failed."""
    is_none = part.get("error") or part.get("status") in _FAILED_STATES
    end = part.get("stop_reason")
    return bool(is_none) or (end is not None and _is_failed_end(end))


def _is_failed_end(end: Any) -> bool:
    return str(end).lower() in _FAILED_ENDS


def _is_complaint(answer: Event) -> bool:
    minimax = answer.get("base_resp")
    if isinstance(minimax, dict) and minimax.get("status_code"):
        return True
    if "type" in answer or "id" in answer or "usage" in answer or "data" in answer:
        return False
    return any(answer.get(name) for name in _COMPLAINTS)


class Progress(Protocol):
    """The progress of one stream.

    Attributes:
        ends_by_done: Whether `[DONE]` ends a complete stream; in other formats it only cuts a stream short.
    """

    ends_by_done: ClassVar[bool]

    def skim(self, texts: Sequence[bytes]) -> tuple[int, Any]:
        """How many events from the first on are surely in the middle, and the next one if it was parsed.

        Events in the middle report no failure and no end, and need not be noted.
        """
        ...

    def note(self, name: bytes, event: Event) -> bool:
        """Note an event; returns whether it is the stream's last."""
        ...

    @property
    def closing(self) -> bytes | None:
        """What a stream that stops now lacks to be complete; None if it lacks more than its last event."""
        ...


class ChoicesProgress(Progress):
    """The progress of a stream of choices, which ends with `[DONE]`."""

    ends_by_done = True
    __slots__ = ("_after", "_before", "_begun", "_finished", "_left_to_learn")

    def __init__(self) -> None:
        self._begun: set[Any] = set()
        self._finished: set[Any] = set()
        # The bytes around what the latest event says; those of nearly all events of a stream are the same.
        self._before = self._after = b""
        self._left_to_learn = _MOST_LEARNT

    @override
    def skim(self, texts: Sequence[bytes]) -> tuple[int, Any]:
        begun, count, event = self._begun, 0, None
        try:
            for text in texts:
                event = None
                if self._is_like_the_last(text):
                    count += 1
                    continue
                if not text.startswith(b"data: {"):
                    break
                event = loads(text[6:])
                (choice,) = event["choices"]
                index = choice["index"]
                if choice["finish_reason"] is not None or index.__class__ is not int:
                    break
                if event["object"] == "error" or "error" in choice or "error" in event or "type" in event:
                    break
                begun.add(index)
                count += 1
                self._learn(text)
        except (KeyError, TypeError, ValueError):
            pass
        return count, event

    def _is_like_the_last(self, text: bytes) -> bool:
        """Whether an event differs from the one learnt only in a text, of characters that need no parsing."""
        before, after = self._before, self._after
        return (
            before != b""
            and text.startswith(before)
            and text.endswith(after)
            and _PLAIN_TEXT.fullmatch(text, len(before), len(text) - len(after)) is not None
        )

    def _learn(self, text: bytes) -> None:
        """Learn the bytes around what an event says; `text` is JSON on one line."""
        if self._left_to_learn > 0 and (said := _SAID.search(text)) is not None:
            self._left_to_learn -= 1
            self._before, self._after = text[: said.start(1)], text[said.end(1) :]

    @override
    def note(self, _name: bytes, event: Event) -> bool:
        choices = event.get("choices")
        for choice in choices if choices.__class__ is list else ():
            if choice.__class__ is dict:
                index = choice.get("index", 0)
                if index.__class__ is not int:
                    index = str(index)
                self._begun.add(index)
                end = choice.get("finish_reason")
                if end is not None and end not in _NO_END:
                    self._finished.add(index)
        return False

    @property
    @override
    def closing(self) -> bytes | None:
        return DONE if self._begun and self._begun == self._finished else None


class NamedProgress(Progress):
    """The progress of a stream whose last event is one of some kinds.

    Args:
        kinds: These kinds, which stand in the event's name or in its `type`.
        closing: The last event to add if a stream that reported its end leaves it out.
    """

    ends_by_done = False
    __slots__ = ("_closing", "_is_finished", "_kinds")

    def __init__(self, kinds: tuple[str, ...], closing: bytes | None = None) -> None:
        self._kinds = kinds
        self._closing = closing
        self._is_finished = False

    @override
    def skim(self, texts: Sequence[bytes]) -> tuple[int, Any]:
        return 0, None

    @override
    def note(self, name: bytes, event: Event) -> bool:
        delta = event.get("delta")
        if isinstance(delta, dict) and delta.get("stop_reason"):
            self._is_finished = True
        kind = event.get("type")
        return (kind.__class__ is str and kind in self._kinds) or name.decode("latin-1") in self._kinds

    @property
    @override
    def closing(self) -> bytes | None:
        return self._closing if self._is_finished else None


class EventReader:
    """Reads the events of one stream.

    Args:
        progress: The progress of this stream in its format.
        reported: Makes the error for an event that reports a failure.

    Attributes:
        is_over: The stream is complete; nothing that follows belongs to it.
        failure: Why the stream ends after the events that `take` gave; None if it does not.
    """

    __slots__ = ("_progress", "_reported", "failure", "is_over")

    def __init__(self, progress: Progress, reported: Callable[[bytes], UpstreamError]) -> None:
        self._progress = progress
        self._reported = reported
        self.is_over = False
        self.failure: Callable[[], UpstreamError] | None = None

    @property
    def has_ended(self) -> bool:
        """Whether the stream has ended, complete or not."""
        return self.is_over or self.failure is not None

    @property
    def has_reported(self) -> bool:
        """Whether the stream itself reported a failure or is malformed."""
        return self.failure is not None and self.failure is not cut_short

    def take(self, block: bytes) -> bytes:
        """The events of a block of whole events to pass on: all before the end or a failure."""
        if len(block) > _LIGHT_BYTES and is_heavy(block, MOST_EVENT_STRUCTURE_BYTES):
            self.failure = _heavy
            return b""
        return block if self._is_plain(block) else self._taken_apart(block)

    def end(self, rest: bytes) -> bytes:
        """The last events of a stream that stops: those in `rest`, and the last event if it was left out.

        Args:
            rest: The bytes after the last whole event, ended like one.
        """
        last = self.take(rest)
        if self.is_over or self.failure not in (None, _malformed):
            return last
        closing = self._progress.closing
        self.is_over = closing is not None
        self.failure = None if self.is_over else cut_short
        return last + (closing or b"")

    def _is_plain(self, block: bytes) -> bool:
        """Whether a block can be passed on unchanged: one object on one line per event, no failure.

        This holds for nearly all blocks. Any other block is taken apart, and its first events are noted once
        more, which changes nothing.
        """
        if not block.endswith(b"\n\n"):
            return False
        is_over = False
        texts = block[:-2].split(b"\n\n")
        skimmed, event = self._progress.skim(texts)
        try:
            for text in texts[skimmed:]:
                if is_over:
                    return False
                name, data = (b"", text[6:]) if text.startswith(b"data: ") else _split_named(text)
                if data == _DONE_DATA and self._progress.ends_by_done:
                    is_over = True
                else:
                    event = loads(data) if event is None else event
                    if name in _FAILED_NAMES or is_failure(event):
                        return False
                    is_over, event = self._progress.note(name, event), None
        except (JSONDecodeError, AttributeError):  # not JSON, or not an object
            return False
        self.is_over = is_over
        return True

    def _taken_apart(self, block: bytes) -> bytes:
        passed: list[bytes] = []
        for event in events_of(block):
            if event.is_done and self._progress.ends_by_done:
                passed.append(DONE)
                self.is_over = True
                break
            if event.is_done:
                self.failure = cut_short
                break
            if event.data is not None and not self._is_passed(event):
                break
            passed.append(event.text)
            if self.is_over:
                break
        return b"".join(passed)

    def _is_passed(self, event: RawEvent) -> bool:
        data = event.data or b""
        is_error = event.name.decode("latin-1") in _FAILED_KINDS
        try:
            found = parsed(data)
        except ValueError:
            self.failure = partial(self._reported, data) if is_error else _malformed
            return False
        # Gemini reports an error inside a list.
        if is_error or any(is_failure(one) for one in objects(found)):
            self.failure = partial(self._reported, data)
            return False
        if isinstance(found, dict):
            self.is_over = self._progress.note(event.name, found)
        elif found is not None:  # `null` means nothing, and no client fails on it
            self.failure = _malformed
        return self.failure is None


def _split_named(text: bytes) -> tuple[bytes, bytes]:
    """Name and data of an event of two lines; for any other, data that is not JSON."""
    first, _, second = text.partition(b"\n")
    if first.startswith(b"event: ") and second.startswith(b"data: "):
        return first[7:].strip(), second[6:]
    return b"", b""


def objects(found: Any) -> list[Event]:
    """The parsed value if it is an object; the objects in it if it is a list."""
    return [one for one in (found if isinstance(found, list) else [found]) if isinstance(one, dict)]


def _heavy() -> UpstreamError:
    return broken("events with too much structure")


def _malformed() -> UpstreamError:
    return broken("a malformed event")


_MESSAGE_STOP: Final = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
_PROGRESS: Final[Mapping[SurfaceName, Callable[[], Progress]]] = {
    "chat": ChoicesProgress,
    "completions": ChoicesProgress,
    "embeddings": ChoicesProgress,
    "responses": partial(NamedProgress, ("response.completed", "response.incomplete")),
    "messages": partial(NamedProgress, ("message_stop",), _MESSAGE_STOP),
}


def progress_of(kind: SurfaceName) -> Progress:
    """The initial progress of a stream that answers this kind of request."""
    return _PROGRESS[kind]()
