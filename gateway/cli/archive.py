"""`llmpo archive`: keeps experiments' logs in files, and lets the store remove what is in them."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer

from gateway.cli.store_place import (
    PATIENCE_SECONDS,
    DataDirOption,
    RedisPrefixOption,
    RedisUrlOption,
    opened_store,
)
from gateway.errors import GatewayError
from gateway.proof.archive import NO_ENTRY, ArchiveError, ArchiveWriter, archive_path
from gateway.running.logs import configure_logging, get_logger
from gateway.settings import read_settings
from policy_store.archives import Archived, ArchiveStore
from policy_store.errors import StoreRefusedError, StoreUnavailableError

_log = get_logger(__name__)

PAUSE_SECONDS: Final = 1.0
LEAST_KEPT: Final = 1000
"""Watches over promotions forecast from the latest comparisons of a log."""


def archive(
    folder: Annotated[Path, typer.Argument(help="The archive's folder.")],
    experiment: Annotated[
        list[str] | None, typer.Option(help="Only this experiment; may be repeated [default: all].")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with what is logged from now on.")] = False,
    keep: Annotated[
        int | None,
        typer.Option(
            min=LEAST_KEPT,
            help="How many entries of each log the store keeps; older comparisons and plans are removed "
            "from it once they are in the archive [default: all].",
        ),
    ] = None,
    reset: Annotated[
        bool,
        typer.Option(
            "--reset",
            help="Begin anew with logs whose archive is lost, or is of what a restore gave up: with what the "
            "store still has of them.",
        ),
    ] = False,
    redis_url: RedisUrlOption = None,
    redis_prefix: RedisPrefixOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Copy experiments' logs to files, each entry once, whenever it is killed and started again.

    The store is told how far a log is archived only after that is on the disk. Without an archive nothing is
    ever removed from the store.
    """

    async def run() -> None:
        async with opened_store(redis_url, redis_prefix, data_dir) as redis:
            store = ArchiveStore(redis, timeout_seconds=PATIENCE_SECONDS)
            archiving = _Archiving(store, folder, keep, is_reset=reset)
            await archiving.all(experiment or ())
            typer.echo(archiving.told)
            if follow:
                await _follow(archiving, experiment or ())

    if follow:
        settings = read_settings()
        configure_logging(settings.log_level, as_json=settings.log_json)
    with _locked(folder):
        asyncio.run(run())


async def _follow(archiving: _Archiving, chosen: Sequence[str]) -> None:
    """Archive until cancelled or something is wrong with the archive; one log line for each change."""
    waits_for = ""
    while True:
        await asyncio.sleep(PAUSE_SECONDS)
        try:
            await archiving.all(chosen)
        except StoreUnavailableError as error:  # it goes on where it stopped
            fault = error.word if isinstance(error, StoreRefusedError) else "an answer"
            if fault != waits_for:
                _log.warning("archive_waits", error=str(error))
            waits_for = fault
        else:
            if waits_for:
                _log.info("archive_goes_on", archived=archiving.archived)
            waits_for = ""


class _Archiving:
    """Archives logs one after the other; it knows in between how far each is in its file.

    Attributes:
        archived: How many entries it archived.
    """

    def __init__(self, store: ArchiveStore, folder: Path, keep: int | None, *, is_reset: bool) -> None:
        self._store = store
        self._folder = folder
        self._keep = keep
        self._is_reset = is_reset
        self._writers: dict[tuple[str, str], ArchiveWriter] = {}
        self.archived = self._removed = 0

    @property
    def told(self) -> str:
        """What was done."""
        removed = "" if self._keep is None else f" Removed from the store: {self._removed}."
        return f"Archived {self.archived} entries of {len(self._writers)} logs.{removed}"

    async def all(self, chosen: Sequence[str]) -> None:
        """Archive everything that is new."""
        for name in list(dict.fromkeys(chosen)) or await self._store.names():
            for log in await self._store.logs(name):
                writer = self._writers.get((name, log))
                if writer is None or not await self._is_last(name, log, writer):
                    writer = await self._begun(name, log)
                while page := await self._store.entries(name, log, writer.entry):
                    writer.append(page)
                    await self._store.acknowledge(name, log, Archived(writer.entry, writer.digest))
                    self.archived += len(page)
                if self._keep is not None:
                    self._removed += await self._store.trim(name, log, self._keep)

    async def _is_last(self, name: str, log: str, writer: ArchiveWriter) -> bool:
        """Whether the store knows this file to its end; not after a restore, or if a call was lost."""
        known = await self._store.archived(name, log)
        is_known = (
            writer.entry == NO_ENTRY if known is None else known == Archived(writer.entry, writer.digest)
        )
        if not is_known:
            del self._writers[name, log]
        return is_known

    async def _begun(self, name: str, log: str) -> ArchiveWriter:
        """The file of a log, if it goes on from it."""
        acknowledged = await self._store.archived(name, log)
        is_here = archive_path(self._folder, name, log).exists()
        if self._is_reset and acknowledged is not None and not is_here:
            await self._store.forget(name, log)
            typer.echo(
                f"{name}, log {log}: begun anew. It was archived up to entry {acknowledged.entry} elsewhere.",
                err=True,
            )
            acknowledged = None
        writer = self._writers[name, log] = ArchiveWriter(self._folder, name, log, acknowledged)
        if writer.entry != NO_ENTRY and (acknowledged is None or writer.entry != acknowledged.entry):
            # Killed between the disk and the store; or the store was put back to before that.
            if not await self._store.has(name, log, writer.entry):
                raise ArchiveError(
                    f"The store has no entry {writer.entry} of {name!r}, with which the archive ends: it was "
                    "put back to an earlier state. Keep this archive, and begin another in an empty folder, "
                    "with --reset."
                )
            await self._store.acknowledge(name, log, Archived(writer.entry, writer.digest))
        return writer


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes from writing to the archive."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise GatewayError(f"{folder} cannot be written: {error.strerror}.") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise GatewayError(f"Another `llmpo archive` writes to {folder}.") from error
    finally:
        os.close(descriptor)
