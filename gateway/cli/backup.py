"""`llmpo backup` and `llmpo restore`: experiments in a file, and back from it."""

from __future__ import annotations

import asyncio
import getpass
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from gateway import __version__
from gateway.cli.store_place import (
    PATIENCE_SECONDS,
    DataDirOption,
    RedisPrefixOption,
    RedisUrlOption,
    opened_store,
)
from gateway.errors import GatewayError
from policy_store.backup_file import About, BackupFile, BackupWriter
from policy_store.backup_records import Moment
from policy_store.backups import BackupReader
from policy_store.clients import StoreClient
from policy_store.events import Restored
from policy_store.layout import LayoutKeeper, check_layout
from policy_store.restoring import Living, MarkWriter, Restore
from policy_store.vitals import StoreVitals

FileArgument = Annotated[Path, typer.Argument(help="The backup's file.")]


def backup(
    file: FileArgument,
    experiment: Annotated[
        list[str] | None, typer.Option(help="Only this experiment; may be repeated [default: everything].")
    ] = None,
    redis_url: RedisUrlOption = None,
    redis_prefix: RedisPrefixOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Write experiments to a file while gateways go on: counts, evidence, log, marks, everything.

    A backup of everything also holds the key that seals response ids, and hashes of API keys: keep it like a
    secret.
    """

    async def run() -> None:
        async with opened_store(redis_url, redis_prefix, data_dir) as redis:
            for moment in await _back_up(redis, file, experiment or ()):
                typer.echo(_about(moment))

    asyncio.run(run())
    typer.echo(f"Wrote {file} ({file.stat().st_size / 1e6:.1f} MB).")


def restore(
    file: FileArgument,
    experiment: Annotated[
        list[str] | None,
        typer.Option(help="Only this experiment; may be repeated [default: all in the file]."),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Also if the store has the experiment: what it has is given up.")
    ] = False,
    reason: Annotated[
        str, typer.Option(help="The reason, which the audit log shows; required with --replace.")
    ] = "",
    redis_url: RedisUrlOption = None,
    redis_prefix: RedisPrefixOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Put experiments from a backup in force, each as a whole.

    What was reported after the backup is not in it. Every gateway takes the store as it is then.
    """
    if replace and not reason.strip():
        raise typer.BadParameter("Say why, with --reason.", param_hint="--replace")

    async def run() -> int:
        async with opened_store(redis_url, redis_prefix, data_dir, may_be_unused=True) as redis:
            return await _Restoring(redis, file, may_replace=replace, reason=reason).run(experiment or ())

    epoch = asyncio.run(run())
    typer.echo(f"Every gateway takes the store as it is now (epoch {epoch}).")


async def _back_up(redis: StoreClient, path: Path, chosen: Sequence[str]) -> list[Moment]:
    reader = BackupReader(redis, timeout_seconds=PATIENCE_SECONDS)
    pulse, at = await StoreVitals(redis, timeout_seconds=PATIENCE_SECONDS).read()
    names = list(dict.fromkeys(chosen)) or await reader.names()
    about = About(pulse.layout, __version__, at, pulse.id, pulse.epoch, is_whole=not chosen)
    moments = []
    with BackupWriter(path, about) as writer:
        for name in names:
            async for each in reader.deciding(name):
                writer.add(each)
                if isinstance(each, Moment):
                    moments.append(each)
        async for part in reader.marks(names, is_whole=not chosen):
            writer.add(part)
    return moments


class _Restoring:
    """One run of `llmpo restore`."""

    def __init__(self, redis: StoreClient, path: Path, *, may_replace: bool, reason: str) -> None:
        self._redis = redis
        self._path = path
        self._may_replace = may_replace
        self._reason = reason.strip() or "restored from a backup"
        self._actor = _account()
        self._vitals = StoreVitals(redis, timeout_seconds=PATIENCE_SECONDS)

    async def run(self, chosen: Sequence[str]) -> int:
        """Restore, and return the store's new epoch."""
        file = BackupFile(self._path)
        check_layout(file.about.layout)
        moments = _chosen(file, chosen)
        layout = LayoutKeeper(self._redis, timeout_seconds=PATIENCE_SECONDS)
        living = await self._living(moments)
        restores = {moment.name: Restore(self._redis, timeout_seconds=PATIENCE_SECONDS) for moment in moments}
        try:
            await self._write(file, restores, is_whole=file.about.is_whole and not chosen)
            for moment in moments:
                await self._put_in_force(restores[moment.name], moment, living[moment.name], file.about)
                await layout.migrate(moment.name)
            await layout.bring_up_to_date()
        except BaseException:
            for each in restores.values():
                await each.forget()
            raise
        return await self._vitals.accept(file.about.epoch, self._actor)

    async def _living(self, moments: Sequence[Moment]) -> dict[str, Living]:
        """What the store has of each. Raises GatewayError if that may not be replaced."""
        asking = Restore(self._redis, timeout_seconds=PATIENCE_SECONDS)
        living = {moment.name: await asking.living(moment.name) for moment in moments}
        there = [name for name, each in living.items() if each.revision]
        if there and not self._may_replace:
            raise GatewayError(
                f"The store has {', '.join(map(repr, there))} already. To give up what it has, say --replace "
                "and --reason; to restore beside it, use another --redis-prefix."
            )
        return living

    async def _write(self, file: BackupFile, restores: dict[str, Restore], *, is_whole: bool) -> None:
        marks = MarkWriter(self._redis, timeout_seconds=PATIENCE_SECONDS)
        for part in file.parts():
            if not part.decides and (part.of in restores or (part.of is None and is_whole)):
                await marks.put(part)
        await marks.flush()
        for part in file.parts():
            if part.decides and part.of in restores:
                await restores[part.of].stage(part)

    async def _put_in_force(self, restore: Restore, moment: Moment, living: Living, about: About) -> None:
        detail = Restored(
            actor=self._actor,
            reason=self._reason,
            made_at=about.made_at,
            comparisons=moment.comparisons,
            generation=moment.generation,
            comparisons_before=living.comparisons,
        )
        await restore.put_in_force(moment, living, detail)
        given_up = "" if living.comparisons is None else f"; the store had {living.comparisons}"
        typer.echo(f"{_about(moment)}{given_up}")


def _account() -> str:
    """The account that restores, for the audit log; an arbitrary user of a container has no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def _chosen(file: BackupFile, names: Sequence[str]) -> list[Moment]:
    known = {moment.name: moment for moment in file.moments}
    for name in names:
        if name not in known:
            raise GatewayError(f"The backup holds no experiment {name!r}, only {', '.join(known) or 'none'}.")
    return [known[name] for name in names] or list(known.values())


def _about(moment: Moment) -> str:
    return f"{moment.name}: generation {moment.generation}, {moment.comparisons} comparisons"
