"""The frozen records the store keeps, and their JSON.

Indices: a candidate is known here by its position in `Experiment.policies`; that order is fixed for a
generation. Evidence is in integer nano-nats, forecasts in integer millionths, so that every replica adds
and every verifier recomputes exactly the same numbers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from policy_store.events import LoggedEvent
from policy_store.states import ExperimentState
from policy_store.watch_records import Watch

EXPERIMENT_SCHEMA: Final = 1
_UNSTATED_PROMISE: Final = "no_worse_than_any"  # of records from before there was a choice


class Result(StrEnum):
    """How one comparison ended, seen from its first policy."""

    WIN = "win"
    LOSS = "loss"
    TIE = "tie"


class Receipt(StrEnum):
    """What happened to a reported outcome."""

    COUNTED = "counted"
    PENDING = "pending"  # waits for the outcome of the other policy of its pair
    HELD = "held"  # counts once its unit is as old as every unit is when it counts
    DUPLICATE = "duplicate"


@dataclass(frozen=True, slots=True)
class Experiment:
    """What fixes the meaning of an experiment's evidence; any change to it is a new generation.

    Attributes:
        name: The name clients send as `model`.
        policies: Names, in the order their indices refer to.
        policy_fingerprints: Content hash of each policy, same order: a changed policy is a new policy.
        costs: Declared cost per request of each policy (any one unit); breaks ties between equals.
        incumbent: Index of the policy that serves until a promotion.
        delta: Error level in (0, 1).
        epsilon: Smallest preference margin that matters, in [0, 1/2).
        max_comparisons: Budget, or None.
        min_comparisons: No decision before so many comparisons.
        min_duration_seconds: No decision before so long after the start.
        collect: `matched` or `side_by_side`.
        outcome_rules: Canonical JSON of what turns feedback into outcomes (signals and their weights, what
            counts as a tie, what a unit is): evidence collected under other rules means something else.
        inference: Canonical JSON of what is assumed, which rule decides, what plans save; empty where
            nothing is assumed and the exact evidence decides.
        promise: With a margin, who may not be preferred to the promoted policy by more than it.
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
            if content[name] == unstated:  # as written before there was a choice: running experiments go on
                del content[name]
        return json.dumps(content, sort_keys=True, separators=(",", ":"))

    def fingerprint(self) -> str:
        """Names a generation: equal for experiments that differ only in name and incumbent."""
        text = replace(self, name="", incumbent=0).to_json()
        return hashlib.sha256(text.encode()).hexdigest()

    def sources(self, before: Experiment) -> tuple[int | None, ...] | None:
        """Where to find what was counted between these policies in an earlier definition.

        Returns:
            For each policy its index in `before`, or None for a newcomer; a policy is the same by name and
            content. None for all: fewer than two are the same, evidence means something else there, or the
            decision does not rest on it.
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
        """Inverse of `to_json`."""
        fields: dict[str, Any] = json.loads(text)
        fields.pop("schema")
        for name in ("policies", "policy_fingerprints", "costs"):
            fields[name] = tuple(fields[name])
        return cls(**fields)


_FEWEST_KEPT: Final = 2
# What may change while the evidence between two policies keeps its meaning. A field not named here may not.
_FREE_FIELDS: Final = (
    *("name", "policies", "policy_fingerprints", "costs", "incumbent"),
    *("max_comparisons", "min_comparisons", "min_duration_seconds"),
    "inference",  # features change forecasts, and any forecast keeps the evidence exact
)


_EXACT: Final = "e-process"  # rules that decide by the counts alone are not proven for changing policies


def _meaning(experiment: Experiment) -> dict[str, Any]:
    return {name: value for name, value in asdict(experiment).items() if name not in _FREE_FIELDS}


def _stopping(experiment: Experiment) -> str:
    inference = json.loads(experiment.inference) if experiment.inference else {}
    return str(inference.get("stopping", _EXACT))


@dataclass(frozen=True, slots=True)
class Forecast:
    """What one comparison of a pair will add to the ledger, published before any outcome it is applied to.

    `first < second`. `increments` are nano-nats: to evidence[first, second] if first is preferred and if
    second is, then to evidence[second, first] if first is preferred and if second is. `at_half` are those of
    the evidence at one half, in the same order; None where the experiment's promise needs no such evidence.
    """

    first: int
    second: int
    probability_millionths: int  # forecast of P(first preferred to second | decisive)
    increments: tuple[int, int, int, int]
    at_half: tuple[int, int, int, int] | None = None


@dataclass(frozen=True, slots=True)
class PlannedPair:
    """A pair the router may draw; probabilities of a plan's pairs sum to 1. `first < second`."""

    first: int
    second: int
    probability: float


