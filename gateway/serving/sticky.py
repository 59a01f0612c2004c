"""One assignment for a whole session: the first request's draw, remembered by the store.

Only requests with a session ask the store, and only while it answers in time. All replicas draw the same for
one session and plan, so a session nearly always keeps its policy even without the store. A session that
began before a decision, or under another generation, stays with its policy as long as it is remembered, and
takes no part in any comparison. This ends if a person took the traffic back. A session that began under an
older sealing key keeps its unit as long as that key is in force.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final, Protocol, assert_never

from gateway.experiments.response_ids import UNIT_BYTES, Apart, Assignment, coin_and_plan
from gateway.experiments.sealing_key import SealingKeyHolder
from gateway.experiments.snapshot import LiveExperiment
from gateway.instrumentation.hooks import Hooks
from gateway.instrumentation.records import StickySkipped
from gateway.running.store_breaker import StoreBreaker
from gateway.serving.routing import (
    Drawn,
    Duel,
    Follow,
    Incumbent,
    Part,
    Single,
    Staged,
    UnitDraws,
    UnitKey,
    assigned,
    draw_part,
)
from policy_store.errors import StoreError

_INCUMBENT: Final = "incumbent"
_LASTING: Final = ("share", "caps")  # reasons that hold for the whole session; others may change
_OVER: Final = ("not_running", "other_definition")  # reasons that must not end a running session
_EARLIER: Final = Apart.EARLIER_SESSION


class UnitStore(Protocol):
    """The part of the store that sticky sessions need."""

    async def assign_unit(
        self, name: str, generation: int, unit: str, proposal: str, ttl_seconds: int
    ) -> str:
        """The first proposal ever made for this unit. Raises StoreError."""
        ...

    async def assign_session(
        self, name: str, generation: int, unit: str, proposal: str, policy: str, ttl_seconds: int
    ) -> tuple[str, str]:
        """The assignment of a session, and the policy it began with. Raises StoreError."""
        ...

    async def assigned_unit(self, name: str, generation: int, unit: str) -> str | None:
        """The assignment of this unit, if there is one. Raises StoreError."""
        ...


class Sticky:
    """Routes the sessions of experiments.

    Args:
        store: Remembers assignments; its calls are bounded in time.
        keys: Secrets of the keyed hashes that stand for session names in the store; read at each use.
        hooks: Hear when a session had to be assigned without the store.
        breaker: Open while the store does not answer: no session waits for it then.
    """

    def __init__(self, store: UnitStore, keys: SealingKeyHolder, hooks: Hooks, breaker: StoreBreaker) -> None:
        self._store = store
        self._keys = keys
        self._hooks = hooks
        self._breaker = breaker

    async def part_of(
        self,
        experiment: LiveExperiment,
        session: str,
        now: float,
        request_id: str,
        *,
        takes_part: bool = True,
    ) -> Part:
        """The part of this session, the same from its first request on.

        Args:
            experiment: As the snapshot has it.
            session: The session's name.
            now: Unix seconds.
            request_id: The id of the present request.
            takes_part: Whether the request can be compared; if not, one policy answers it.
        """
        keys = self._keys.current
        unit = unit_key(keys.newest, experiment.name, session)
        if not takes_part:
            return await self._ordinary(experiment, unit, now, request_id)
        drawn = draw_part(experiment, unit, UnitDraws(unit), now)
        is_over = isinstance(drawn, Incumbent) and drawn.reason in _OVER
        if isinstance(drawn, Incumbent) and drawn.reason not in _LASTING and not is_over:
            return drawn
        if self._breaker.spares_sessions:
            self._hooks.tell(StickySkipped(request_id, experiment.name))
            return drawn
        try:
            for before in (unit_key(key, experiment.name, session) for key in keys.older):
                begun = await self._store.assigned_unit(experiment.name, experiment.generation, before.hex())
                if begun is not None and not is_over:
                    return _decode(experiment, begun, before, now)
            return await self._kept(experiment, unit, drawn, now, is_over=is_over)
        except StoreError as error:
            self._breaker.failed(error)
            self._hooks.tell(StickySkipped(request_id, experiment.name))
            return drawn

    async def _ordinary(self, experiment: LiveExperiment, unit: UnitKey, now: float, request_id: str) -> Part:
        """The part of a session's request that cannot be compared, during a promotion step by step."""
        drawn = draw_part(experiment, unit, UnitDraws(unit), now, takes_part=False)
        if self._breaker.spares_sessions:
            self._hooks.tell(StickySkipped(request_id, experiment.name))
            return drawn
        try:
            part = await self._kept(experiment, unit, drawn, now, is_over=False)
        except StoreError as error:
            self._breaker.failed(error)
            self._hooks.tell(StickySkipped(request_id, experiment.name))
            return drawn
        return Incumbent("one_choice") if isinstance(part, Single | Duel) else part

    async def _kept(
        self, experiment: LiveExperiment, unit: UnitKey, drawn: Drawn, now: float, *, is_over: bool
    ) -> Part:
        name, generation = experiment.name, experiment.generation
        lasts = max(1, int(experiment.window_seconds))
        proposal = "" if is_over else _encode(experiment, drawn)
        kept, began_with = await self._store.assign_session(
            name, generation, unit.hex(), proposal, _fingerprint(experiment, drawn), lasts
        )
        if kept and not is_over:
            return _staged(experiment, kept, began_with) or _decode(experiment, kept, unit, now)
        policy = _policy_of(experiment, began_with, kept)
        if policy is not None:
            return drawn if is_over and policy == experiment.incumbent else Follow(policy, _EARLIER)
        if is_over:
            return drawn
        # The policy that the session began with is gone, so it begins anew.
        kept = await self._store.assign_unit(name, generation, unit.hex(), proposal, lasts)
        return _decode(experiment, kept, unit, now)


