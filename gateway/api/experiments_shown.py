"""Wire models of `/v1/experiments`, made from the store's data and the snapshot."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final, Literal

from pydantic import BaseModel, Field

from gateway.experiments.happenings import told
from gateway.experiments.policy_content import descriptions
from gateway.experiments.promises import Promised, claim, promised_by
from gateway.experiments.snapshot import LiveExperiment
from gateway.experiments.stages import End, comparisons_left, end_of, stage_seconds_left
from gateway.experiments.verbs import Verb, verbs_from
from gateway.learning.progress import ExperimentProgress

_MOST_EVENTS: Final = 50

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


class EvidenceOfPolicy(BaseModel):
    """How much evidence one policy has gathered towards the line."""

    policy: str
    nats: float
    needed: float | None
    eliminated_at: int | None = Field(
        description="The comparison that ruled the policy out as the winner; null with a margin."
    )

    @classmethod
    def each(cls, reading: ExperimentProgress) -> list[EvidenceOfPolicy]:
        """The evidence of every policy of an experiment."""
        plan, experiment = reading.view.plan, reading.view.experiment
        eliminates = experiment.epsilon == 0
        return [
            cls(
                policy=policy,
                nats=plan.proposal.evidence_nats[index] if plan else 0.0,
                needed=plan.proposal.needed_nats[index] if plan else None,
                eliminated_at=reading.counts.eliminated_at[index] if eliminates else None,
            )
            for index, policy in enumerate(experiment.policies)
        ]


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


class PolicyShown(BaseModel):
    """The content of a policy."""

    name: str
    fingerprint: str = Field(description="SHA-256 of the content's canonical JSON.")
    content: dict[str, Any] | None = Field(
        description="Everything that decides how the policy answers: model, prompt, parameters. Null if "
        "`policies_shown: names` hides it. With `redacted`, parts that look like secrets are blanked."
    )


class PolicyCost(BaseModel):
    """The cost of one answer of a policy."""

    policy: str
    per_answer: float | None = Field(description="Null if it is not known.")
    answers: int = Field(description="How many answers were measured.")


class AnswerCostsShown(BaseModel):
    """The costs of answers."""

    source: Literal["declared", "measured"] = Field(
        description="`declared` in the file, in any unit; otherwise `measured` tokens times prices, in USD."
    )
    policies: list[PolicyCost]

    @classmethod
    def of(cls, reading: ExperimentProgress) -> AnswerCostsShown:
        """The costs of every policy of an experiment."""
        costs, policies = reading.costs, reading.view.experiment.policies
        each = zip(policies, costs.per_answer, costs.answers, strict=True)
        shown = [PolicyCost(policy=name, per_answer=cost, answers=answers) for name, cost, answers in each]
        return cls(source=costs.source, policies=shown)


class GainShown(BaseModel):
    """How much more often a policy is preferred to the incumbent, by decisive comparisons of the two."""

    policy: str = Field(description="The champion; before the decision, the policy ahead.")
    incumbent: str = Field(description="The incumbent; after the decision, the one before it.")
    wins: int
    losses: int
    preference: float | None = Field(description="Share of these comparisons that the policy won.")
    low: float = Field(
        description="Lower end of the interval for the probability that the policy is preferred."
    )
    high: float = Field(description="Upper end.")
    confidence: float = Field(
        description="Confidence with which the intervals of all rivals hold, at any time."
    )
    cost_ratio: float | None = Field(
        description="Cost of one of its answers, as a multiple of the incumbent's."
    )

    @classmethod
    def of(cls, reading: ExperimentProgress) -> GainShown | None:
        """The gain of an experiment; None while the incumbent itself is ahead, and if it won."""
        found, policies = reading.gain, reading.view.experiment.policies
        if found is None:
            return None
        ratio = reading.costs.ratio(policies.index(found.policy), policies.index(found.incumbent))
        return cls(**asdict(found), cost_ratio=ratio)


class StageShown(BaseModel):
    """Where a staged promotion stands."""

    policy: str = Field(description="The certified policy.")
    step: int = Field(description="Which step it is, from 1.")
    shares: list[float] = Field(description="What the policy answers of ordinary traffic, step by step.")
    waits_for: End = Field(description="What ends the present step.")
    seconds_left: float | None = Field(description="Null where time does not end it.")
    comparisons_left: int | None = Field(description="Null where no number ends it.")

    @classmethod
    def of(cls, reading: ExperimentProgress) -> StageShown | None:
        """The stage of an experiment whose champion is promoted step by step."""
        stage, certificate = reading.view.stage, reading.view.certificate or {}
        if stage is None:
            return None
        return cls(
            policy=certificate["champion_name"],
            step=stage.step + 1,
            shares=[step.share for step in stage.steps],
            waits_for=end_of(stage.present),
            seconds_left=stage_seconds_left(stage, reading.counts.now),
            comparisons_left=comparisons_left(stage, reading.counts.comparisons),
        )


class WatchShown(BaseModel):
    """A promotion that is watched, or was."""

    is_open: bool = Field(description="Whether it goes on.")
    champion: str = Field(description="The policy promoted.")
    previous: str = Field(description="The policy it replaced.")
    share: float = Field(description="Share of the units for which the two are compared.")
    level: float = Field(description="Largest probability of rolling back although the champion is no worse.")
    margin: float = Field(description="How much less often than one half the champion may be preferred.")
    comparisons: int
    wins: int = Field(description="Comparisons in which the champion was preferred.")
    losses: int = Field(description="Comparisons in which the policy before it was.")
    nats: float = Field(description="Evidence that the champion is worse.")
    needed: float = Field(description="The evidence at which the promotion is rolled back.")
    started_at: float = Field(description="Unix seconds.")
    seconds_left: float | None = Field(description="Null where time does not end it, or it is over.")
    comparisons_left: int | None = Field(description="Null where no number ends it, or it is over.")

    @classmethod
    def of(cls, reading: ExperimentProgress) -> WatchShown | None:
        """The watch over the promotion of an experiment, if there is one."""
        found = reading.watched
        if found is None:
            return None
        terms, figures = found.watch.terms, found.figures
        last = terms.comparisons if found.is_open else None
        return cls(
            is_open=found.is_open,
            champion=figures["champion_name"],
            previous=figures["previous_name"],
            share=terms.share,
            level=terms.level,
            margin=terms.margin,
            comparisons=figures["comparisons"],
            wins=figures["wins"],
            losses=figures["losses"],
            nats=figures["evidence_nats"],
            needed=figures["needed_nats"],
            started_at=found.watch.started_at,
            seconds_left=found.seconds_left,
            comparisons_left=None if last is None else max(0, last - figures["comparisons"]),
        )


class ExperimentDetail(ExperimentSummary):
    """`GET /v1/experiments/{name}`. Lists and matrices follow the order of `policies`."""

    policies: list[str]
    policy_details: list[PolicyShown] = Field(description="The content of each policy.")
    wins: list[list[int]]
    ties: list[list[int]]
    evidence: list[EvidenceOfPolicy]
    plan: PlanInForce | None
    certificate: dict[str, Any] | None
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
    answer_costs: AnswerCostsShown
    gain: GainShown | None = Field(description="Null while the incumbent itself is ahead, and if it won.")
    stage: StageShown | None = Field(
        default=None, description="The state of a promotion step by step; null if there is none."
    )
    watch: WatchShown | None = Field(
        default=None, description="The watch over the promotion; null where there is none."
    )
    held: list[str] = Field(default=[], description="What holds a decision back, although evidence suffices.")
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
            events=EventShown.latest(reading, _MOST_EVENTS),
            by_hand=EventShown.by_hand(reading),
            may=verbs_from(view),
            promotion_mode=reading.promotion.mode,
            delta=experiment.delta,
            epsilon=experiment.epsilon,
            promise=promised_by(experiment),
            claim=claim(promised_by(experiment), experiment.epsilon),
            collect=experiment.collect,
            share=live.share,
            min_comparisons=experiment.min_comparisons,
            max_comparisons=experiment.max_comparisons,
            started_at=counts.started_at,
            policies_ever=counts.policies_ever or len(experiment.policies),
            inherited=None
            if came_from is None
            else InheritedComparisons(generation=came_from, comparisons=counts.inherited),
            fit_p_value=view.plan.proposal.fit_p_value if view.plan else None,
            matches_store=live.matches_store,
            votes=counts.votes,
            voters=counts.voters,
            largest_voter=counts.largest_voter,
            reports_held=counts.reports_held,
            answer_costs=AnswerCostsShown.of(reading),
            gain=GainShown.of(reading),
            stage=StageShown.of(reading),
            watch=WatchShown.of(reading),
            held=held,
            warnings=[*_warnings(live, reading), *_holds_to_look_at(reading)],
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


def _holds_to_look_at(reading: ExperimentProgress) -> list[str]:
    """What holds a decision although there are enough comparisons, and that replicas differ at any time."""
    has_enough = reading.counts.comparisons >= reading.view.experiment.min_comparisons
    return [reason for reason in reading.holds if has_enough or reason == reading.disagreement]


def _warnings(live: LiveExperiment, reading: ExperimentProgress) -> list[str]:
    plan = reading.view.plan
    warnings = [] if live.matches_store else [_OTHER_DEFINITION]
    found = GainShown.of(reading)
    if found is not None and found.cost_ratio is not None and found.cost_ratio >= _DEARER:
        warnings.append(
            f"An answer of {found.policy} costs {found.cost_ratio:.3g} times as much as one of "
            f"{found.incumbent}. With a margin (epsilon) a policy wins by being no worse, whatever it costs."
        )
    if plan is None or not plan.proposal.is_misfit:
        return warnings
    misfit = (
        "The assumed structure does not fit the counts: preferences differ from it by more than chance "
        f"(p = {plan.proposal.fit_p_value:.2g}). Add interactions, or use space: unstructured."
    )
    return [*warnings, misfit]
