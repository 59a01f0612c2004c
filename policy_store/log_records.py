"""The frozen records of the audit log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from policy_store.events import LoggedEvent


class Result(StrEnum):
    """The result of a comparison, seen from its first policy."""

    WIN = "win"
    LOSS = "loss"
    TIE = "tie"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One line of the comparison log. `first < second`; numbered from 1 without gaps within a generation.

    Where a comparison has two values of something, they are `first`'s and `second`'s. What is empty is not
    known, or was not logged by earlier versions; nothing that is promised follows from it.

    Attributes:
        plan_version: 0 if no forecast was published for the pair; nothing was added to the evidence then.
        source: How it was collected and the signal, such as "matched:thumb" or "side_by_side".
        at: When it was counted, in Unix seconds by the store's clock.
        voters: Digests of two voters, or of the one who saw both answers; "" if one is unknown.
        units: The beginnings of the units' digests, or of the one unit that has both answers.
        given_at: When the answers were given, in Unix seconds; in a session, its first one. One number if
            one unit has both answers; 0 if that is unknown.
        position: Which policy's answer was shown first: 0 for `first`, 1 for `second`; None where no user
            saw both.
        served: Digests of the builds that served: of the model and the `system_fingerprint` as the
            provider named them in its answer; "" if one is unknown.
        segments: For each path the value in the requests of the comparison; `(none)` if they had none,
            `(other)` for values that are not counted by themselves, and `(mixed)` if the two answers were
            given to requests of different values. No other value has parentheses.
        second_millionths: The forecast of the bet against `second` it was counted with, in millionths, where
            the forecasts of the plan go on; None where the plan's own was used.
    """

    number: int
    first: int
    second: int
    result: Result
    probability_millionths: int
    plan_version: int
    source: str
    at: float
    voters: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    given_at: tuple[int, ...] = ()
    position: int | None = None
    served: tuple[str, ...] = ()
    segments: Mapping[str, str] = field(default_factory=dict)
    second_millionths: int | None = None


@dataclass(frozen=True, slots=True)
class LoggedPlan:
    """A plan in the log; every comparison after it, up to the next plan, was counted with its forecasts.

    `forecasts` holds (first, second, probability in millionths that first is preferred), followed by the
    probability that second is where the bet against it has a forecast of its own, and by the weights of both
    where they go on from one comparison to the next. `comparisons` were counted before it.
    """

    version: int
    fence: int
    comparisons: int
    forecasts: tuple[tuple[int, ...], ...]
    at: float


@dataclass(frozen=True, slots=True)
class Inherited:
    """What a generation started with: the first line of its log, if it continued from an earlier one.

    Matrices and lists are as in `Counts`. `sources[j]` is policy j's index in the generation before, or None
    for a newcomer. `eliminated_at` is `comparisons` for a policy whose elimination had to be derived anew.
    """

    generation: int  # the earlier generation
    after: int  # how many comparisons the earlier generation had counted
    sources: tuple[int | None, ...]
    policies_ever: int
    comparisons: int
    wins: tuple[tuple[int, ...], ...]
    ties: tuple[tuple[int, ...], ...]
    evidence_nano_nats: tuple[tuple[int, ...], ...]
    debts_nano_nats: tuple[int, ...]
    eliminated_at: tuple[int | None, ...]
    at: float
    evidence_at_half_nano_nats: tuple[tuple[int, ...], ...] = ()


LogRecord = Comparison | LoggedPlan | LoggedEvent | Inherited
