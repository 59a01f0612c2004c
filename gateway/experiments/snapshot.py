"""The immutable picture of models and experiments that the request path reads; it is swapped whole.

The refresher (another task) builds a new `Snapshot` whenever the store's revision of an experiment changes
and assigns it to the holder. A request reads `holder.current` once, so it sees one consistent state to its
end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, combinations
from typing import Final, Literal

from gateway.config.experiments import Collect
from gateway.config.feedback import Missing, RegenerateSpec
from gateway.errors import UnknownModelError
from gateway.experiments.coins import Coin, coin_for
from gateway.experiments.collecting import WAYS, Assigns, Takes, Way
from gateway.experiments.exposure import ExposureCaps
from gateway.experiments.found_signals import FoundRules
from gateway.experiments.guardrails import Guardrail
from gateway.experiments.judge import CompiledJudge
from gateway.experiments.policies import CompiledPolicy
from gateway.experiments.response_ids import ANY_DEFINITION, DEFINITION_BYTES, Assignment
from gateway.upstream.base import ModelTarget
from policy_store.guard_records import GuardStanding
from policy_store.plan_records import PlannedPair, PublishedPlan
from policy_store.report_records import MissingVerdict, Precedence
from policy_store.roles import Role
from policy_store.states import ExperimentState
from policy_store.view import ExperimentView

_MOST_NAMED: Final = 20
_LONGEST_NAME: Final = 128

Unit = Literal["request", "session"]


@dataclass(frozen=True, slots=True)
class StagedPolicy:
    """A policy that is promoted step by step, and the share of ordinary traffic that it answers now."""

    policy: int
    share: float

    @classmethod
    def of(cls, view: ExperimentView, caps: ExposureCaps) -> StagedPolicy | None:
        """The one of an experiment, with as much of the traffic as caps leave it; None if there is none."""
        champion = (view.certificate or {}).get("champion")
        if view.stage is None or not isinstance(champion, int):
            return None
        name = view.experiment.policies[champion]
        return cls(champion, min(view.stage.present.share, caps.elsewhere(name)))


@dataclass(frozen=True, slots=True)
class LiveExperiment:
    """One experiment as the router sees it.

    Attributes:
        name: The name that clients send as `model`.
        policies: The candidates, in the order of their indices.
        generation: Which run of the experiment outcomes are counted for; while a promotion is watched, the
            run of the watch.
        state: State of the experiment, which decides whether pairs are drawn.
        incumbent: Index of the policy that serves ordinary traffic now.
        plan: The plan published last, while a promotion is watched that of the watch; None before the first.
        share: Fraction of units that take part in the experiment, or in the watch, in [0, 1].
        caps: The share of units that each policy may answer; None for no caps.
        collect: The way of collecting comparisons.
        unit: What one assignment covers, a request or a session.
        window_seconds: How long feedback on an answer is accepted.
        hold_seconds: Age of a unit at which its outcome counts; None: it counts when it is reported.
        signals: Weight of each declared signal, in [-1, 1].
        scales: The lowest and the highest grade of each signal that has a scale.
        tie_margin: Matched outcomes closer than this are a tie.
        voter_cap: How many votes one voter may give on a pair.
        voter_cap_per_experiment: How many votes one voter may give in all; None for any number.
        key_share: How much of the votes on a pair one API key may give.
        regenerate: What asking again is, and which answer counts as kept.
        missing: What an answer without feedback comes to, by what is missing; the rest does not count.
        informing: The role of each declared signal that is no evidence but informs forecasts.
        found: What the gateway finds itself in conversations that are sent back; None for nothing.
        may_correct: Whether a later word of a voter takes the place of an earlier one.
        segments: Paths into requests by which comparisons are also counted.
        spools: Whether reports wait in a file while the store is away.
        shares_ids: Whether any client key may report on an answer, not only the key that got it.
        definition: Fingerprint of the experiment's definition.
        matches_store: False while the store runs another definition of this experiment: the incumbent serves.
        staged: The policy that is promoted step by step; None where none is.
        judge: The model that compares answers beside the traffic; None without one.
        counts_verdicts: Whether its verdicts are evidence; otherwise they inform forecasts.
        watched: The two policies that a watch compares, the lower index first; None outside of a watch.
        share_before: While a promotion is watched, the `share` with which the experiment was decided.
        guardrails: What answers are compared by beside preferences.
        guards: Which policies guardrails found worse.
        reference: Index of the policy that guardrails compare others with.
        ejected: Indices of the policies that answer nothing, because a guardrail ejected them.
        pairs: The pairs to draw from: the plan's, and before there is a plan every pair alike, or the one
            that is watched. Forecasts come with plans, so comparisons from before the first plan are counted
            without being evidence.
        cumulative: Running totals of the pairs' probabilities, for drawing.
        compared_share: Fraction of all units for which a pair is drawn: `share`, or less if `share` would
            break a cap.
        short_definition: The part of the definition's fingerprint that sealed ids hold.
        way: The record of its way of collecting.
    """

    name: str
    policies: tuple[CompiledPolicy, ...]
    generation: int
    state: ExperimentState
    incumbent: int
    plan: PublishedPlan | None
    share: float
    collect: Collect
    unit: Unit
    window_seconds: float
    signals: Mapping[str, float]
    tie_margin: float
    hold_seconds: float | None = None
    scales: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    voter_cap: int = 1
    voter_cap_per_experiment: int | None = None
    key_share: float = 0.5
    regenerate: RegenerateSpec = field(default_factory=RegenerateSpec)
    missing: Mapping[Missing, MissingVerdict] = field(default_factory=dict)
    informing: Mapping[str, Role] = field(default_factory=dict)
    found: FoundRules | None = None
    may_correct: bool = False
    shares_ids: bool = False
    spools: bool = False
    segments: tuple[str, ...] = ()
    definition: str = ""
    matches_store: bool = True
    caps: ExposureCaps | None = None
    staged: StagedPolicy | None = None
    judge: CompiledJudge | None = None
    counts_verdicts: bool = False
    watched: tuple[int, int] | None = None
    share_before: float | None = None
    guardrails: tuple[Guardrail, ...] = ()
    guards: GuardStanding = field(default_factory=GuardStanding)
    reference: int = 0
    ejected: frozenset[int] = frozenset()
    pairs: tuple[PlannedPair, ...] = field(init=False, repr=False, compare=False)
    cumulative: tuple[float, ...] = field(init=False, repr=False, compare=False)
    compared_share: float = field(init=False, repr=False, compare=False)
    short_definition: bytes = field(init=False, repr=False, compare=False)
    way: Way = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        every = (self.watched,) if self.watched else tuple(combinations(range(len(self.policies)), 2))
        alike = tuple(PlannedPair(first, second, 1 / len(every)) for first, second in every)
        pairs = self.plan.proposal.pairs if self.plan else alike
        if self.ejected:
            pairs = without_ejected(pairs, self.ejected) or without_ejected(alike, self.ejected)
        object.__setattr__(self, "pairs", pairs)
        object.__setattr__(self, "cumulative", tuple(accumulate(pair.probability for pair in pairs)))
        names = [policy.name for policy in self.policies]
        allowed = self.caps.compared(pairs, names, self.incumbent) if self.caps else 1.0
        object.__setattr__(self, "compared_share", self.share * allowed)
        short = bytes.fromhex(self.definition)[:DEFINITION_BYTES].ljust(DEFINITION_BYTES, b"\0")
        object.__setattr__(self, "short_definition", short)
        object.__setattr__(self, "way", WAYS[self.collect])

    @property
    def reads_conversations(self) -> bool:
        """Whether anything follows from how a conversation goes on, so that a request may name the answer."""
        return self.found is not None or self.way.assigns is Assigns.IN_TURN

    @property
    def counts_beside_users(self) -> bool:
        """Whether a judge's verdicts are evidence beside users' feedback."""
        return self.counts_verdicts and self.way.takes is not Takes.VERDICT

    @property
    def asks_beside(self) -> bool:
        """Whether the judge now compares answers to requests that take part in no comparison of users.

        A watch over a promotion rests on what the promotion rested on; verdicts that only inform have nothing
        to inform there.
        """
        facts = self.state.facts
        is_due = facts.is_planned or (facts.is_watched and self.counts_beside_users)
        return is_due and self.matches_store and bool(self.pairs) and self.way.assigns is not Assigns.UNSEEN

    def is_run_of(self, assigned: Assignment) -> bool:
        """Whether an answer was given under this definition and in the run that is counted now."""
        is_same = assigned.definition in (ANY_DEFINITION, self.short_definition)
        return is_same and self.matches_store and assigned.generation == self.generation

    def coin_for(self, pair: PlannedPair, draw: Callable[[], float]) -> Coin:
        """The coin that decides which policy of the pair is drawn to answer, or to be shown first.

        The coin is fair, unless outcomes of one policy wait for outcomes of the other. Then the other is
        chosen more often, so that few outcomes wait for long. Which outcomes wait follows from the order
        of arrival alone, never from the feedback itself. Caps on what policies may answer need a fair coin,
        because plans count with one.
        """
        waiting = self.plan.waiting.get((pair.first, pair.second)) if self.plan else None
        if self.plan is None or waiting is None or (self.caps is not None and self.caps.are_set):
            return Coin.FAIR
        return coin_for(waiting, self.plan.under_way * pair.probability, draw)

    def counts_at(self, assigned_at: float, expires_at: float) -> float | None:
        """The time at which a report on an answer counts, in Unix seconds; None for at once.

        Args:
            assigned_at: When the answer was given; 0 if that is not known.
            expires_at: When feedback on it stops being accepted.
        """
        if self.hold_seconds is None:
            return None
        return (assigned_at or expires_at - self.window_seconds) + self.hold_seconds

    def informs_at(self, assigned_at: float, expires_at: float) -> float:
        """The time at which a report that only informs does so: when its unit can count no more.

        Its outcome may come until feedback on it is accepted no longer, or until the end of its hold, and may
        then wait for as long as outcomes do. The arguments are those of `counts_at`.
        """
        last = self.counts_at(assigned_at, expires_at)
        return (expires_at if last is None else last) + self.window_seconds

    def needs_both(self, standing: Precedence) -> bool:
        """Whether reports of this standing have to come alike for both policies of a pair.

        They need not if an answer without one has an outcome as well.
        """
        if standing is Precedence.FOUND and self.found is not None:
            return not self.found.leaves_none_out
        return standing is not Precedence.MISSING

    @property
    def incumbent_policy(self) -> CompiledPolicy:
        """The policy that serves ordinary traffic now."""
        return self.policies[self.incumbent]


def without_ejected(pairs: Sequence[PlannedPair], ejected: frozenset[int]) -> tuple[PlannedPair, ...]:
    """The pairs of other policies, in the same proportions; none if there are no others."""
    kept = [pair for pair in pairs if not ejected & {pair.first, pair.second} and pair.probability > 0]
    total = sum(pair.probability for pair in kept)
    return tuple(replace(pair, probability=pair.probability / total) for pair in kept)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that a request needs to know, as of one moment.

    Attributes:
        experiments: The experiments, by the name clients send.
        models: How to call each model, by `model_name`.
    """

    experiments: Mapping[str, LiveExperiment]
    models: Mapping[str, ModelTarget]

    def knows(self, name: str) -> bool:
        """Whether clients may send a name as `model`."""
        return name in self.experiments or name in self.models

    def experiment(self, name: str) -> LiveExperiment:
        """The experiment of that name.

        Raises:
            UnknownModelError: If there is none; the error lists the existing ones.
        """
        experiment = self.experiments.get(name)
        if experiment is None:
            names = ", ".join(self.experiments) or "none"
            raise UnknownModelError(
                f"There is no experiment {name!r}. Configured: {names}.",
                param="name",
                code="unknown_experiment",
            )
        return experiment

    @property
    def names(self) -> list[str]:
        """The names that clients may send as `model`, experiments first."""
        return list(dict.fromkeys([*self.experiments, *self.models]))


class SnapshotHolder:
    """The one place a snapshot is swapped. Reading `current` is one attribute access."""

    __slots__ = ("current",)

    def __init__(self, current: Snapshot) -> None:
        self.current = current


def unknown_model(name: str, snapshot: Snapshot) -> UnknownModelError:
    """The error for a caller that asks for an unknown model; it lists the known ones."""
    names = snapshot.names
    known = ", ".join(names[:_MOST_NAMED])
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return UnknownModelError(
        f"The model {name[:_LONGEST_NAME]!r} does not exist. There are: {known}{more}.",
        param="model",
        code="model_not_found",
    )
