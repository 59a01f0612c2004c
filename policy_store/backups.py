"""Reads what a backup holds, while the store is in use.

    one script: everything that decides, at one moment  ->  the log up to then  ->  votes, corrected to then
        ->  marks

No script reads what grows with the number of comparisons or voters, so none holds the server up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from itertools import chain
from typing import Any, Final
from urllib.parse import quote

from policy_store import codec
from policy_store.backup_records import DECIDES, LEFT_OUT, SHARED, KeyPart, Moment, deciding_keys, ledgers
from policy_store.errors import UnknownExperimentError
from policy_store.names import ExperimentKeys, GenerationKeys
from policy_store.scanning import KeyScanner

_WORDS: Final = 4000  # of one part: what a script can take at once, and an even number
_ENTRIES: Final = 1000
_MARKS: Final = 200  # keys that one script reads
_COMPARED: Final = "compared:"  # fields of votes that counts depend on, see scripts/shared/voting.lua
_BEGINNING: Final = "0-0"

ReplyWords = Sequence[str]


class BackupReader(KeyScanner):
    """Reads experiments and what they share."""

    async def names(self) -> list[str]:
        """The names of all experiments, in order."""
        return sorted(await self._answer(self._redis.smembers(self._names.experiments)))

    async def deciding(self, name: str) -> AsyncIterator[Moment | KeyPart]:
        """Everything that decides in an experiment, as it was at one moment, which comes first.

        Raises:
            UnknownExperimentError: There is no such experiment.
        """
        keys = self._names.experiment(name)
        at, touched, found = await self._moment(keys)
        control = _pairs(found[0][2])
        own = keys.generation(int(control["generation"]))
        counts = _pairs(found[touched.index(own.counts)][2])
        yield Moment(
            name,
            at,
            int(control["generation"]),
            int(control["revision"]),
            int(counts.get("comparisons", 0)),
        )
        ends: dict[str, str] = {}
        for key, (kind, expires_at, items) in zip(touched, found, strict=True):
            end = key.removeprefix(f"{keys.prefix}:")
            if kind == "stream":
                ends[key] = items[0]
                async for words in self._entries(key, _BEGINNING, items[0]):
                    yield KeyPart(name, end, kind, None, words)
            elif kind != "none":
                for words in _cut(items):
                    yield KeyPart(name, end, kind, int(expires_at) if expires_at else None, words)
        for ledger, _ in ledgers(keys, control):
            async for words in self._votes(ledger, ends.get(ledger.log, _BEGINNING)):
                yield KeyPart(name, ledger.votes.removeprefix(f"{keys.prefix}:"), "hash", None, words)

    async def marks(self, experiments: Collection[str], *, is_whole: bool) -> AsyncIterator[KeyPart]:
        """What units, sessions and answers left behind; in a whole backup, what experiments share too."""
        by_tag = {quote(name, safe=""): name for name in experiments}
        pattern = f"{self._names.root}*"
        if len(by_tag) == 1 and not is_whole:
            pattern = f"{self._names.root}{{{next(iter(by_tag))}}}:*"
        async for keys in self.scanned(pattern):
            together: dict[str, list[str]] = {}
            for key in keys:
                tag, suffix = self._names.split(key)
                is_shared = is_whole and SHARED.fullmatch(key.removeprefix(self._names.root)) is not None
                if tag in by_tag and not is_shared and not DECIDES.fullmatch(suffix):
                    if not LEFT_OUT.fullmatch(suffix):
                        together.setdefault(tag, []).append(key)
                elif is_shared:
                    together.setdefault(tag or key, []).append(key)
            for tag, same in together.items():
                for start in range(0, len(same), _MARKS):
                    async for part in self._read(same[start : start + _MARKS], by_tag.get(tag)):
                        yield part

    async def _moment(self, keys: ExperimentKeys) -> tuple[float, list[str], list[Any]]:
        """The time, the keys that decide, and what each holds."""
        while True:
            control: dict[str, str] = await self._answer(self._redis.hgetall(keys.control))
            if "generation" not in control:
                raise UnknownExperimentError(f"The store holds no experiment {keys.name!r}.")
            touched = deciding_keys(keys, control)
            reply = await self._scripts.run("read_parts", touched, control["generations"])
            if reply[0] != "raced":  # a generation began in the meantime, whose keys were not named
                return codec.seconds(reply[1]), touched, reply[2]

    async def _read(self, keys: Sequence[str], of: str | None) -> AsyncIterator[KeyPart]:
        _, _, found = await self._scripts.run("read_parts", keys, "")
        root = self._names.root if of is None else f"{self._names.experiment(of).prefix}:"
        for key, (kind, expires_at, items) in zip(keys, found, strict=True):
            if kind not in {"none", "stream"}:
                for words in _cut(items):
                    expires = int(expires_at) if expires_at else None
                    yield KeyPart(of, key.removeprefix(root), kind, expires, words)

    async def _entries(self, key: str, after: str, upto: str) -> AsyncIterator[tuple[str, ...]]:
        """The entries of a stream behind one up to another, in parts."""
        while after != upto:
            page = await self._answer(self._redis.xrange(key, f"({after}", upto, _ENTRIES))
            words: list[str] = []
            for entry, fields in page:
                flat = list(chain.from_iterable(fields.items()))
                if words and len(words) + len(flat) + 2 > _WORDS:
                    yield tuple(words)
                    words = []
                words += [entry, str(len(flat)), *flat]
            if words:
                yield tuple(words)
            after = page[-1][0] if page else upto

    async def _votes(self, own: GenerationKeys, end: str) -> AsyncIterator[tuple[str, ...]]:
        """The votes as they were when the last entry of the log was this one.

        They are read afterwards, little by little. What the log shows to be newer is taken off again. How
        many votes a voter has left on a pair may be too few by the votes of that while; never too many.
        """
        cursor = 0
        while True:
            cursor, page = await self._answer(self._redis.hscan(own.votes, cursor, count=_ENTRIES))
            for words in _cut(list(chain.from_iterable(page.items()))):
                yield words
            if not int(cursor):
                break
        later = await self._voters(own.log, end, "+")
        for voters in _cut(list(later)):
            fields = [f"{_COMPARED}{voter}" for voter in voters]
            _, last, *given = await self._scripts.run("read_fields", (own.votes, own.log), *fields)
            newer = await self._voters(own.log, end, last)
            corrected = [str(int(count) - newer[voter]) for voter, count in zip(voters, given, strict=True)]
            for words in _cut(list(chain.from_iterable(zip(fields, corrected, strict=True)))):
                yield words

    async def _voters(self, log: str, after: str, upto: str) -> Counter[str]:
        """How often each voter is named in this part of a log."""
        found: Counter[str] = Counter()
        last = await self._answer(self._redis.xrevrange(log, upto, "-", 1))
        async for words in self._entries(log, after, last[0][0] if last else after):
            for _, fields in codec.entries_from(words):
                found.update(voter for voter in fields.get("voters", "").split(",") if voter)
        return found


def _pairs(flat: ReplyWords) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _cut(items: ReplyWords) -> Iterator[tuple[str, ...]]:
    """Items in parts that a script can take."""
    return (tuple(items[start : start + _WORDS]) for start in range(0, len(items), _WORDS))
