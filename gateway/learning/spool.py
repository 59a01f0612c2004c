"""Keeps reports on the disk while the store is away, and has them counted once it is back.

    keep    a line in this process's file, on the disk before the report is acknowledged
    replay  the lines of this process, and of processes that ended, through the ordinary way

The store makes a replay happen once: it marks each unit in the step that counts it, so a line that is
replayed again after a crash is a duplicate. Marks of spooled reports last longer than a line may wait
(`recording.SPOOLED_SECONDS`). While lines of this process wait, further reports wait behind them, so that the
first report of a unit stays the first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from gateway.errors import UnavailableError
from gateway.learning.spool_file import SpooledReport, SpoolFile, spool_files
from gateway.running.logs import get_logger

_log = get_logger(__name__)

REPLAY_SECONDS: Final = 1.0

Recount = Callable[[SpooledReport], Awaitable[None]]
"""Has a report counted, or says why it is not; raises UnavailableError if it has to wait."""


class Spool:
    """The reports of one process that wait, and those that ended processes left.

    Args:
        folder: The data directory.
        store: What the names of this store's files begin with; stores never share files.
        limit_bytes: How large the file of this process may become.
    """

    def __init__(self, folder: Path, store: str, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._folder = folder
        self._store = store
        self._own: SpoolFile | None = None
        self._position = 0
        self._using = asyncio.Lock()  # the file is written or cleared
        self._batch: list[tuple[bytes, asyncio.Future[bool]]] = []
        self._writer: asyncio.Task[None] | None = None
        self._says = ""
        self._is_said = False

    @property
    def is_waiting(self) -> bool:
        """Whether reports of this process wait, so that later ones have to wait behind them."""
        return bool(self._batch) or self._own_size > self._position

    def waiting_bytes(self) -> int:
        """How many bytes wait on this machine, in the files of all processes."""
        return sum(size for _, size in spool_files(self._folder, self._store))

    def tell_of_others(self) -> None:
        """Log which files belong to another store than this process has."""
        others = [path.name for path, _ in spool_files(self._folder, "spool")]
        others = [name for name in others if not name.startswith(f"{self._store}-")]
        if others:
            _log.warning(
                "spool_of_another_store",
                files=others,
                remedy="start a gateway with the address of that store, or rename them if it moved",
            )

    async def keep(self, report: SpooledReport) -> bool:
        """Keep a report; whether it is on the disk. It is not if the file is full or cannot be written."""
        line = report.line()
        if self._own_size + sum(len(other) for other, _ in self._batch) + len(line) > self.limit_bytes:
            self._refuse("The file is full.")
            return False
        written: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._batch.append((line, written))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_all())
        return await asyncio.shield(written)

    async def replay(self, recount: Recount) -> None:
        """Have everything counted that waits, if the store answers.

        Raises:
            UnavailableError: It does not; what was counted by then is not replayed again by this process.
        """
        own = self._own
        if own is not None and self._own_size:
            self._position = await self._replay(own, self._position, recount)
            async with self._using:
                if self._position >= own.size:
                    await asyncio.to_thread(own.clear)
                    self._position, self._is_said = 0, False
        others = SpoolFile.left(self._folder, self._store)
        while (left := await asyncio.to_thread(next, others, None)) is not None:
            try:
                await self._replay(left, 0, recount)
            except BaseException:
                left.close()
                raise
            await asyncio.to_thread(left.remove)

    async def aclose(self) -> None:
        """Finish writing, and leave what waits to the next process."""
        if self._writer is not None:
            await self._writer
        if self._own is not None:
            own, self._own = self._own, None
            own.close() if own.size else own.remove()

    @property
    def _own_size(self) -> int:
        return 0 if self._own is None else self._own.size

    async def _write_all(self) -> None:
        """Write what waits to be written, all at once, until nothing does."""
        while self._batch:
            async with self._using:
                batch, self._batch = self._batch, []
                try:
                    await asyncio.to_thread(self._write, b"".join(line for line, _ in batch))
                except OSError as error:
                    self._refuse(error.strerror or type(error).__name__)
                    is_written = False
                else:
                    self._says, is_written = "", True
            for _, written in batch:
                if not written.done():
                    written.set_result(is_written)
        if not self._is_said and self._own_size:
            self._is_said = True
            _log.warning("feedback_spooled", until="the store counts again")

    def _write(self, lines: bytes) -> None:
        if self._own is None:
            self._own = SpoolFile.new(self._folder, self._store)
        self._own.append(lines)

    def _refuse(self, why: str) -> None:
        if why != self._says:
            self._says = why
            _log.error("spool_refuses", feedback="gets a 503", error=why)

    async def _replay(self, file: SpoolFile, position: int, recount: Recount) -> int:
        """Replay a file from a position on; returns the position behind the last line."""
        replayed = damaged = 0
        try:
            while page := await asyncio.to_thread(file.read, position):
                for report, behind in page:
                    if report is None:
                        damaged += 1
                    else:
                        await recount(report)
                        replayed += 1
                    position = behind
                    if file is self._own:
                        self._position = position
        finally:
            if replayed or damaged:
                _log.info("feedback_replayed", reports=replayed, damaged=damaged)
        return position


async def replay_for_ever(spool: Spool, recount: Recount, is_ready: Callable[[], bool]) -> None:
    """Replay whenever the store can count."""
    while True:
        await asyncio.sleep(REPLAY_SECONDS)
        if is_ready():
            try:
                await spool.replay(recount)
            except UnavailableError:
                continue
