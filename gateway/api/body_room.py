"""Limits the memory that the bodies of all requests in one process take together.

Each single body is bounded (`bounds.py`), but many of them are not: two hundred of ten megabytes, answered
slowly, are gigabytes. So the memory of large bodies is added up from their first piece to the end of the
answer, and a request for which there is no room left is refused at once. Small bodies are neither counted
nor refused: most requests are small, and the number of connections is bounded.
"""

from __future__ import annotations

from typing import Final, Self

from gateway.errors import CrowdedError

SMALL_BYTES: Final = 16 * 1024
"""A body up to this size is not counted, and is accepted however little room there is."""

# Copies of each byte: as it arrives, as a value, and as it is sent on. A text with a character beyond Latin
# 1 takes two or four bytes for each of its characters.
_PER_BYTE: Final = 3
_PER_WIDE_BYTE: Final = 6


class BodyRoom:
    """The room for bodies in one process.

    Args:
        max_bytes: Largest body of one request.
        together_bytes: Memory for all bodies together; at least as much as one of the largest takes.
    """

    def __init__(self, max_bytes: int, together_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.left = max(together_bytes, _PER_WIDE_BYTE * max_bytes)

    def place(self) -> BodyPlace:
        """A new, empty place for one request's body."""
        return BodyPlace(self)


class BodyPlace:
    """The part of the room that one request's body takes, until the place is left."""

    __slots__ = ("_room", "_taken")

    def __init__(self, room: BodyRoom) -> None:
        self._room = room
        self._taken = 0

    @property
    def max_bytes(self) -> int:
        """The largest body that the place may hold."""
        return self._room.max_bytes

    def check(self, size: int) -> None:
        """Refuse a body whose declared size finds no room now. Raises CrowdedError."""
        if _PER_BYTE * size > self._room.left:
            raise CrowdedError

    def grow_to(self, size: int) -> None:
        """Take the room for the bytes that have arrived so far. Raises CrowdedError."""
        self._take(_PER_BYTE * size)

    def hold(self, body: bytes) -> None:
        """Take the room for a whole body and its texts, before it is parsed. Raises CrowdedError."""
        is_wide = not body.isascii() or b"\\u" in body
        self._take((_PER_WIDE_BYTE if is_wide else _PER_BYTE) * len(body))

    def add(self, structure_bytes: int) -> None:
        """Take the room for its objects and arrays as well. Raises CrowdedError."""
        self._take(self._taken + structure_bytes)

    def leave(self) -> None:
        """Give all of it back."""
        self._room.left += self._taken
        self._taken = 0

    def _take(self, wanted: int) -> None:
        more = wanted - self._taken
        if more > self._room.left:
            raise CrowdedError
        self._room.left -= more
        self._taken = wanted

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()
