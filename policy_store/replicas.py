"""The live replicas with the configuration of each, and how often all were asked to reload."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Final

from policy_store.scripting import StorePart

LIFETIME_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class ReplicaRecord:
    """A replica's data about itself.

    Attributes:
        name: Host, process id and a unique part, separated by colons.
        config_hash: Hash of the configuration that it runs.
        asked: The number of the last request to reload that it followed.
        faults: Number of faults in the file that it read last; with faults it runs the one before.
    """

    name: str
    config_hash: str
    asked: int
    faults: int

    @property
    def shown_name(self) -> str:
        """Host and process id."""
        return self.name.rpartition(":")[0] or self.name


@dataclass(frozen=True, slots=True)
class ReplicasSeen:
    """The store's data about all replicas.

    Attributes:
        asked: How often all were asked to reload.
        replicas: Those that reported within the lifetime of an entry.
    """

    asked: int
    replicas: tuple[ReplicaRecord, ...]


class ReplicaBook(StorePart):
    """The replicas on this store. Every call may be repeated."""

    async def tell(self, record: ReplicaRecord) -> ReplicasSeen:
        """Report a replica, delete those that were silent for too long, and read all others."""
        lifetime = int(LIFETIME_SECONDS * 1e6)
        text = json.dumps(asdict(record), separators=(",", ":"))
        _, asked, *found = await self._scripts.run(
            "tell_replica", self._names.replicas, record.name, text, lifetime
        )
        names = [field.name for field in fields(ReplicaRecord)]
        stored = map(json.loads, found)  # replicas of other versions may have more fields
        replicas = (ReplicaRecord(**{name: each[name] for name in names}) for each in stored)
        return ReplicasSeen(int(asked), tuple(sorted(replicas, key=lambda each: each.name)))

    async def leave(self, name: str) -> None:
        """Delete a replica that ends."""
        await self._answer(self._redis.hdel(self._names.replicas[0], name))

    async def ask_to_reload(self) -> int:
        """Ask all replicas to read their files again; returns the number of this request."""
        return int(await self._answer(self._redis.incr(self._names.replicas[1])))
