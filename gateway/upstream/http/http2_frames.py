"""Takes GOAWAY frames out of the bytes that arrive on an HTTP/2 connection.

A provider sends GOAWAY long before it closes the connection: it takes no new requests but finishes those
that it has. h2 regards the connection as closed from then on and would fail every unfinished answer, so it
never sees these frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

_HEAD_BYTES: Final = 9  # length (3), kind, flags, stream (4)
_GOAWAY: Final = 7
_GOAWAY_BYTES: Final = 8  # last stream (4), error code (4); what may follow is for people
_MAX_FRAME_BYTES: Final = 16 * 1024  # the protocol's default; this client does not ask for more


class Goaway(NamedTuple):
    """The provider takes no new requests.

    Attributes:
        last_stream: It has not begun, and never will, to work on streams after this one.
    """

    last_stream: int


class MalformedFrameError(Exception):
    """A frame has an impossible length; usually the bytes are text of another protocol."""


class GoawayFilter:
    """Takes GOAWAY frames out and passes all other bytes on unchanged; bytes may come in any pieces."""

    __slots__ = ("_pending", "_rest")

    def __init__(self) -> None:
        self._pending = b""
        self._rest = 0  # remaining bytes of a frame that is passed on

    def feed(self, data: bytes) -> Iterator[bytes | Goaway]:
        """The bytes to pass on, and each GOAWAY in its place.

        Raises:
            MalformedFrameError: If the beginnings of frames cannot be found any more.
        """
        if self._rest >= len(data):
            self._rest -= len(data)
            yield data
            return
        at = self._rest
        if self._pending:
            data = self._pending + data
        passed, self._rest, self._pending = 0, 0, b""
        while len(data) - at >= _HEAD_BYTES:
            end = _end(data, at)
            if data[at + 3] == _GOAWAY:
                if end > len(data):
                    break
                if passed < at:
                    yield data[passed:at]
                start = at + _HEAD_BYTES
                yield Goaway(int.from_bytes(data[start : start + 4], "big") & 0x7FFF_FFFF)
                passed = end
            elif end > len(data):
                self._rest = end - len(data)
                yield data[passed:]
                return
            at = end
        if passed < at:
            yield data[passed:at]
        self._pending = data[at:]


def _end(data: bytes, at: int) -> int:
    """Where the frame that begins here ends."""
    length = int.from_bytes(data[at : at + 3], "big")
    if length > _MAX_FRAME_BYTES or (data[at + 3] == _GOAWAY and length < _GOAWAY_BYTES):
        raise MalformedFrameError
    return at + _HEAD_BYTES + length
