"""Finds out which policy made the opaque blocks of a conversation, which only that policy can continue.

Each block is remembered by a keyed hash of its opaque text (`upstream/bound_state.py`): in this process, and
in the store for the other replicas, for as long as feedback is accepted. No request waits for the store to
save it; if the store is away, the worst effect is that a turn on another replica goes to the incumbent.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Final, Protocol

from gateway.experiments.sealing_key import SealingKeyHolder
from gateway.experiments.snapshot import LiveExperiment
from gateway.running.store_breaker import StoreBreaker
from gateway.upstream.base import AnswerStream, RawHeaders
from gateway.upstream.bound_state import may_hold_state, opaque_parts
from gateway.upstream.json_text import parsed
from policy_store.errors import StoreError

MOST_KNOWN: Final = 10_000
MOST_LOOKED_FOR: Final = 8
_MOST_UNDER_WAY: Final = 100
_DIGEST_BYTES: Final = 16


class MakerStore(Protocol):
    """The part of the store that this module needs."""

    async def note_makers(self, name: str, makers: Mapping[str, str], ttl_seconds: int) -> None:
        """Remember which policy made which block. Raises StoreError."""
        ...

    async def makers(self, name: str, digests: Sequence[str]) -> list[str | None]:
        """The maker of each block, as far as it is known. Raises StoreError."""
        ...


class Makers:
    """Knows the makers of the opaque blocks that this process and the store remember.

    Args:
        store: Shares the makers with other replicas.
        keys: Secrets of the keyed hashes, so that texts cannot be guessed from them; read at each use.
        breaker: Open while the store does not answer: no request waits for it then.
    """

    def __init__(self, store: MakerStore, keys: SealingKeyHolder, breaker: StoreBreaker) -> None:
        self._store = store
        self._keys = keys
        self._breaker = breaker
        self._known: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._under_way: set[asyncio.Task[None]] = set()

    def note(self, experiment: LiveExperiment, policy: int, parts: Iterable[str]) -> None:
        """Remember which policy made these blocks."""
        compiled, newest = experiment.policies[policy], self._keys.current.newest
        maker = f"{compiled.fingerprint} {compiled.model}"
        made = {_digest(newest, part): maker for part in parts}
        for digest in made:
            self._keep(experiment.name, digest, maker)
        if made and not self._breaker.is_open and len(self._under_way) < _MOST_UNDER_WAY:
            lasts = max(1, int(experiment.window_seconds))
            task = asyncio.create_task(self._share(experiment.name, made, lasts), name="makers")
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def of(self, experiment: LiveExperiment, parts: Sequence[str]) -> dict[str, int]:
        """The policies that made the newest of these blocks, if they are known and still exist."""
        wanted = list(dict.fromkeys(reversed(parts)))[:MOST_LOOKED_FOR]
        digests = {_digest(key, part): part for key in self._keys.current.all for part in wanted}
        name, known = experiment.name, self._known
        found = {part: known[name, each] for each, part in digests.items() if (name, each) in known}
        missing = [each for each, part in digests.items() if part not in found]
        if missing and not self._breaker.is_open:
            try:
                told = await self._store.makers(name, missing)
            except StoreError as error:
                self._breaker.failed(error)
            else:
                for digest, maker in zip(missing, told, strict=True):
                    if maker is not None:
                        self._keep(name, digest, maker)
                        found[digests[digest]] = maker
        policies = {part: _policy(experiment, found[part]) for part in wanted if part in found}
        return {part: policy for part, policy in policies.items() if policy is not None}

    async def aclose(self) -> None:
        """Wait until the running writes have ended."""
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _keep(self, name: str, digest: str, maker: str) -> None:
        self._known[name, digest] = maker
        self._known.move_to_end((name, digest))
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)

    async def _share(self, name: str, made: Mapping[str, str], lasts: int) -> None:
        try:
            await self._store.note_makers(name, made, lasts)
        except StoreError as error:
            self._breaker.failed(error)


class NotedStream:
    """A stream whose opaque blocks are remembered once it has ended."""

    __slots__ = ("_experiment", "_makers", "_parts", "_pieces", "_policy", "_stream", "headers")

    def __init__(self, stream: AnswerStream, makers: Makers, experiment: LiveExperiment, policy: int) -> None:
        self.headers: RawHeaders = stream.headers
        self._stream = stream
        self._makers = makers
        self._experiment = experiment
        self._policy = policy
        self._parts: list[str] = []
        self._pieces: dict[int, str] = {}

    async def read(self) -> bytes:
        """The next block, unchanged."""
        block = await self._stream.read()
        if not block:
            self._note()
        elif may_hold_state(block):
            self._look_at(block)
        return block

    async def aclose(self) -> None:
        """Close the stream."""
        self._note()
        await self._stream.aclose()

    def _look_at(self, block: bytes) -> None:
        for line in block.splitlines():
            if line.startswith(b"data:") and may_hold_state(line):
                try:
                    event = parsed(line[5:])
                except ValueError:
                    continue
                found = list(opaque_parts(event))
                self._parts += found
                if isinstance(event, dict) and isinstance(
                    event.get("index"), int
                ):  # a text may come in pieces
                    index = event["index"]
                    self._pieces[index] = self._pieces.get(index, "") + "".join(found)

    def _note(self) -> None:
        if self._parts:
            self._makers.note(self._experiment, self._policy, {*self._parts, *self._pieces.values()} - {""})
        self._parts = []


def noted(makers: Makers, experiment: LiveExperiment, policy: int, body: bytes) -> bytes:
    """A whole answer; its opaque blocks are remembered."""
    if may_hold_state(body):
        makers.note(experiment, policy, opaque_parts(parsed(body)))
    return body


def _digest(key: bytes, part: str) -> str:
    secret = blake2b(key, digest_size=32, person=b"llmpo maker").digest()
    return blake2b(part.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES, key=secret).hexdigest()


def _policy(experiment: LiveExperiment, maker: str) -> int | None:
    """The policy that made it or, if that no longer exists, another policy of the same model."""
    fingerprint, _, model = maker.partition(" ")
    policies = experiment.policies
    for index, policy in enumerate(policies):
        if policy.fingerprint == fingerprint:
            return index
    return next((index for index, policy in enumerate(policies) if policy.model == model), None)
