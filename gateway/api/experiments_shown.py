"""Wire models of `/v1/experiments`, made from the store's data and the snapshot."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, Field

from gateway.api.guardrails_shown import GuardrailShown
from gateway.api.judges_shown import JudgeShown
from gateway.api.policies_shown import (
    AnswerCostsShown,
    EvidenceOfPolicy,
    GainShown,
    PolicyShown,
    ReportingShown,
)
from gateway.api.promotions_shown import StageShown, WatchShown
from gateway.api.segments_shown import SegmentShown
from gateway.api.sources_shown import BuildsShown, SignalShown, SourceShown
from gateway.experiments.builds import changed_builds
from gateway.experiments.happenings import told
from gateway.experiments.policy_content import descriptions
from gateway.experiments.promises import Promised, claim_of, promised_by
from gateway.experiments.snapshot import LiveExperiment
from gateway.experiments.verbs import Verb, verbs_from
from gateway.learning.progress import ExperimentProgress

_MOST_EVENTS: Final = 50

_MANY_REFUSED: Final = 10  # reports not counted for the share of their key, before that is worth a warning
_DEARER: Final = 1.2  # operators are warned if a policy costs this many times as much as the incumbent
_OTHER_DEFINITION: Final = (
    "This replica's file defines the experiment differently from the store, so the incumbent answers "
    "everything here. Run one configuration on all replicas, and restart this one."
)


class ExperimentSummary(BaseModel):
    """One line of the list of experiments."""

    name: str
    state: str
    generation: int
    incumbent: str
    leader: str | None
    comparisons: int

    @classmethod
    def of(cls, live: LiveExperiment, reading: ExperimentProgress | None) -> ExperimentSummary:
        """The line of an experiment; if the store was not read yet, from the configuration."""
        if reading is not None:
            return ExperimentSummary(**_summary_fields(reading))
        return ExperimentSummary(
            name=live.name,
            state=live.state.value,
            generation=live.generation,
            incumbent=live.incumbent_policy.name,
            leader=None,
            comparisons=0,
        )


class ExperimentList(BaseModel):
    """`GET /v1/experiments`."""

    data: list[ExperimentSummary]
    config_hash: str = Field(
        description="Identifies this replica's configuration; all replicas should show the same hash."
    )


class PlanInForce(BaseModel):
    """The pairs that the planner wants compared next."""

    pairs: list[tuple[str, str]]
    probabilities: list[float]
    version: int
    age_seconds: float
    expected_remaining: int | None = Field(
        description="Comparisons missing to a decision, minima and budget included; null if not known."
    )
    expected_seconds: float | None = Field(description="Time to a decision, at the rate so far.")

    @classmethod
    def of(cls, reading: ExperimentProgress) -> PlanInForce | None:
        """The plan in force, or None before the first."""
        plan, policies, outlook = reading.view.plan, reading.view.experiment.policies, reading.outlook
        if plan is None:
            return None
        return cls(
            pairs=[(policies[pair.first], policies[pair.second]) for pair in plan.proposal.pairs],
            probabilities=[pair.probability for pair in plan.proposal.pairs],
            version=plan.version,
            age_seconds=reading.plan_age_seconds or 0.0,
            expected_remaining=None if outlook is None else outlook.comparisons,
            expected_seconds=None if outlook is None else outlook.seconds,
        )


class EventShown(BaseModel):
    """One event of an experiment."""

    at: float = Field(description="Unix seconds.")
    kind: str
    detail: dict[str, Any] = Field(description="Details of the event; policies are given by name.")

    @classmethod
    def latest(cls, reading: ExperimentProgress, most: int) -> list[EventShown]:
        """The latest events of an experiment, newest last."""
        events = told(reading.events, reading.generations)[-most:]
        return [cls(at=event.at, kind=event.kind, detail=event.detail) for event in events]

    @classmethod
    def by_hand(cls, reading: ExperimentProgress) -> EventShown | None:
        """The move that led to the present state, if a person made it."""
        moves = told(filter(None, [reading.by_hand]), reading.generations)
        return next((cls(at=move.at, kind=move.kind, detail=move.detail) for move in moves), None)


class InheritedComparisons(BaseModel):
    """The comparisons that a generation took over from an earlier one."""

    generation: int
    comparisons: int = Field(description="How many comparisons were counted in that generation or earlier.")


class ExperimentDetail(ExperimentSummary):
    """`GET /v1/experiments/{name}`. Lists and matrices follow the order of `policies`."""

    policies: list[str]
    policy_details: list[PolicyShown] = Field(description="The content of each policy.")
    wins: list[list[int]]
    ties: list[list[int]]
    evidence: list[EvidenceOfPolicy]
    plan: PlanInForce | None
    certificate: dict[str, Any] | None
    comparisons_by_source: dict[str, int] = Field(
        default={}, description="Where the comparisons that are evidence come from; without inherited ones."
    )
    sources: list[SourceShown] = Field(
        default=[], description="What informs forecasts without being evidence."
    )
    signals: list[SignalShown] = Field(
        default=[], description="Signals that the gateway finds, beside users' ratings of the same answers."
    )
    events: list[EventShown] = Field(description="The latest events, newest last.")
    by_hand: EventShown | None = Field(
        description="Who made the move to the present state, and why; null if no person did."
    )
    may: list[Verb] = Field(
        description="The verbs that a person may use now, with an admin key and a reason."
    )
    promotion_mode: str = Field(
        description="`automatic`; `approval`: a certified policy waits for a person; `staged`: it is "
        "promoted step by step."
    )
    delta: float
    epsilon: float
    promise: Promised = Field(description="The promise about a promoted policy; `winner` without a margin.")
    claim: str = Field(description="The promise in words; `{policy}` stands for the promoted policy.")
    collect: str
    share: float
    min_comparisons: int
    max_comparisons: int | None
    last_look: bool = Field(
        default=False, description="Whether `max_comparisons` ends with a last look at a lower line."
    )
    started_at: float = Field(description="Unix seconds.")
    policies_ever: int = Field(description="How many policies there have ever been, including removed ones.")
    inherited: InheritedComparisons | None = Field(
        description="Null if the generation started without evidence."
    )
    matches_store: bool = Field(
        description="False if this replica's file defines the experiment differently from the store."
    )
    fit_p_value: float | None = Field(
        default=None, description="How well the assumed structure fits the counts; null if none is assumed."
    )
    builds: list[BuildsShown] = Field(
        default=[], description="Which builds of their models served the policies, as far as providers say."
    )
    segments: list[SegmentShown] = Field(
        default=[],
        description="Who is preferred in each of the experiment's `segments`; empty without the option.",
    )
    votes: int = Field(
        default=0,
        description="Votes in comparisons: one if two answers were shown, two if each unit saw one answer.",
    )
    voters: int = Field(
        default=0,
        description="How many voters gave the votes; each vote of an unknown voter counts as a voter.",
    )
    largest_voter: int = Field(default=0, description="The most votes of one voter.")
    reports_held: int = Field(default=0, description="Reports that count once `feedback.hold` is over.")
    reporting: list[ReportingShown] = Field(
        default=[],
        description="How often the answers of each policy are reported; only where reports are about one "
        "answer each (`collect: matched`).",
    )
    answer_costs: AnswerCostsShown
    gain: GainShown | None = Field(description="Null while the incumbent itself is ahead, and if it won.")
    judge: JudgeShown | None = Field(
        default=None, description="The model that compares answers unseen; null if there is none."
    )
    stage: StageShown | None = Field(
        default=None, description="The state of a promotion step by step; null if there is none."
    )
    watch: WatchShown | None = Field(
        default=None, description="The watch over the promotion; null where there is none."
    )
    guardrails: list[GuardrailShown] = Field(
        default=[], description="What guardrails say of policies; empty without guardrails."
    )
    held: list[str] = Field(
        default=[], description="What holds a decision or a promotion back, although evidence suffices."
    )
    warnings: list[str] = Field(default=[], description="What an operator should check.")

    @classmethod
    def shown(cls, live: LiveExperiment, reading: ExperimentProgress) -> ExperimentDetail:
        """Everything known about an experiment."""
        view, counts, held = reading.view, reading.counts, reading.holds
        experiment, came_from = view.experiment, counts.inherited_from
        described = descriptions(experiment, reading.contents, "full")
        return cls(
            **_summary_fields(reading),
            policies=list(experiment.policies),
            policy_details=[PolicyShown(**each) for each in described],
            wins=[list(row) for row in counts.wins],
            ties=[list(row) for row in counts.ties],
            evidence=EvidenceOfPolicy.each(reading),
            plan=PlanInForce.of(reading),
            certificate=view.certificate,
            comparisons_by_source=dict(sorted(counts.by_source.items())),
            sources=list(map(SourceShown.of, reading.sources)),
            signals=list(map(SignalShown.of, reading.signals)),
            events=EventShown.latest(reading, _MOST_EVENTS),
            by_hand=EventShown.by_hand(reading),
            may=verbs_from(view),
            promotion_mode=reading.promotion.mode,
            delta=experiment.delta,
            epsilon=experiment.epsilon,
            promise=promised_by(experiment),
            claim=claim_of(experiment),
            collect=experiment.collect,
            share=live.share,
            min_comparisons=experiment.min_comparisons,
            max_comparisons=experiment.max_comparisons,
            last_look=experiment.last_look,
            started_at=counts.started_at,
            policies_ever=counts.policies_ever or len(experiment.policies),
            inherited=None
            if came_from is None
            else InheritedComparisons(generation=came_from, comparisons=counts.inherited),
            fit_p_value=view.plan.proposal.fit_p_value if view.plan else None,
            matches_store=live.matches_store,
            builds=BuildsShown.each(counts, experiment.policies),
            segments=SegmentShown.each(reading.segments, experiment.policies, reading.leader),
            votes=counts.votes,
            voters=counts.voters,
            largest_voter=counts.largest_voter,
            reports_held=counts.reports_held,
            reporting=ReportingShown.each(reading),
            answer_costs=AnswerCostsShown.of(reading),
            gain=GainShown.of(reading),
            judge=None if reading.judge is None else JudgeShown.of(reading.judge),
            stage=StageShown.of(reading),
            watch=WatchShown.of(reading),
            guardrails=[GuardrailShown.of(reading, each) for each in reading.guard_readings],
            held=held,
            warnings=_warnings(live, reading),
        )


def _summary_fields(reading: ExperimentProgress) -> dict[str, Any]:
    view = reading.view
    policies = view.experiment.policies
    return {
        "name": view.experiment.name,
        "state": view.state.value,
        "generation": view.generation,
        "incumbent": policies[view.incumbent],
        "leader": None if reading.leader is None else policies[reading.leader],
        "comparisons": reading.counts.comparisons,
    }


def _warnings(live: LiveExperiment, reading: ExperimentProgress) -> list[str]:
    plan = reading.view.plan
    warnings = [] if live.matches_store else [_OTHER_DEFINITION]
    found = GainShown.of(reading)
    if found is not None and found.cost_ratio is not None and found.cost_ratio >= _DEARER:
        warnings.append(
            f"An answer of {found.policy} costs {found.cost_ratio:.3g} times as much as one of "
            f"{found.incumbent}. With a margin (epsilon) a policy wins by being no worse, whatever it costs."
        )
    if plan is not None and plan.proposal.is_misfit:
        warnings.append(
            "The assumed structure does not fit the counts: preferences differ from it by more than chance "
            f"(p = {plan.proposal.fit_p_value:.2g}). Add interactions, or use space: unstructured."
        )
    warnings += changed_builds(reading.counts, reading.view.experiment.policies)
    warnings += [each.sentence() for each in reading.signals if each.is_below_chance]
    warnings += [] if reading.judge is None else reading.judge.warnings
    refused = reading.counts.over_key_share
    if refused >= _MANY_REFUSED and refused >= reading.counts.votes / 2:
        warnings.append(
            f"{refused} reports were not counted, because one API key may give {live.key_share:.4g} of the "
            "votes on a pair (feedback.key_share). If that key serves most of the traffic, raise it, up to 1."
        )
    # A hold is to be looked at if there are enough comparisons; unlike replicas and reports at any time.
    has_enough = reading.counts.comparisons >= reading.view.experiment.min_comparisons
    balance = reading.balance
    unlike = (
        None if balance is None or balance.is_kept else balance.sentence(reading.view.experiment.policies)
    )
    if unlike is not None and unlike not in reading.holds:
        warnings.append(unlike)
    at_any_time = (reading.disagreement, unlike)
    holds = [reason for reason in reading.holds if has_enough or reason in at_any_time]
    return [*warnings, *holds]
