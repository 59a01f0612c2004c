"""One assignment for a whole session: the first request's draw, remembered by the store.

Only requests of a session ask the store, and only as long as it answers in time. All replicas draw alike for
one session and plan, so a session nearly always keeps its policy even without the store.
A session begun under an older sealing key keeps its unit for as long as that key is still in force.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final, Protocol

from gateway.experiments.response_ids import UNIT_BYTES, Assignment
from gateway.experiments.sealing_key import SealingKeyHolder
from gateway.experiments.snapshot import LiveExperiment
from gateway.instrumentation.hooks import Hooks
from gateway.instrumentation.records import StickySkipped
from gateway.running.store_breaker import StoreBreaker
from gateway.serving.routing import Incumbent, Part, UnitDraws, UnitKey, assigned, draw_part
from policy_store.errors import StoreError

_INCUMBENT: Final = "incumbent"
_LASTING: Final = ("share", "caps")  # reasons that last as long as the session; others pass


class UnitStore(Protocol):
    """What stickiness needs of the store."""

    async def assign_unit(
        self, name: str, generation: int, unit: str, proposal: str, ttl_seconds: int
    ) -> str:
        """The first proposal ever made for this unit. Raises StoreError."""
        ...

    async def assigned_unit(self, name: str, generation: int, unit: str) -> str | None:
        """What this unit was assigned, if anything. Raises StoreError."""
        ...


class Sticky:
    """Routes the sessions of experiments.

    Args:
        store: Remembers what was assigned; its calls are bounded in time.
        keys: Secrets that keep session names out of the store and out of reach of guessing, read at each use.
        hooks: Told when the store had to be left out.
        breaker: Open while the store does not answer: no session waits for it then.
    """

    def __init__(self, store: UnitStore, keys: SealingKeyHolder, hooks: Hooks, breaker: StoreBreaker) -> None:
        self._store = store
        self._keys = keys
        self._hooks = hooks
        self._breaker = breaker

    async def part_of(self, experiment: LiveExperiment, session: str, now: float, request_id: str) -> Part:
        """Which policies answer this session, from its first request on.

        `request_id` is of the request at hand.
        """
        keys = self._keys.current
        unit = unit_key(keys.newest, experiment.name, session)
        drawn = draw_part(experiment, unit, UnitDraws(unit), now)
        if isinstance(drawn, Incumbent) and drawn.reason not in _LASTING:
            return drawn
        if self._breaker.is_open:
            self._hooks.tell(StickySkipped(request_id, experiment.name))
            return drawn
        try:
            for before in (unit_key(key, experiment.name, session) for key in keys.older):
                begun = await self._store.assigned_unit(experiment.name, experiment.generation, before.hex())
                if begun is not None:
                    return _decode(experiment, begun, before, now)
            kept = await self._store.assign_unit(
                experiment.name,
                experiment.generation,
                unit.hex(),
                _encode(experiment, drawn),
                max(1, int(experiment.window_seconds)),
            )
        except StoreError as error:
            self._breaker.failed(error)
            self._hooks.tell(StickySkipped(request_id, experiment.name))
            return drawn
        return _decode(experiment, kept, unit, now)


def unit_key(sealing_key: bytes, experiment: str, session: str) -> UnitKey:
    """The session's key within an experiment; tells nothing about the session's name."""
    secret = blake2b(sealing_key, digest_size=32, person=b"llmpo session").digest()
    text = f"{experiment}\0{session}".encode()
    return UnitKey(blake2b(text, digest_size=UNIT_BYTES, key=secret).digest())


def _encode(experiment: LiveExperiment, drawn: Part) -> str:
    """A part as it is kept, with its time where that matters: earlier versions read four numbers only."""
    if isinstance(drawn, Incumbent):
        return _INCUMBENT
    part = drawn.assignment
    kept = f"{part.first} {part.second} {part.side} {part.plan_version}"
    return kept if experiment.hold_seconds is None else f"{kept} {part.assigned_at}"


def _decode(experiment: LiveExperiment, kept: str, unit: UnitKey, now: float) -> Part:
    if kept == _INCUMBENT:
        return Incumbent("share")
    first, second, side, plan_version, *times = (int(part) for part in kept.split(" "))
    return assigned(
        experiment,
        Assignment(
            experiment=experiment.name,
            generation=experiment.generation,
            first=first,
            second=second,
            collect=experiment.collect,
            side=side,
            plan_version=plan_version,
            unit=unit,
            expires_at=int(now + experiment.window_seconds),
            assigned_at=times[0] if times else int(now),
        ),
    )
