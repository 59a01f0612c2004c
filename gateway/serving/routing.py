"""Decides, for one request of an experiment, which policies answer it and for which comparison.

The decision is pure: snapshot and random numbers in, a value out. `answering.py` carries it out.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, Literal, NewType, Protocol, assert_never

from gateway.experiments.coins import CHANCES
from gateway.experiments.collecting import Assigns
from gateway.experiments.response_ids import UNIT_BYTES, Apart, Assignment
from gateway.experiments.snapshot import LiveExperiment

UnitKey = NewType("UnitKey", bytes)
IncumbentReason = Literal[
    "not_running",
    "taken_back",
    "other_definition",
    "no_plan",
    "share",
    "caps",
    "one_choice",
    "no_question",
    "unseen",
    "guardrail",
]

_BY_CHANCE: Final = ("share", "caps", "unseen")
_FLOAT_BITS: Final = 53
# Why a request takes part in no comparison although pairs are compared.
_ONE_CHOICE: Final = "one_choice"  # the caller took no part that could be compared
_APART: Final = frozenset({"share", "caps", _ONE_CHOICE})


class Draws(Protocol):
    """A source of randomness; `random.Random` is one."""

    def random(self) -> float:
        """The next number, uniform in [0, 1)."""
        ...

    def randbytes(self, n: int) -> bytes:
        """The next `n` random bytes."""
        ...


class UnitDraws:
    """Pseudorandom numbers that follow from a unit's key, so that every replica draws the same ones.

    Unit keys are keyed hashes, so a caller cannot choose one with a particular draw.
    """

    def __init__(self, unit: UnitKey) -> None:
        self._unit = unit
        self._drawn = 0

    def random(self) -> float:
        """The next number, uniform in [0, 1)."""
        return (int.from_bytes(self.randbytes(8)) >> (64 - _FLOAT_BITS)) / (1 << _FLOAT_BITS)

    def randbytes(self, n: int) -> bytes:
        """The next `n` bytes, at most 64."""
        self._drawn += 1
        return blake2b(self._drawn.to_bytes(4), digest_size=n, key=self._unit).digest()


@dataclass(frozen=True, slots=True)
class Incumbent:
    """The incumbent answers, and the answer belongs to no comparison of the caller's.

    Attributes:
        reason: Why no other policy answers.
        unseen: The comparison for which two policies answer afterwards, unseen by the caller; None for none.
    """

    reason: IncumbentReason
    unseen: Assignment | None = None


@dataclass(frozen=True, slots=True)
class Single:
    """One policy of a pair answers."""

    assignment: Assignment
    policy: int


@dataclass(frozen=True, slots=True)
class Duel:
    """Both policies of a pair answer. `shown[0]` becomes choice 0."""

    assignment: Assignment
    shown: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Follow:
    """The policy that a conversation began with continues it, and the answer belongs to no comparison."""

    policy: int
    why: Apart


@dataclass(frozen=True, slots=True)
class Staged:
    """A policy that is promoted step by step answers, and the answer belongs to no comparison."""

    policy: int


# What can be drawn for a request or a session.
Drawn = Incumbent | Staged | Single | Duel
# The part that a request can play in an experiment.
Part = Drawn | Follow


def draw_part(
    experiment: LiveExperiment,
    unit: UnitKey | None,
    draws: Draws,
    now: float,
    point: float | None = None,
    *,
    takes_part: bool = True,
) -> Drawn:
    """The part that a request plays.

    Args:
        experiment: As the snapshot has it.
        unit: The session's key, or None for a request that stands alone and is its own unit.
        draws: Randomness that does not depend on anything the caller sent.
        now: Unix seconds.
        point: What decides whether it takes part, uniform in [0, 1); None to draw that, too.
        takes_part: Whether the request can be compared; if not, one policy answers it.
    """
    if not takes_part:
        return _ordinary_part(experiment, draws, "one_choice")
    if not experiment.matches_store:
        return Incumbent("other_definition")
    facts = experiment.state.facts
    if not facts.draws_pairs:
        return Incumbent("not_running" if facts.keeps_sessions else "taken_back")
    if not experiment.pairs:
        return Incumbent("no_plan")
    point = draws.random() if point is None else point
    if point >= experiment.compared_share:
        return _ordinary_part(experiment, draws, "share" if point >= experiment.share else "caps")
    return assigned(experiment, _drawn(experiment, unit, draws, now))


def _drawn(experiment: LiveExperiment, unit: UnitKey | None, draws: Draws, now: float) -> Assignment:
    """A pair, and the policy that answers or is shown first."""
    drawn = bisect_right(experiment.cumulative, draws.random() * experiment.cumulative[-1])
    pair = experiment.pairs[min(drawn, len(experiment.pairs) - 1)]
    coin = experiment.coin_for(pair, draws.random)
    return Assignment(
        experiment=experiment.name,
        generation=experiment.generation,
        first=pair.first,
        second=pair.second,
        collect=experiment.collect,
        side=int(draws.random() < CHANCES[coin]),
        plan_version=experiment.plan.version if experiment.plan else 0,
        unit=unit if unit is not None else draws.randbytes(UNIT_BYTES),
        expires_at=int(now + experiment.window_seconds),
        assigned_at=int(now),
        coin=coin,
    )


def unseen_beside(experiment: LiveExperiment, part: Incumbent, draws: Draws, now: float) -> Assignment | None:
    """The comparison that a judge makes of a request which only the incumbent answers; None for none.

    Beside users the judge gets a share of the requests that take part in no comparison. So its verdict,
    whether it informs or counts, is about no request whose outcome counts (docs/decisions/0127-roles.md).
    """
    judge = experiment.judge
    if judge is None or part.unseen is not None:
        return part.unseen
    if part.reason not in _APART or not experiment.asks_beside:
        return None
    is_drawn = draws.random() < _judged_share(experiment, judge.share, part.reason)
    return _drawn(experiment, None, draws, now) if is_drawn else None


def _judged_share(experiment: LiveExperiment, usual: float, reason: IncumbentReason) -> float:
    """The share of requests apart that the judge compares.

    A watch has another share than the experiment had. There the judge compares as many requests for each one
    that takes part as before, so that votes and verdicts are mixed as they were when the promotion was made.
    """
    before, share = experiment.share_before, experiment.share
    if not before:
        return usual
    fewer = share / before
    if reason == _ONE_CHOICE or share == 1:
        return usual * fewer
    return usual * fewer * (1 - before) / (1 - share)


def _ordinary_part(experiment: LiveExperiment, draws: Draws, reason: IncumbentReason) -> Incumbent | Staged:
    """The part of a request that no pair is drawn for, for that reason."""
    staged = experiment.staged
    if staged is not None and draws.random() < staged.share:
        return Staged(staged.policy)
    return Incumbent(reason)


def assigned(experiment: LiveExperiment, assignment: Assignment) -> Single | Duel | Incumbent:
    """The part that carries out an assignment."""
    pair = (assignment.first, assignment.second)
    match assigns := experiment.way.assigns:
        case Assigns.ONE | Assigns.IN_TURN:
            return Single(assignment, pair[assignment.side])
        case Assigns.BOTH:
            return Duel(assignment, pair if assignment.side == 0 else pair[::-1])
        case Assigns.UNSEEN:
            return Incumbent("unseen", assignment)
        case _:
            assert_never(assigns)


def policies_of(part: Part) -> tuple[int, ...]:
    """The policies other than the incumbent that a part names."""
    match part:
        case Incumbent():
            return ()
        case Duel(_, shown):
            return shown
        case Single(_, policy) | Staged(policy) | Follow(policy):
            return (policy,)


def measured_policies(experiment: LiveExperiment, part: Part) -> tuple[int, ...]:
    """The policies whose answers guardrails compare: those that chance alone let answer the request."""
    match part:
        case Follow():
            return ()
        case Incumbent(reason):
            return (experiment.incumbent,) if reason in _BY_CHANCE else ()
        case _:
            return policies_of(part)
