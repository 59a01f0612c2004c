"""Server-sent events as bytes: cut where events end, checked to be JSON, passed on as they came."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

import orjson

from gateway.errors import UpstreamError

MAX_EVENT_BYTES: Final = 16 * 1024 * 1024
DONE: Final = b"data: [DONE]\n\n"
_TAIL: Final = 24  # longer than any spelling of the final event
# As OpenAI's chat reports an error, as Anthropic and OpenAI's responses do, and a response that failed.
_ERROR: Final = re.compile(
    rb"(?:\A|\n)(?:event: ?(?:error|response\.failed)\r?\n"
    rb'|data: ?\{"(?:error": ?[{"]|type": ?"(?:error|response\.failed)"))'
)

_SUSPICIOUS: Final = (b'{"error', b'{"type')  # how the errors above begin


class EventCutter:
    r"""Turns chunks as they arrive into blocks of whole events.

    An event ends at an empty line; lines end in `\n` or `\r\n`. What comes after the last empty line waits
    for the next chunk. The usual chunk is one or more whole events and passes through as it is.
    """

    __slots__ = ("_pending",)

    def __init__(self) -> None:
        self._pending = b""

    @property
    def has_rest(self) -> bool:
        """Whether an unfinished event is waiting."""
        return bool(self._pending)

    def feed(self, chunk: bytes) -> bytes:
        """Whole events completed by `chunk`; empty when it completed none.

        Raises:
            UpstreamError: If one event grows beyond `MAX_EVENT_BYTES`.
        """
        data = self._pending + chunk if self._pending else chunk
        if data.endswith((b"\n\n", b"\r\n\r\n")):
            self._pending = b""
            return data
        # Only what is new, and the three bytes before it, can hold an end that was not seen before.
        start = max(0, len(data) - len(chunk) - 3)
        short, long = data.rfind(b"\n\n", start), data.rfind(b"\r\n\r\n", start)
        end = max(short + 2 if short >= 0 else 0, long + 4 if long >= 0 else 0)
        self._pending = data[end:]
        if len(self._pending) > MAX_EVENT_BYTES:
            raise UpstreamError("The provider sent an event without end.", status=502, reason="protocol")
        return data[:end]


def split_first(block: bytes) -> tuple[bytes, bytes]:
    """The first event of a block of whole events, and the others."""
    short, long = block.find(b"\n\n"), block.find(b"\r\n\r\n")
    if short >= 0 and (long < 0 or short < long):
        return block[: short + 2], block[short + 2 :]
    if long >= 0:
        return block[: long + 4], block[long + 4 :]
    return block, b""


def is_last(block: bytes) -> bool:
    """Whether a block of whole events ends with `data: [DONE]`."""
    tail = block[-_TAIL:].rstrip()
    return tail.endswith((b"data: [DONE]", b"data:[DONE]"))


def ends_with(*kinds: str) -> Callable[[bytes], bool]:
    """Tells whether a block of whole events holds one of these kinds, each of which ends a stream.

    The kind stands in the event's name, or first in its data. A raw line end cannot stand inside a JSON
    string, so a text that mentions a kind is not taken for one.
    """
    names = b"|".join(re.escape(kind).encode() for kind in kinds)
    found = re.compile(
        rb'(?:\A|\n)(?:event: ?(?:%b)\r?\n|data: ?\{"type": ?"(?:%b)")' % (names, names)
    ).search
    return lambda block: found(block) is not None


def has_event(block: bytes) -> bool:
    """Whether a block holds anything but comments."""
    return block.startswith(b"data:") or b"\ndata:" in block


def split_error(block: bytes) -> tuple[bytes, bytes] | None:
    """The events before an error the provider reports inside the stream, and the error's JSON; None without.

    A raw quote or line end cannot stand inside a JSON string, so the pattern never matches part of a text.
    """
    found = _ERROR.search(block) if b"error" in block or b"failed" in block else None
    if found is None:
        return None
    start = found.start() + (1 if block[found.start() : found.start() + 1] == b"\n" else 0)
    payload = block[start:].partition(b"data:")[2].strip().partition(b"\n")[0]
    return block[:start], payload


def is_plain(block: bytes) -> bool:
    """Whether a block needs no closer look: every event one line of JSON object that begins like no error.

    Nearly all events are so; `is_sound` and `split_error` tell what the others are.
    """
    if not block.startswith(b"data: {"):
        return False
    try:
        for payload in block[6:-2].split(b"\n\ndata: "):
            if payload.startswith(_SUSPICIOUS):
                return False
            if payload != b"[DONE]" and not isinstance(orjson.loads(payload), dict):
                return False
    except orjson.JSONDecodeError:
        return False
    return True


def is_sound(block: bytes) -> bool:
    """Whether the data of every event of a block is a JSON object, or the final `[DONE]`."""
    return all(_is_object(payload) for payload in payloads(block))


def sound_part(block: bytes) -> bytes:
    """The events of a block before the first whose data is no JSON object."""
    rest = block
    while rest:
        event, after = split_first(rest)
        if not is_sound(event):
            break
        rest = after
    return block[: len(block) - len(rest)]


def _is_object(payload: bytes) -> bool:
    try:
        return isinstance(orjson.loads(payload), dict)
    except orjson.JSONDecodeError:
        return False


def payloads(block: bytes) -> Iterator[bytes]:
    """The data of each event of a block, the final `[DONE]` left out; data over several lines is joined."""
    data: list[bytes] = []
    for line in (*block.splitlines(), b""):
        if line.startswith(b"data:"):
            data.append(line[5:].strip())
        elif not line and data:
            payload = b"".join(data)
            data = []
            if payload != b"[DONE]":
                yield payload