def unit_key(sealing_key: bytes, experiment: str, session: str) -> UnitKey:
    """The session's key within an experiment; it reveals nothing about the session's name."""
    secret = blake2b(sealing_key, digest_size=32, person=b"llmpo session").digest()
    text = f"{experiment}\0{session}".encode()
    return UnitKey(blake2b(text, digest_size=UNIT_BYTES, key=secret).digest())


def _encode(experiment: LiveExperiment, drawn: Drawn) -> str:
    """A part as it is stored, with the time only if it matters: earlier versions read four numbers.

    A staged policy is stored as the incumbent, which earlier versions know; the fingerprint tells both apart.
    """
    if isinstance(drawn, Incumbent | Staged):
        return _INCUMBENT
    part = drawn.assignment
    kept = f"{part.first} {part.second} {part.side} {part.plan_and_coin}"
    return kept if experiment.hold_seconds is None else f"{kept} {part.assigned_at}"


def _fingerprint(experiment: LiveExperiment, drawn: Drawn) -> str:
    """The fingerprint of the one policy that a part leads to; empty if it leads to two."""
    match drawn:
        case Incumbent():
            return experiment.incumbent_policy.fingerprint
        case Single(_, policy) | Staged(policy):
            return experiment.policies[policy].fingerprint
        case Duel():
            return ""
        case _:
            assert_never(drawn)


def _staged(experiment: LiveExperiment, kept: str, began_with: str) -> Staged | None:
    """A session that takes no part goes on with the policy promoted step by step, if it began so."""
    staged = experiment.staged
    if staged is None or kept != _INCUMBENT:
        return None
    return Staged(staged.policy) if experiment.policies[staged.policy].fingerprint == began_with else None


def _policy_of(experiment: LiveExperiment, fingerprint: str, kept: str) -> int | None:
    """The policy that a session began with, if it still exists; earlier versions stored no policy."""
    for index, policy in enumerate(experiment.policies):
        if policy.fingerprint == fingerprint:
            return index
    if fingerprint or kept in {"", _INCUMBENT} or not experiment.matches_store:
        return None
    part = _decode(experiment, kept, UnitKey(bytes(UNIT_BYTES)), 0.0)
    return part.policy if isinstance(part, Single) else None


def _decode(experiment: LiveExperiment, kept: str, unit: UnitKey, now: float) -> Drawn:
    if kept == _INCUMBENT:
        return Incumbent("share")
    first, second, side, plan, *times = (int(part) for part in kept.split(" "))
    coin, plan_version = coin_and_plan(plan)
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
            coin=coin,
        ),
    )
