"""Translates between the store's records and the arrays of `llm_po`, in both directions.

Only the planner's process imports this module, because it loads numpy.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from gateway.experiments.plan_values import Decision
from gateway.experiments.structure import structure_of
from gateway.learning.plan_worker import PlanJob
from gateway.llm_po.certificate import certificate
from gateway.llm_po.evidence import increments_of_bets
from gateway.llm_po.exposure import Caps
from gateway.llm_po.lines import Promise, checked_promise, keeps_half
from gateway.llm_po.plan import Design, Plan, Tally, Verdict
from gateway.llm_po.wins import FloatArray
from policy_store.counts import Counts
from policy_store.plan_records import Forecast, GoingOn


def tally(counts: Counts, promise: Promise) -> Tally:
    """The counts, with the evidence that the promise needs."""
    at_half = None
    if keeps_half(promise):
        kept = counts.evidence_at_half_nano_nats
        shape = (len(counts.wins),) * 2
        at_half = np.array(kept, dtype=np.int64) if kept else np.zeros(shape, dtype=np.int64)
    return Tally(
        wins=np.array(counts.wins, dtype=np.int64),
        ties=np.array(counts.ties, dtype=np.int64),
        evidence=np.array(counts.evidence_nano_nats, dtype=np.int64),
        eliminated=np.array([at is not None for at in counts.eliminated_at], dtype=np.bool_),
        comparisons=counts.comparisons,
        debts=np.array(counts.debts_nano_nats, dtype=np.int64),
        at_half=at_half,
    )


def design(job: PlanJob) -> Design:
    """The experiment's promise, assumptions and limits, as a `Design`."""
    experiment = job.experiment
    said = structure_of(experiment.inference, experiment.policies)
    return Design(
        delta=experiment.delta,
        epsilon=experiment.epsilon,
        incumbent=job.incumbent,
        costs=experiment.costs if job.costs is None or said.objective == "cost" else job.costs,
        max_comparisons=experiment.max_comparisons,
        min_comparisons=experiment.min_comparisons,
        may_decide=job.may_decide,
        policies_ever=job.counts.policies_ever,
        features=said.features,
        stopping=said.stopping,
        holds_on_misfit=said.holds_on_misfit,
        objective=said.objective,
        promise=checked_promise(experiment.promise),
        last_look=job.last_look,
    )


def caps(job: PlanJob) -> Caps | None:
    """The exposure caps by policy; None if there are none."""
    if job.caps is None or not job.caps.are_set:
        return None
    most = job.caps.most(job.experiment.policies)
    return Caps(job.incumbent, most, job.caps.least, job.caps.answers_per_unit)


def sources(job: PlanJob) -> list[FloatArray]:
    """The counts that inform forecasts, shape (K, K) each."""
    return [np.array(source.wins, dtype=np.float64) for source in job.sources]


def pair_forecasts(plan: Plan, design: Design) -> tuple[Forecast, ...]:
    """A forecast for every pair, not only the planned ones: outcomes of older plans' pairs still arrive."""
    matrix, weights = plan.forecasts_millionths.tolist(), plan.weights.tolist()
    full = _Gains(plan, 0.5 + design.epsilon)
    half = _Gains(plan, 0.5) if keeps_half(design.promise) else None
    thresholds = (0.5 + design.epsilon,) if half is None else (0.5 + design.epsilon, 0.5)
    return tuple(
        Forecast(
            first,
            second,
            matrix[first][second],
            full.of(first, second),
            None if half is None else half.of(first, second),
            matrix[second][first],
            GoingOn((weights[first][second], weights[second][first]), thresholds),
        )
        for first, second in combinations(range(len(matrix)), 2)
    )


class _Gains:
    """What the first outcome of each pair adds to the evidence at a threshold."""

    def __init__(self, plan: Plan, threshold: float) -> None:
        self._gains = increments_of_bets(plan.forecasts_millionths, threshold).tolist()

    def of(self, first: int, second: int) -> tuple[int, int, int, int]:
        """In the order of `Forecast.increments`."""
        (preferred, other), (rival_preferred, rival_other) = (
            self._gains[first][second],
            self._gains[second][first],
        )
        return preferred, other, rival_other, rival_preferred


def decision(verdict: Verdict | None, tally: Tally, design: Design, counts: Counts) -> Decision | None:
    """The conclusion that the evidence allows, with its certificate; None while it allows none."""
    if verdict is None:
        return None
    return Decision(verdict.kind, verdict.champion, certificate(verdict, tally, design, counts.eliminated_at))
