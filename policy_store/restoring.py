"""Puts what a backup holds in force: each experiment as a whole or not at all.

    marks, as far as the store lacks them  ->  what decides, under other names
        ->  one script: takes its place

Marks come first, so a report that the backup knows is never counted again, whenever the restore ends. What
was written under other names expires if nothing follows, so a restore that is killed leaves nothing.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any, Final

from policy_store.backup_records import DECIDES, KeyPart, Moment
from policy_store.codec import dump_json
from policy_store.errors import UnknownExperimentError
from policy_store.events import Restored, encoded
from policy_store.names import ExperimentKeys
from policy_store.scanning import KeyScanner
from policy_store.scripting import StorePart

_STAGED_MILLISECONDS: Final = 3600 * 1000
_MARK_WORDS: Final = 4000  # what one script is given


@dataclass(frozen=True, slots=True)
class Living:
    """An experiment in the store before it is restored.

    Attributes:
        revision: Its revision; empty if the store does not have it.
        comparisons: How many comparisons its current generation had counted; None if the store does not have
            it.
    """

    revision: str
    comparisons: int | None


class MarkWriter(StorePart):
    """Writes marks that the store lacks, many at once. `flush` writes the last ones."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._waiting: dict[str | None, list[tuple[str, list[str]]]] = {}

    async def put(self, part: KeyPart) -> None:
        """Write a mark, now or soon."""
        expires = "" if part.expires_at_ms is None else str(part.expires_at_ms)
        said = [part.kind, expires, str(len(part.items)), *part.items]
        if part.of is None:  # these do not share a slot of a cluster
            await self._scripts.run("put_parts", (f"{self._names.root}{part.name}",), *said)
            return
        waiting = self._waiting.setdefault(part.of, [])
        waiting.append((self._names.experiment(part.of).named(part.name), said))
        if sum(len(words) for _, words in waiting) > _MARK_WORDS:
            await self._write(part.of)

    async def flush(self) -> None:
        """Write what waits."""
        for of in list(self._waiting):
            await self._write(of)

    async def _write(self, of: str | None) -> None:
        waiting = self._waiting.pop(of, [])
        words = [word for _, said in waiting for word in said]
        await self._scripts.run("put_parts", [key for key, _ in waiting], *words)


class Restore(KeyScanner):
    """Restores one experiment. `living` is asked first, then everything is staged, then put in force."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._id = secrets.token_hex(8)
        self._staged: dict[str, KeyPart] = {}

    async def living(self, name: str) -> Living:
        """What the store has of an experiment now."""
        keys = self._names.experiment(name)
        found = await self._answer(self._redis.hmget(keys.control, ["revision", "generation"]))
        if found[1] is None:
            return Living("", None)
        counts = keys.generation(int(found[1])).counts
        return Living(found[0], int(await self._answer(self._redis.hget(counts, "comparisons")) or 0))

    async def stage(self, part: KeyPart) -> None:
        """Write a part of what decides under another name."""
        key = self._names.experiment(str(part.of)).staged(self._id, part.name)
        await self._scripts.run("stage_part", (key,), part.kind, _STAGED_MILLISECONDS, *part.items)
        self._staged[part.name] = part

    async def put_in_force(self, moment: Moment, living: Living, detail: Restored) -> None:
        """Let what was staged take the place of what the store has, in one step.

        Args:
            moment: The experiment as the backup has it.
            living: What the store had when the restore began.
            detail: What the audit log says of it.

        Raises:
            RestoreError: The experiment changed in the meantime, or the restore took too long; nothing was
                changed.
        """
        keys = self._names.experiment(moment.name)
        names = list(self._staged)
        if "control" not in names:
            raise UnknownExperimentError(f"The backup holds no experiment {moment.name!r}.")
        becoming = [keys.named(name) for name in names]
        removed = [key for key in await self._living_keys(keys) if key not in becoming]
        log = keys.generation(moment.generation).log
        expiries = (self._staged[name].expires_at_ms for name in names)
        await self._scripts.run(
            "restore_experiment",
            [
                *(keys.control, keys.events, log, keys.lease),
                *(keys.staged(self._id, name) for name in names),
                *becoming,
                *removed,
            ],
            *(living.revision, len(names), dump_json(encoded(detail))),
            *("" if expiry is None else str(expiry) for expiry in expiries),
        )
        # On a cluster the list is on another node and cannot be part of the step; each registration corrects
        # it.
        await self._answer(self._redis.sadd(self._names.experiments, moment.name))

    async def forget(self) -> None:
        """Remove what was staged, if it is not in force."""
        for name, part in self._staged.items():
            key = self._names.experiment(str(part.of)).staged(self._id, name)
            await self._answer(self._redis.unlink(key))

    async def _living_keys(self, keys: ExperimentKeys) -> set[str]:
        """The keys of the experiment that decide. Its marks stay: what was reported is not counted again."""
        found: set[str] = set()
        async for page in self.scanned(f"{keys.prefix}:*"):
            ends = {key: key.removeprefix(f"{keys.prefix}:") for key in page}
            found |= {key for key, end in ends.items() if DECIDES.fullmatch(end)}
        return found
