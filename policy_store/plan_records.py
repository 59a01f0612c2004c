"""The frozen records of plans and their forecasts.

Forecasts are in integer millionths and their increments in integer nano-nats, so that every replica adds and
every verifier recomputes exactly the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from policy_store.counts import Waiting


@dataclass(frozen=True, slots=True)
class GoingOn:
    """How the forecasts of a pair go on with the outcomes counted until the next plan.

    Attributes:
        weights: How many comparisons the forecast of the bet against first, and against second, is worth.
        thresholds: The probability that evidence is against, then one half if evidence against it is kept.
    """

    weights: tuple[int, int]
    thresholds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Forecast:
    """What one comparison of a pair adds to the ledger, published before any outcome it is applied to.

    `first < second`. `increments` are in nano-nats: to evidence[first, second] if first is preferred and if
    second is, then to evidence[second, first] if first is preferred and if second is. `at_half` are the
    increments of the evidence at one half, in the same order; None if the experiment's promise needs no such
    evidence. `second_millionths` is the forecast of the bet against second; None if it is the complement of
    the other one. With `goes_on`, all this is of the first comparison under the plan, and each moves it.

    Raises:
        ValueError: If it goes on without a forecast of the bet against second.
    """

    first: int
    second: int
    probability_millionths: int  # forecast of P(first preferred to second | decisive)
    increments: tuple[int, int, int, int]
    at_half: tuple[int, int, int, int] | None = None
    second_millionths: int | None = None  # forecast of P(second preferred to first | decisive)
    goes_on: GoingOn | None = None

    def __post_init__(self) -> None:
        if self.goes_on is not None and self.second_millionths is None:
            raise ValueError(f"The forecast of {self.first} and {self.second} goes on; give both sides.")

    @property
    def logged(self) -> tuple[int, ...]:
        """What the log holds of it, as `LoggedPlan.forecasts` has it."""
        said = self.first, self.second, self.probability_millionths
        if self.second_millionths is None:
            return said
        return (*said, self.second_millionths, *(() if self.goes_on is None else self.goes_on.weights))


@dataclass(frozen=True, slots=True)
class PlannedPair:
    """A pair the router may draw; probabilities of a plan's pairs sum to 1. `first < second`."""

    first: int
    second: int
    probability: float


@dataclass(frozen=True, slots=True)
class ProposedPlan:
    """The pairs that a planner wants every replica to draw from, and the state of the evidence."""

    comparisons: int  # how many had been counted when it was computed
    pairs: tuple[PlannedPair, ...]
    leader: int
    evidence_nats: tuple[float, ...]  # per policy, towards `needed_nats`
    needed_nats: tuple[float, ...]
    expected_remaining: float | None  # comparisons to a decision, if known
    duration_seconds: float  # how long planning took
    fit_p_value: float | None = None  # of the assumed structure, if any; small if it does not fit
    is_misfit: bool = False
    # by source of what only informs: the probability that the forecasts use it
    used: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PublishedPlan:
    """A plan in force: the proposal, and the fields that only the store can set."""

    proposal: ProposedPlan
    version: int  # counts up from 1 within a generation
    fence: int  # fencing number of the planner that proposed it
    created_at: float  # unix seconds, by the store's clock
    # at that time; only pairs with waiting outcomes
    waiting: Mapping[tuple[int, int], Waiting] = field(default_factory=dict)
    under_way: float = 0.0  # how many outcomes came, at the rate of that time, before one drawn then did


@dataclass(frozen=True, slots=True)
class Glance:
    """What changes in an experiment when there is something to plan.

    Attributes:
        words: Revision, holder of the lease, comparisons counted, outcomes that wait, and reports held.
        holds_reports: Whether there are reports that count later.
    """

    words: tuple[str, ...]
    holds_reports: bool
