"""Sends what a turn of the event loop writes at the end of the turn, so that its receivers wake up once.

A write on a socket wakes the process that waits for it, if that is on the same machine (a proxy, for
instance). On a virtual machine with an idle core this costs the writer several times the write itself. A turn
of a busy gateway serves several requests. If their answers follow one another without anything in between,
the receiver is still awake at the second one. And head and body of an answer become one write.
"""

from __future__ import annotations

import asyncio
from typing import Final

_LARGE_BYTES: Final = 16 * 1024  # of a connection; more is not worth the memory while it waits
_HEAD: Final = b"HTTP/"
_MOST_AT_ONCE: Final = 16


class Outbox:
    """What waits for the end of the present turn, by transport.

    If turns write to one connection only, as for a few slow streams, waiting gains nothing and costs a turn.
    So after each such turn some pieces are sent at once, more the longer it goes on; a head always waits for
    its body.
    """

    __slots__ = ("_alone", "_at_once", "_waiting")

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Transport, bytearray] = {}
        self._alone = 0  # turns in a row that wrote to one connection
        self._at_once = 0

    def put(self, transport: asyncio.Transport, data: bytes) -> None:
        """Send bytes at the end of the turn, after those put before; at once if that is as good."""
        if self._at_once and not self._waiting and not data.startswith(_HEAD):
            self._at_once -= 1
            transport.write(data)
            return
        waiting = self._waiting.get(transport)
        if waiting is None:
            if not self._waiting:
                asyncio.get_running_loop().call_soon(self._send_all)
            waiting = self._waiting[transport] = bytearray()
        waiting += data
        if len(waiting) > _LARGE_BYTES:
            self.send(transport)

    def send(self, transport: asyncio.Transport) -> None:
        """Send now what waits for a transport; forget it if the connection is gone.

        A write that fails ends the connection, so that its receiver does not get an answer with a hole in it.
        """
        waiting = self._waiting.pop(transport, None)
        if waiting and not transport.is_closing():
            try:
                transport.write(waiting)
            except BaseException:
                transport.abort()
                raise

    def _send_all(self) -> None:
        is_alone = len(self._waiting) <= 1
        self._at_once = self._alone = min(self._alone + 1, _MOST_AT_ONCE) if is_alone else 0
        try:
            while self._waiting:
                self.send(next(iter(self._waiting)))
        finally:
            # Where a write failed, which the loop reports, the others' answers do not wait for it.
            if self._waiting:
                asyncio.get_running_loop().call_soon(self._send_all)
