"""The frozen records of the audit log."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from policy_store.events import LoggedEvent


class Result(StrEnum):
    """The result of a comparison, seen from its first policy."""

    WIN = "win"
    LOSS = "loss"
    TIE = "tie"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One line of the comparison log. `first < second`; numbered from 1 without gaps within a generation."""

    number: int
    first: int
    second: int
    result: Result
    probability_millionths: int
    plan_version: int  # 0: no forecast was published for the pair, and nothing was added to the evidence
    source: str  # the collect mode and signal, e.g. "matched:thumb", "side_by_side"
    at: float  # unix seconds, by the store's clock
    voters: tuple[str, ...] = ()  # digests of first's and second's, or of the one who saw both; "" if unknown


@dataclass(frozen=True, slots=True)
class LoggedPlan:
    """A plan in the log; every comparison after it, up to the next plan, was counted with its forecasts.

    `forecasts` holds (first, second, probability in millionths that first is preferred), followed by the
    probability that second is where the bet against it has a forecast of its own; `comparisons` were counted
    before it.
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
