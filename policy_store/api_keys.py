"""API keys made and revoked while gateways run: every replica must agree on which keys may call.

The store holds only hashes. A revocation is for ever, whether the key was made at run time or in the
configuration.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace

from policy_store.scripting import StorePart


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """One key.

    Attributes:
        hash: 64 hexadecimal digits, the SHA-256 of the key.
        name: Its name for people, logs and metrics.
        role: Its role, in the gateway's words.
        limits: Its own limits by name; the gateway's defaults apply to the others.
        created_at: Unix seconds.
    """

    hash: str
    name: str
    role: str
    limits: Mapping[str, int]
    created_at: float


@dataclass(frozen=True, slots=True)
class KeyBook:
    """Everything that the store knows about keys, read at one moment.

    Attributes:
        revision: Changes whenever anything here changes.
        records: The keys made at run time, revoked ones included.
        revoked: When a key was revoked, in Unix seconds, by its hash.
    """

    revision: int
    records: tuple[KeyRecord, ...]
    revoked: Mapping[str, float]

    def with_record(self, record: KeyRecord) -> KeyBook:
        """The book with this record, which replaces an earlier record of the same key."""
        others = tuple(each for each in self.records if each.hash != record.hash)
        return replace(self, records=(*others, record))


class ApiKeyStore(StorePart):
    """Keys in Redis or Valkey. Every write may be repeated."""

    async def revision(self) -> int:
        """A number that changes whenever a key is made or revoked; cheap to poll."""
        return int(await self._answer(self._redis.get(self._names.api_keys[-1])) or 0)

    async def confirm(self) -> None:
        """Have replicas confirm every change so far, if they are to. Raises UnconfirmedError."""
        if self._redis.confirming_replicas:
            key = self._names.api_keys[-1]
            await self._confirmed(key, "GET", key)

    async def book(self) -> KeyBook:
        """All keys and revocations."""
        _, revision, records, revoked = await self._scripts.run("api_keys", self._names.api_keys)
        written = [{"hash": digits, **json.loads(text)} for digits, text in _pairs(records)]
        for fields in written:
            del fields["schema"]
        return KeyBook(
            revision=int(revision),
            records=tuple(KeyRecord(**fields) for fields in written),
            revoked={digits: int(micros) / 1e6 for digits, micros in _pairs(revoked)},
        )

    async def add(self, record: KeyRecord) -> None:
        """Add a key.

        Raises:
            KeyNameTakenError: If another key made at run time and not revoked has the name.
        """
        fields = asdict(record)
        del fields["hash"]
        text = json.dumps({"schema": 1, **fields}, separators=(",", ":"))
        await self._scripts.run("add_key", self._names.api_keys, record.hash, record.name, text)

    async def revoke(self, digits: str, name: str) -> float:
        """Revoke the key of this hash for good; returns when it was first revoked, in Unix seconds."""
        _, micros = await self._scripts.run("revoke_key", self._names.api_keys, digits, name)
        return int(micros) / 1e6


def _pairs(flat: list[str]) -> Iterator[tuple[str, str]]:
    return zip(flat[::2], flat[1::2], strict=True)
