"""An answer on an HTTP/2 stream: its unread bytes, and how it ended."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Protocol

from typing_extensions import override

from gateway.upstream.base import RawHeaders
from gateway.upstream.failures import broken, cut_short
from gateway.upstream.http.inflating import PACKED, PIECE_BYTES, PLAIN, Inflater
from gateway.upstream.http.transport import Failure, HttpAnswer, NeverSeenError


class StreamOwner(Protocol):
    """The connection a stream is part of."""

    def read(self, stream: int, size: int) -> None:
        """Let the provider send as many further bytes as were read."""

    def leave(self, stream: int) -> None:
        """Give up the stream; it will not be read any further."""


class Http2Answer(HttpAnswer):
    """One stream of a connection, created before its headers arrive.

    Attributes:
        is_over: Whether nothing more will arrive, because it is complete or has failed.
        is_sent: Whether the whole request has been sent.
    """

    __slots__ = (
        "_arrived",
        "_failure",
        "_headers",
        "_inflater",
        "_owner",
        "_stream",
        "_unpacked",
        "_waiter",
        "is_over",
        "is_sent",
        "status",
    )

    def __init__(self, owner: StreamOwner, stream: int) -> None:
        self._owner = owner
        self._stream = stream
        self._arrived: list[tuple[bytes, int]] = []
        self._headers: dict[bytes, bytes] = {}
        self._inflater: Inflater | None = None
        self._unpacked: Iterator[bytes] = iter(())
        self._failure: Failure | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.status: int = 0
        self.is_over = False
        self.is_sent = False

    @property
    @override
    def content_type(self) -> str:
        return self._headers.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")

    @property
    @override
    def raw_headers(self) -> RawHeaders:
        return tuple(self._headers.items())

    @property
    @override
    def retry_after(self) -> str | None:
        value = self._headers.get(b"retry-after")
        return None if value is None else value.decode("latin-1")

    @property
    @override
    def is_at_end(self) -> bool:
        return self.is_over and self._failure is None and not self._arrived

    async def begun(self) -> None:
        """Wait for the headers."""
        while not self.status and not self.is_over:
            await self.change()
        if not self.status:
            raise self._failure() if self._failure is not None else broken("an answer without a status")

    @override
    async def some(self) -> bytes:
        while True:
            if self._inflater is not None and (piece := self._next_unpacked()):
                if len(piece) == PIECE_BYTES:
                    await asyncio.sleep(0)  # others have their turn, however much there is to unpack
                return piece
            while not self._arrived:
                if self._failure is not None:
                    raise self._failure()
                if self.is_over:
                    return b""
                await self.change()
            arrived, self._arrived = self._arrived, []
            self._owner.read(self._stream, sum(size for _, size in arrived))
            some = arrived[0][0] if len(arrived) == 1 else b"".join([data for data, _ in arrived])
            if self._inflater is None:
                return some
            # These bytes may not give any text yet, and returning no bytes would mean the end.
            self._unpacked = self._inflater.pieces(some)

    def _next_unpacked(self) -> bytes:
        try:
            return next(self._unpacked, b"")
        except zlib.error:
            self._failure = partial(broken, "an answer that is not in the encoding it says")
            raise self._failure() from None

    @override
    def fail(self, failure: Failure) -> None:
        if not self.is_over:
            self._failure = failure
            self._end()

    @override
    def close(self) -> None:
        self._owner.leave(self._stream)
        self.fail(cut_short)

    # Called by the connection.

    def head(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Take the headers."""
        self._headers = dict(headers)
        status = self._headers.pop(b":status", b"")
        if not status.isdigit():
            self.fail(partial(broken, "an answer without a status"))
            return
        self.status = int(status)
        encoding = self._headers.get(b"content-encoding", b"").strip().lower()
        if encoding in PACKED:
            self._inflater = Inflater(encoding)
        elif encoding not in PLAIN:
            self.fail(partial(broken, "an answer in an encoding that was not asked for"))
        self.wake()

    def data(self, data: bytes, size: int) -> None:
        """Take bytes of the body; `size` is how much of the window they used."""
        if data and not self.is_over:
            self._arrived.append((data, size))
            self.wake()
        elif size:
            self._owner.read(self._stream, size)  # padding

    def end(self) -> None:
        """Take the end of the body."""
        if not self.is_over:
            self._end()

    def break_off(self, *, is_unseen: bool) -> None:
        """Fail because the provider gave up the stream, or the whole connection.

        Args:
            is_unseen: Whether the provider had not begun to work on the request.
        """
        if self.status:
            self.fail(cut_short)
        else:
            self.fail(NeverSeenError if is_unseen else ConnectionResetError)

    async def change(self) -> None:
        """Wait until something happens to the stream."""
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def wake(self) -> None:
        """Let `change` return."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _end(self) -> None:
        self.is_over = True
        self.wake()
