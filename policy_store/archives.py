"""Reads logs entry by entry for an archive, says how far they are archived, and removes what is.

How far a log is archived is said in the store, with a digest of everything up to there, after the archive is
on the disk. Only comparisons and plans up to there are ever removed from a log. Events stay, because they are
few and everything that shows decisions reads them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from policy_store import codec
from policy_store.backup_records import ledgers
from policy_store.errors import UnknownExperimentError
from policy_store.log_records import LogRecord
from policy_store.scripting import StorePart

_AT_ONCE: Final = 1000
_REMOVED: Final = frozenset({"comparison", "plan"})
_TRIMMED: Final = "trimmed:"  # fields that say up to where a log was gone through


@dataclass(frozen=True, slots=True)
class Archived:
    """How far a log is archived.

    Attributes:
        entry: The server's id of the last entry.
        digest: The digest of everything up to it.
    """

    entry: str
    digest: str


class ArchiveStore(StorePart):
    """Logs for archives. A log is named by its generation or watch, and by a role where it only informs."""

    async def names(self) -> list[str]:
        """The names of all experiments, in order."""
        return sorted(await self._answer(self._redis.smembers(self._names.experiments)))

    async def logs(self, name: str) -> list[str]:
        """The names of an experiment's logs.

        Raises:
            UnknownExperimentError: There is no such experiment.
        """
        keys = self._names.experiment(name)
        control: dict[str, str] = await self._answer(self._redis.hgetall(keys.control))
        if "generation" not in control:
            raise UnknownExperimentError(f"The store holds no experiment {name!r}.")
        found = [own.log for own, _ in ledgers(keys, control)]
        there = [await self._answer(self._redis.exists(log)) for log in found]
        start = f"{keys.prefix}:"
        return [
            log.removeprefix(start).removesuffix(":log")
            for log, is_there in zip(found, there, strict=True)
            if is_there
        ]

    async def entries(self, name: str, log: str, after: str) -> list[tuple[str, LogRecord]]:
        """A page of a log behind an entry."""
        page = await self._answer(self._redis.xrange(self._key(name, log), f"({after}", "+", _AT_ONCE))
        return [(entry, codec.log_record_from(fields)) for entry, fields in page]

    async def has(self, name: str, log: str, entry: str) -> bool:
        """Whether a log has this entry."""
        return bool(await self._answer(self._redis.xrange(self._key(name, log), entry, entry, 1)))

    async def archived(self, name: str, log: str) -> Archived | None:
        """How far a log is archived; None if it never was."""
        said = await self._answer(self._redis.hget(self._names.experiment(name).archived, log))
        return None if said is None else Archived(*said.split(" "))

    async def acknowledge(self, name: str, log: str, archived: Archived) -> None:
        """Say how far a log is archived, once that is on the disk."""
        key = self._names.experiment(name).archived
        await self._answer(self._redis.hset(key, log, f"{archived.entry} {archived.digest}"))

    async def forget(self, name: str, log: str) -> None:
        """Say that a log is not archived: another archive begins. What was removed from it stays removed."""
        await self._answer(self._redis.hdel(self._names.experiment(name).archived, log))

    async def trim(self, name: str, log: str, keep: int) -> int:
        """Remove archived comparisons and plans until so many entries are left; how many were removed."""
        archived, key = await self.archived(name, log), self._key(name, log)
        if archived is None:
            return 0
        place = self._names.experiment(name).archived
        after = await self._answer(self._redis.hget(place, f"{_TRIMMED}{log}")) or "0-0"
        left, removed = await self._answer(self._redis.xlen(key)), 0
        while left > keep:
            most = min(_AT_ONCE, left - keep)
            page = await self._answer(self._redis.xrange(key, f"({after}", archived.entry, most))
            if not page:
                break
            if going := [entry for entry, fields in page if fields["type"] in _REMOVED]:
                await self._answer(self._redis.xdel(key, *going))
            after = page[-1][0]
            await self._answer(self._redis.hset(place, f"{_TRIMMED}{log}", after))
            left, removed = left - len(going), removed + len(going)
        return removed

    def _key(self, name: str, log: str) -> str:
        return self._names.experiment(name).named(f"{log}:log")
