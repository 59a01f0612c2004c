"""Unpacks answers in pieces: a kilobyte may hold a megabyte, which must not be in memory all at once."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

PLAIN: Final = frozenset({b"", b"identity"})
# Encodings that clients understand. The numbers are zlib's codes.
PACKED: Final = {
    b"gzip": zlib.MAX_WBITS | 16,
    b"x-gzip": zlib.MAX_WBITS | 16,
    b"deflate": zlib.MAX_WBITS,
}
PIECE_BYTES: Final = 64 * 1024


class Inflater:
    """Unpacks one answer.

    Args:
        encoding: One of `PACKED`.
    """

    __slots__ = ("_zlib",)

    def __init__(self, encoding: bytes) -> None:
        self._zlib = zlib.decompressobj(PACKED[encoding])

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """What these bytes give, in pieces of at most `PIECE_BYTES`, each unpacked when it is taken.

        Raises:
            zlib.error: They are not in the encoding.
        """
        piece = b""
        # After a full piece zlib may hold more, even if it has taken all bytes.
        while data or len(piece) == PIECE_BYTES:
            piece = self._zlib.decompress(data, PIECE_BYTES)
            data = self._zlib.unconsumed_tail
            if piece:
                yield piece
