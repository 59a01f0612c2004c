"""Server-sent events as bytes: cut at their ends and passed on unchanged.

Lines may end in LF, CRLF or CR; a stream may begin with a byte order mark (WHATWG HTML, 9.2.6). The mark is
removed and a lone CR becomes a LF, so that later steps need not handle them; every other byte stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from gateway.errors import UpstreamError

MAX_EVENT_BYTES: Final = 16 * 1024 * 1024
DONE: Final = b"data: [DONE]\n\n"
_DONE_MARK: Final = b"[DONE]"
_ENDS: Final = (b"\n\n", b"\n\r\n")  # the end of an event's last line, followed by an empty line
_END: Final = re.compile(rb"\n\r?\n")
_LONE_RETURN: Final = re.compile(rb"\r(?!\n)")
_TAIL: Final = 24  # longer than any spelling of the final event
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


class EventCutter:
    r"""Turns chunks as they arrive into blocks of whole events.

    An event ends at an empty line. The bytes after the last empty line wait for the next chunk. The usual
    chunk is one or more whole events with lines ending in `\n`, and passes through as it is.
    """

    __slots__ = ("_held", "_is_begun", "_is_between", "_pending")

    def __init__(self) -> None:
        self._pending = b""
        self._is_begun = False
        self._held = b""  # a CR that may be half of a line end
        self._is_between = False  # between two events: nothing is held

    def feed(self, chunk: bytes) -> bytes:
        """The whole events that `chunk` completes; empty if it completes none.

        Raises:
            UpstreamError: If one event grows beyond `MAX_EVENT_BYTES`.
        """
        if self._is_between and chunk.endswith(b"\n\n") and b"\r" not in chunk:
            return chunk  # nearly always
        block = self._cut(chunk)
        self._is_between = self._is_begun and not self._pending and not self._held
        return block

    def _cut(self, chunk: bytes) -> bytes:
        if self._held or b"\r" in chunk:
            chunk = self._without_lone_returns(chunk)
        data = self._pending + chunk if self._pending else chunk
        if not self._is_begun:
            data = self._without_mark(data)
        if data.endswith(_ENDS):
            self._pending = b""
            return data
        # Only the new bytes and the two before them can hold an end that was not found before.
        start = max(0, len(data) - len(chunk) - 2)
        end = max((found + len(one) for one in _ENDS if (found := data.rfind(one, start)) >= 0), default=0)
        self._pending = data[end:]
        if len(self._pending) > MAX_EVENT_BYTES:
            raise UpstreamError("The provider sent an event without end.", status=502, reason="protocol")
        return data[:end]

    def rest(self) -> bytes:
        """At a stream's end, the bytes after the last empty line, with one more empty line; empty if none."""
        rest, self._pending, self._held = self._pending.rstrip(b"\r\n"), b"", b""
        return rest + b"\n\n" if rest else b""

    def _without_lone_returns(self, chunk: bytes) -> bytes:
        chunk, self._held = self._held + chunk, b""
        if chunk.endswith(b"\r"):
            chunk, self._held = chunk[:-1], b"\r"
        return _LONE_RETURN.sub(b"\n", chunk)

    def _without_mark(self, data: bytes) -> bytes:
        if len(data) < len(_BYTE_ORDER_MARK) and _BYTE_ORDER_MARK.startswith(data):
            return data  # it may become a byte order mark
        self._is_begun = True
        return data.removeprefix(_BYTE_ORDER_MARK)


class RawEvent(NamedTuple):
    """One event.

    Attributes:
        text: All its lines and the empty one that ends it.
        name: Its `event:` field, or nothing.
        data: Its data; None if it has none, like a comment.
    """

    text: bytes
    name: bytes
    data: bytes | None

    @classmethod
    def of(cls, text: bytes) -> RawEvent:
        """The event in these lines."""
        name, data = b"", None
        for line in text.splitlines():
            field, _, value = line.partition(b":")
            if field == b"data":
                value = value.strip()
                data = value if data is None else data + b"\n" + value
            elif field == b"event":
                name = value.strip()
        return cls(text, name, data)

    @property
    def is_done(self) -> bool:
        """Whether it is the end of OpenAI's streams, in any spelling that its clients accept."""
        return self.data is not None and self.data.strip(b' "').startswith(_DONE_MARK)


def events_of(block: bytes) -> Iterator[RawEvent]:
    """The events of a block of whole events."""
    while block:
        first, block = split_first(block)
        yield RawEvent.of(first)


def split_first(block: bytes) -> tuple[bytes, bytes]:
    """The first event of a block of whole events, and the rest of the block."""
    found = _END.search(block)
    return (block, b"") if found is None else (block[: found.end()], block[found.end() :])


def is_last(block: bytes) -> bool:
    """Whether a block of whole events ends with `[DONE]`."""
    return block[-_TAIL:].rstrip().endswith((b"data: [DONE]", b"data:[DONE]"))


def has_event(block: bytes) -> bool:
    """Whether a block holds anything but comments."""
    return block.startswith(b"data:") or b"\ndata:" in block


def payloads(block: bytes) -> Iterator[bytes]:
    """The data of each event of a block, except the final `[DONE]`; data over several lines is joined."""
    for event in events_of(block):
        if event.data is not None and not event.is_done:
            yield event.data