@dataclass(frozen=True, slots=True)
class ProposedPlan:
    """What a planner wants every replica to draw from, and what it knows of the evidence."""

    comparisons: int  # how many had been counted when it was computed
    pairs: tuple[PlannedPair, ...]
    leader: int
    evidence_nats: tuple[float, ...]  # per policy, towards `needed_nats`
    needed_nats: tuple[float, ...]
    expected_remaining: float | None  # comparisons to a decision, if known
    duration_seconds: float  # how long planning took
    fit_p_value: float | None = None  # of the structure assumed, if any; small: it does not fit
    is_misfit: bool = False


# How many outcomes of a pair's first and of its second policy wait for one of the other to be compared with.
Waiting = tuple[int, int]


@dataclass(frozen=True, slots=True)
class PublishedPlan:
    """A plan in force. The store adds to the proposal what only it can say."""

    proposal: ProposedPlan
    version: int  # counts up from 1 within a generation
    fence: int  # of the planner that proposed it
    created_at: float  # unix seconds, by the store's clock
    waiting: Mapping[tuple[int, int], Waiting] = field(default_factory=dict)  # then; pairs of which some did


@dataclass(frozen=True, slots=True)
class Counts:
    """Everything counted so far in one generation. Matrices are K x K nested tuples.

    wins[i][j]: times i was preferred to j. ties: symmetric. evidence_nano_nats[j][k]: evidence against "j is
    preferred to k with probability at least 1/2 + epsilon". `eliminated_at[j]`: the comparison number at
    which row j's total first reached the elimination threshold, or None. debts_nano_nats[j]: part of row j's
    total left by rivals removed since, none above 0; empty: none. evidence_at_half_nano_nats: that against
    "with probability at least 1/2", kept where a promise needs it; empty where it is 0 for all. A generation
    that inherited counts what it inherited too.
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
    policies_ever: int | None = None  # how many policies there ever were, those removed included; None: these
    inherited: int = 0  # how many of the comparisons
    inherited_from: int | None = None  # the generation, if any
    by_source: Mapping[str, int] = field(default_factory=dict)  # of the comparisons not inherited
    waiting: Mapping[tuple[int, int], Waiting] = field(default_factory=dict)  # of pairs of which some do
    reports_held: int = 0  # how many do not count yet, since their units are too young
    votes: int = 0  # in comparisons: two of users who saw one answer each, one of a user who saw both
    voters: int = 0  # how many gave them, each vote of an unknown voter being one
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
    """How many answers of a policy were measured, and the tokens that their providers reported together."""

    answers: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def plus(self, other: Usage) -> Usage:
        """Both together."""
        return Usage(
            self.answers + other.answers,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )


@dataclass(frozen=True, slots=True)
class Report:
    """What a unit says about a pair of policies, apart from what it says.

    Attributes:
        experiment: Name of the experiment.
        generation: The one the pair was drawn in.
        unit: What is counted once: a request or a session.
        first: Index of the pair's first policy, below `second`.
        second: Index of the other one.
        source: Where the report comes from, for the log.
        fingerprint: Equal for equal feedback, different for contradicting feedback.
        keep_seconds: How long the unit is remembered: at least as long as feedback is accepted.
        voter: Digest of the voter; empty where nothing tells voters apart.
        key: Digest of the API key; empty where nothing tells keys apart.
        voter_cap: How many votes one voter may give on a pair; 0 for any number.
        key_share: How much of the votes on a pair one key may give, from its eleventh vote on; 1 for all.
        due_at: When it counts, in Unix seconds by the store's clock; None for at once.
        definition: Fingerprint of the experiment the pair was drawn in; empty where that is not known.

    Raises:
        ValueError: The policies are not a pair, the lower index first.
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

    def __post_init__(self) -> None:
        if not 0 <= self.first < self.second:
            raise ValueError(
                f"A pair is two different policies, the lower index first, not {self.first}, {self.second}."
            )


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of a reported outcome, and the comparison it completed, if any."""

    receipt: Receipt
    comparison: Comparison | None


@dataclass(frozen=True, slots=True)
class LoggedPlan:
    """A plan in the log: every comparison after it, up to the next plan, was counted with these forecasts.

    `forecasts` holds (first, second, probability in millionths); `comparisons` were counted before it.
    """

    version: int
    fence: int
    comparisons: int
    forecasts: tuple[tuple[int, int, int], ...]
    at: float


@dataclass(frozen=True, slots=True)
class Inherited:
    """What a generation started with; the first line of its log, if it went on from another.

    Matrices and lists as in `Counts`. `sources[j]` is policy j's index in the generation before, or None for
    a newcomer. `eliminated_at` of a policy whose elimination had to be derived anew is `comparisons`.
    """

    generation: int  # the one before
    after: int  # how many comparisons that one had counted
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
    """One consistent read of an experiment: what the router and the pages need.

    `revision` changes whenever anything the router reads (state, incumbent, plan, generation) changes.
    `watch` is that of the promotion in the present generation, if it is or was watched.
    """

    experiment: Experiment
    generation: int
    revision: int
    state: ExperimentState
    incumbent: int
    plan: PublishedPlan | None
    certificate: dict[str, Any] | None
    watch: Watch | None = None
