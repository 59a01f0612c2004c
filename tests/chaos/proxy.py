"""A TCP proxy between a gateway and its store, which a test can make slow, deaf, silent or absent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from typing import Final

_BLOCK: Final = 65_536
_SLOW_SECONDS: Final = 0.15


class Link(StrEnum):
    """What becomes of the bytes between a gateway and its store."""

    OPEN = "open"
    SLOW = "slow"  # each block takes longer, in both directions
    SILENT = "silent"  # nothing arrives on either side, and no connection ends
    DEAF = "deaf"  # requests arrive, answers do not: what was written is not known
    CUT = "cut"  # connections are reset, and new ones are refused


class Proxy:
    """Passes connections on to a port of this machine.

    Args:
        port: Gives the port to connect to.
    """

    def __init__(self, port: Callable[[], int]) -> None:
        self._port = port
        self._link = Link.OPEN
        self._changed = asyncio.Condition()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """End all connections."""
        self._server.close()
        self._reset()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def set(self, link: Link) -> None:
        """Let the link be like this from now on. What was held back arrives once the link is open."""
        async with self._changed:
            self._link = link
            self._changed.notify_all()
        if link is Link.CUT:
            self._reset()

    def _reset(self) -> None:
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._link is Link.CUT:
            writer.transport.abort()
            return
        self._writers.add(writer)
        with suppress(OSError, asyncio.CancelledError):  # cancelled by `stop`, which owns the task
            inner, outer = await asyncio.open_connection("127.0.0.1", self._port())
            self._writers.add(outer)
            await asyncio.gather(
                self._copy(reader, outer, (Link.SILENT,)),
                self._copy(inner, writer, (Link.SILENT, Link.DEAF)),
            )
            self._writers.discard(outer)
        writer.transport.abort()
        self._writers.discard(writer)

    async def _copy(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, stopped_by: tuple[Link, ...]
    ) -> None:
        with suppress(OSError):
            while block := await source.read(_BLOCK):
                async with self._changed:
                    await self._changed.wait_for(lambda: self._link not in stopped_by)
                if self._link is Link.SLOW:
                    await asyncio.sleep(_SLOW_SECONDS)
                target.write(block)
        target.transport.abort()
