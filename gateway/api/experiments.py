"""What people and scripts ask about experiments. Reads only; needs an admin key where keys are configured."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import StreamingResponse

from gateway.api.schemas import (
    AnswerCostsShown,
    EventShown,
    EvidenceOfPolicy,
    ExperimentDetail,
    ExperimentList,
    ExperimentSummary,
    GainShown,
    InheritedComparisons,
    PlanInForce,
    PolicyCost,
    PolicyShown,
)
from gateway.errors import UnavailableError, UnknownModelError
from gateway.experiments.catalogue import CatalogueHolder
from gateway.experiments.happenings import told
from gateway.experiments.policy_content import descriptions
from gateway.experiments.snapshot import LiveExperiment, SnapshotHolder
from gateway.learning.progress import ExperimentProgress, ProgressReader
from gateway.proof.experiment_log import ExperimentLog

EVENTS_SHOWN = 50

_DEARER: Final = 1.2  # times the incumbent's cost from which operators are warned
_OTHER_DEFINITION: Final = (
    "This replica's file defines the experiment otherwise than the store runs it, so the incumbent answers "
    "everything here. Run one configuration on all replicas, and restart this one."
)

Guard = Callable[[Request], Awaitable[None]]


def experiment_routes(
    catalogue: CatalogueHolder,
    progress: ProgressReader,
    snapshots: SnapshotHolder,
    logs: ExperimentLog,
    require_admin: Guard,
) -> APIRouter:
    """`/v1/experiments` and what is below it."""
    router = APIRouter(prefix="/v1/experiments", dependencies=[Depends(require_admin)], tags=["experiments"])

    def known(name: str) -> LiveExperiment:
        experiment = snapshots.current.experiments.get(name)
        if experiment is None:
            names = ", ".join(snapshots.current.experiments) or "none"
            raise UnknownModelError(
                f"There is no experiment {name!r}. Configured: {names}.",
                param="name",
                code="unknown_experiment",
            )
        return experiment

    @router.get("")
    async def list_experiments() -> ExperimentList:
        """Every experiment in a line each."""
        readings = await progress.read()
        return ExperimentList(
            data=[_summary(live, readings) for live in snapshots.current.experiments.values()],
            config_hash=catalogue.current.config_hash,
        )

    @router.get("/{name}")
    async def show_experiment(name: str) -> ExperimentDetail:
        """Everything known about one experiment."""
        live = known(name)
        reading = await progress.read_one(name)
        if reading is None:
            raise UnavailableError("The store has not answered yet; the incumbent serves. Try again later.")
        return _detail(live, reading)

    @router.get(
        "/{name}/log",
        response_class=StreamingResponse,
        responses={200: {"content": {"application/x-ndjson": {"schema": {"type": "string"}}}}},
    )
    async def experiment_log(name: str) -> StreamingResponse:
        """What was counted and planned, one JSON object a line: what `llmpo verify` recomputes."""
        lines = logs.lines(known(name).name)
        # Fetched before the status is sent, so that a dead store is a 503 and not a cut file.
        first = await anext(lines)
        return StreamingResponse(_chain(first, lines), media_type="application/x-ndjson")

    return router


async def _chain(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for line in rest:
        yield line


def _summary(live: LiveExperiment, readings: Mapping[str, ExperimentProgress]) -> ExperimentSummary:
    reading = readings.get(live.name)
    if reading is None:  # the store never answered: what the configuration says
        return ExperimentSummary(
            name=live.name,
            state=live.state.value,
            generation=live.generation,
            incumbent=live.incumbent_policy.name,
            leader=None,
            comparisons=0,
        )
    return ExperimentSummary(**_summary_fields(reading))


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


def _detail(live: LiveExperiment, reading: ExperimentProgress) -> ExperimentDetail:
    view, counts, held = reading.view, reading.counts, reading.holds
    experiment = view.experiment
    described = descriptions(experiment, reading.contents, "full")
    return ExperimentDetail(
        **_summary_fields(reading),
        policies=list(experiment.policies),
        policy_details=[PolicyShown(**each) for each in described],
        wins=[list(row) for row in counts.wins],
        ties=[list(row) for row in counts.ties],
        evidence=_evidence(reading),
        plan=_plan(reading),
        certificate=view.certificate,
        events=[
            EventShown(at=event.at, kind=event.kind, detail=event.detail)
            for event in told(reading.events[-EVENTS_SHOWN:], reading.generations)
        ],
        delta=experiment.delta,
        epsilon=experiment.epsilon,
        collect=experiment.collect,
        share=live.share,
        min_comparisons=experiment.min_comparisons,
        max_comparisons=experiment.max_comparisons,
        started_at=counts.started_at,
        policies_ever=counts.policies_ever or len(experiment.policies),
        inherited=_inherited(reading),
        fit_p_value=view.plan.proposal.fit_p_value if view.plan else None,
        matches_store=live.matches_store,
        votes=counts.votes,
        voters=counts.voters,
        largest_voter=counts.largest_voter,
        reports_held=counts.reports_held,
        answer_costs=_costs(reading),
        gain=_gain(reading),
        held=held,
        warnings=_warnings(live, reading)
        + (held if counts.comparisons >= experiment.min_comparisons else []),
    )


def _costs(reading: ExperimentProgress) -> AnswerCostsShown:
    costs, policies = reading.costs, reading.view.experiment.policies
    each = zip(policies, costs.per_answer, costs.answers, strict=True)
    shown = [PolicyCost(policy=name, per_answer=cost, answers=answers) for name, cost, answers in each]
    return AnswerCostsShown(source=costs.source, policies=shown)


def _gain(reading: ExperimentProgress) -> GainShown | None:
    found = reading.gain
    if found is None:
        return None
    policies = reading.view.experiment.policies
    ratio = reading.costs.ratio(policies.index(found.policy), policies.index(found.incumbent))
    return GainShown(**asdict(found), cost_ratio=ratio)


def _inherited(reading: ExperimentProgress) -> InheritedComparisons | None:
    counts = reading.counts
    if counts.inherited_from is None:
        return None
    return InheritedComparisons(generation=counts.inherited_from, comparisons=counts.inherited)


def _warnings(live: LiveExperiment, reading: ExperimentProgress) -> list[str]:
    plan = reading.view.plan
    warnings = [] if live.matches_store else [_OTHER_DEFINITION]
    found = _gain(reading)
    if found is not None and found.cost_ratio is not None and found.cost_ratio >= _DEARER:
        warnings.append(
            f"An answer of {found.policy} costs {found.cost_ratio:.3g} times as much as one of "
            f"{found.incumbent}. With a margin (epsilon) a policy wins by being no worse, whatever it costs."
        )
    if plan is None or not plan.proposal.is_misfit:
        return warnings
    misfit = (
        "The structure assumed does not fit the counts: preferences differ from it by more than chance "
        f"(p = {plan.proposal.fit_p_value:.2g}). Add interactions, or use space: unstructured."
    )
    return [*warnings, misfit]


def _evidence(reading: ExperimentProgress) -> list[EvidenceOfPolicy]:
    plan, policies = reading.view.plan, reading.view.experiment.policies
    eliminates = reading.view.experiment.epsilon == 0
    return [
        EvidenceOfPolicy(
            policy=policy,
            nats=plan.proposal.evidence_nats[index] if plan else 0.0,
            needed=plan.proposal.needed_nats[index] if plan else None,
            eliminated_at=reading.counts.eliminated_at[index] if eliminates else None,
        )
        for index, policy in enumerate(policies)
    ]


def _plan(reading: ExperimentProgress) -> PlanInForce | None:
    plan, policies = reading.view.plan, reading.view.experiment.policies
    if plan is None:
        return None
    outlook = reading.outlook
    return PlanInForce(
        pairs=[(policies[pair.first], policies[pair.second]) for pair in plan.proposal.pairs],
        probabilities=[pair.probability for pair in plan.proposal.pairs],
        version=plan.version,
        age_seconds=reading.plan_age_seconds or 0.0,
        expected_remaining=None if outlook is None else outlook.comparisons,
        expected_seconds=None if outlook is None else outlook.seconds,
    )
