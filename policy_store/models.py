"""The frozen records the store keeps, and their JSON.

A candidate is known here by its index in `Experiment.policies`; the order is fixed for a generation.
Evidence is in integer nano-nats, forecasts in integer millionths, so that every replica adds and every
verifier recomputes exactly the same numbers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from policy_store.events import LoggedEvent
from policy_store.stage_records import Stage
from policy_store.states import ExperimentState
from policy_store.watch_records import Watch

EXPERIMENT_SCHEMA: Final = 1
_UNSTATED_PROMISE: Final = "no_worse_than_any"  # the promise of records from before there was a choice


class Result(StrEnum):
    """The result of a comparison, seen from its first policy."""

    WIN = "win"
    LOSS = "loss"
    TIE = "tie"


class Receipt(StrEnum):
    """What the store did with a reported outcome."""

    COUNTED = "counted"
    PENDING = "pending"  # waits for the outcome of the other policy of its pair
    HELD = "held"  # counts once its unit has reached the age of `feedback.hold`
    REPLACED = "replaced"  # took the place of what its unit reported before, of which nothing was made yet
    DUPLICATE = "duplicate"


class Precedence(StrEnum):
    """How a report stands to another one of its unit."""

    FIRST = "first"  # the first one stands
    REPLACE = "replace"  # a later one takes the place of an earlier one, of which nothing was made yet
    MISSING = "missing"  # it counts only if the unit reports nothing


class MissingVerdict(StrEnum):
    """What a unit comes to that reported nothing, or whose policy gave no answer."""

    LOSS = "loss"  # worse than anything reported, and as bad as another loss
    TIE = "tie"  # as good as anything


@dataclass(frozen=True, slots=True)
class Experiment:
    """Everything that fixes the meaning of an experiment's evidence; any change makes a new generation.

    Attributes:
        name: The name clients send as `model`.
        policies: Names, in the order of their indices.
        policy_fingerprints: Content hash of each policy, in the same order; a changed policy is a new one.
        costs: Declared cost per request of each policy, all in the same unit; breaks ties between equals.
        incumbent: Index of the policy that serves until a promotion.
        delta: Error level in (0, 1).
        epsilon: Smallest preference margin that matters, in [0, 1/2).
        max_comparisons: Budget, or None.
        min_comparisons: No decision before this many comparisons.
        min_duration_seconds: No decision before this time after the start.
        collect: `matched` or `side_by_side`.
        outcome_rules: Canonical JSON of the rules that turn feedback into outcomes (signals and their
            weights, ties, units). Evidence collected under other rules has another meaning.
        inference: Canonical JSON of the assumed structure, the stopping rule and the objective; empty if
            nothing is assumed and the exact evidence decides.
        promise: With a margin: which policies may not be preferred to the promoted one by more than the
            margin.
    """

    name: str
    policies: tuple[str, ...]
    policy_fingerprints: tuple[str, ...]
    costs: tuple[float, ...]
    incumbent: int
    delta: float
    epsilon: float
    max_comparisons: int | None
    min_comparisons: int
    min_duration_seconds: float
    collect: str
    outcome_rules: str
    inference: str = ""
    promise: str = _UNSTATED_PROMISE

    def to_json(self) -> str:
        """Canonical JSON: equal experiments give equal text."""
        content = {"schema": EXPERIMENT_SCHEMA, **asdict(self)}
        for name, unstated in (("inference", ""), ("promise", _UNSTATED_PROMISE)):
            # as in records from before there was a choice, so that running experiments continue
            if content[name] == unstated:
                del content[name]
        return json.dumps(content, sort_keys=True, separators=(",", ":"))

    def fingerprint(self) -> str:
        """The name of a generation; equal for experiments that differ only in name and incumbent."""
        text = replace(self, name="", incumbent=0).to_json()
        return hashlib.sha256(text.encode()).hexdigest()

    def sources(self, before: Experiment) -> tuple[int | None, ...] | None:
        """Where an earlier definition has the counts between these policies.

        Returns:
            For each policy its index in `before`, or None for a newcomer; a policy is the same if name and
            content are. None for all if fewer than two are the same, if evidence has another meaning there,
            or if the decision does not depend on it.
        """
        return None if self.breaks_with(before) else self._places_in(before)

    def breaks_with(self, before: Experiment) -> tuple[str, ...]:
        """What keeps everything counted in an earlier definition from counting here; empty if nothing does.

        Returns:
            Names of the fields that give evidence another meaning; `stopping` where a rule does not allow it,
            `policies` where fewer than two are the same.
        """
        mine, earlier = _meaning(self), _meaning(before)
        broken = [name for name, value in mine.items() if value != earlier[name]]
        if not _stopping(self) == _stopping(before) == _EXACT:
            broken.append("stopping")
        places = self._places_in(before)
        if len(places) - places.count(None) < _FEWEST_KEPT:
            broken.append("policies")
        return tuple(broken)

    def _places_in(self, before: Experiment) -> tuple[int | None, ...]:
        there = {
            policy: index
            for index, policy in enumerate(zip(before.policies, before.policy_fingerprints, strict=True))
        }
        here = zip(self.policies, self.policy_fingerprints, strict=True)
        return tuple(there.get(policy) for policy in here)

    @classmethod
    def from_json(cls, text: str | bytes) -> Experiment:
        """The experiment in a text from `to_json`."""
        fields: dict[str, Any] = json.loads(text)
        fields.pop("schema")
        for name in ("policies", "policy_fingerprints", "costs"):
            fields[name] = tuple(fields[name])
        return cls(**fields)


_FEWEST_KEPT: Final = 2
# Only these fields may change while the evidence between two policies keeps its meaning.
_FREE_FIELDS: Final = (
    *("name", "policies", "policy_fingerprints", "costs", "incumbent"),
    *("max_comparisons", "min_comparisons", "min_duration_seconds"),
    "inference",  # features change forecasts, and any forecast keeps the evidence exact
)


_EXACT: Final = "e-process"  # rules that decide by the counts alone are not proven if policies change


def _meaning(experiment: Experiment) -> dict[str, Any]:
    return {name: value for name, value in asdict(experiment).items() if name not in _FREE_FIELDS}


def _stopping(experiment: Experiment) -> str:
    inference = json.loads(experiment.inference) if experiment.inference else {}
    return str(inference.get("stopping", _EXACT))


@dataclass(frozen=True, slots=True)
class Forecast:
    """What one comparison of a pair adds to the ledger, published before any outcome it is applied to.

    `first < second`. `increments` are in nano-nats: to evidence[first, second] if first is preferred and if
    second is, then to evidence[second, first] if first is preferred and if second is. `at_half` are the
    increments of the evidence at one half, in the same order; None if the experiment's promise needs no such
    evidence. `second_millionths` is the forecast of the bet against second; None if it is the complement of
    the other one.
    """

    first: int
    second: int
    probability_millionths: int  # forecast of P(first preferred to second | decisive)
    increments: tuple[int, int, int, int]
    at_half: tuple[int, int, int, int] | None = None
    second_millionths: int | None = None  # forecast of P(second preferred to first | decisive)

    @property
    def logged(self) -> tuple[int, ...]:
        """What the log holds of it, as `LoggedPlan.forecasts` has it."""
        said = self.first, self.second, self.probability_millionths
        return said if self.second_millionths is None else (*said, self.second_millionths)


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


# How many outcomes of a pair's first and of its second policy wait for one of the other.
Waiting = tuple[int, int]


@dataclass(frozen=True, slots=True)
class PublishedPlan:
    """A plan in force: the proposal, and the fields that only the store can set."""

    proposal: ProposedPlan
    version: int  # counts up from 1 within a generation
    fence: int  # fencing number of the planner that proposed it
    created_at: float  # unix seconds, by the store's clock
    # at that time; only pairs with waiting outcomes
    waiting: Mapping[tuple[int, int], Waiting] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Counts:
    """Everything counted so far in one generation. Matrices are K x K nested tuples.

    wins[i][j]: times i was preferred to j. ties: symmetric. evidence_nano_nats[j][k]: evidence against "j is
    preferred to k with probability at least 1/2 + epsilon". `eliminated_at[j]`: the number of the comparison
    at which row j's total first reached the elimination threshold, or None. debts_nano_nats[j]: the part of
    row j's total that removed rivals left, never above 0; empty if there is none.
    evidence_at_half_nano_nats: evidence against "with probability at least 1/2", kept if the promise needs
    it; empty if it is 0 for all. Inherited comparisons are included.
    """

    comparisons: int
    wins: tuple[tuple[int, ...], ...]
    ties: tuple[tuple[int, ...], ...]
    evidence_nano_nats: tuple[tuple[int, ...], ...]
    eliminated_at: tuple[int | None, ...]
    started_at: float  # unix seconds, by the store's clock
    now: float  # the store's clock when read
    debts_nano_nats: tuple[int, ...] = ()
    evidence_at_half_nano_nats: tuple[tuple[int, ...], ...] = ()
    policies_ever: int | None = None  # number of policies ever, including removed ones; None: only these
    inherited: int = 0  # how many of the comparisons are inherited
    inherited_from: int | None = None  # from this generation, if any
    by_source: Mapping[str, int] = field(default_factory=dict)  # without inherited comparisons
    # only pairs with waiting outcomes
    waiting: Mapping[tuple[int, int], Waiting] = field(default_factory=dict)
    reports_held: int = 0  # reports that do not count yet, because their units are too young
    votes: int = 0  # two per comparison of users who saw one answer each, one of a user who saw both
    voters: int = 0  # how many gave these votes; each vote of an unknown voter counts as a voter
    largest_voter: int = 0  # most votes of one voter


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
class Usage:
    """How many answers of a policy were measured, and the total tokens that providers reported for them."""

    answers: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def plus(self, other: Usage) -> Usage:
        """The sum of both."""
        return Usage(
            self.answers + other.answers,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )


@dataclass(frozen=True, slots=True)
class Report:
    """A unit's report about a pair of policies, without the outcome itself.

    Attributes:
        experiment: Name of the experiment.
        generation: The generation in which the pair was drawn.
        unit: The unit that is counted once: a request or a session.
        first: Index of the pair's first policy, below `second`.
        second: Index of the other one.
        source: The source of the report, for the log.
        fingerprint: Equal for equal feedback, different for contradicting feedback.
        keep_seconds: How long the unit is remembered: at least as long as feedback is accepted.
        voter: Digest of the voter; empty if voters cannot be told apart.
        key: Digest of the API key; empty if there is only one.
        voter_cap: How many votes one voter may give on a pair; 0 for any number.
        key_share: Largest share of the votes on a pair that one key may give, from its eleventh vote on; 1
            for no limit.
        due_at: When the report counts, in Unix seconds by the store's clock; None for at once.
        definition: Fingerprint of the definition under which the pair was drawn; empty if that is not known.
        standing: How it stands to another report of the unit.
        idempotency: Digest of what the sender calls this report; empty if it calls it nothing.

    Raises:
        ValueError: The policies are not a pair with the lower index first.
    """

    experiment: str
    generation: int
    unit: str
    first: int
    second: int
    source: str
    fingerprint: str
    keep_seconds: int
    voter: str = ""
    key: str = ""
    voter_cap: int = 0
    key_share: float = 1.0
    due_at: float | None = None
    definition: str = ""
    standing: Precedence = Precedence.FIRST
    idempotency: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.first < self.second:
            raise ValueError(
                f"A pair is two different policies with the lower index first, not {self.first}, "
                f"{self.second}."
            )


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the store did with a reported outcome, and the comparison that it completed, if any."""

    receipt: Receipt
    comparison: Comparison | None


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


@dataclass(frozen=True, slots=True)
class ExperimentView:
    """One consistent reading of an experiment, for the router and the pages.

    `revision` changes whenever anything the router reads (state, incumbent, plan, generation) changes.
    `watch` is that of the promotion in the present generation, if it is or was watched; `stage` says where a
    staged promotion stands.
    """

    experiment: Experiment
    generation: int
    revision: int
    state: ExperimentState
    incumbent: int
    plan: PublishedPlan | None
    certificate: dict[str, Any] | None
    watch: Watch | None = None
    stage: Stage | None = None
