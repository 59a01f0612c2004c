"""The planner's arithmetic as one function that runs in a process of its own.

It translates the store's records into the arrays `llm_po` works on, and the plan back into records. The
server process imports this module only to name the function. numpy and `llm_po` are loaded inside it, in the
worker, so the server pays neither their memory nor the time they take to load.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Final

from gateway.experiments.conclusions import Decision
from gateway.experiments.exposure import ExposureCaps
from gateway.running.parent import follow_parent
from policy_store.models import Counts, Experiment, Forecast, PlannedPair, ProposedPlan

if TYPE_CHECKING:
    from gateway.llm_po.exposure import Caps
    from gateway.llm_po.plan import Design, Plan, Start, Tally, Verdict

TIME_LIMIT_SECONDS: Final = 60

_MOST_STARTS: Final = 64  # experiments whose last fits are kept; a few MB each at 128 policies


@dataclass(frozen=True, slots=True)
class PlanJob:
    """Everything one plan depends on.

    Attributes:
        experiment: Policies, error level, margin, budget, costs.
        incumbent: The policy that serves now, according to the store rather than the configuration.
        counts: What has been counted so far.
        may_decide: False while the experiment's minimum duration has not passed.
        seed: Of the plan's random draws.
        caps: How many units each policy may answer, by name; None for no caps.
    """

    experiment: Experiment
    incumbent: int
    counts: Counts
    may_decide: bool
    seed: int
    caps: ExposureCaps | None = None


@dataclass(frozen=True, slots=True)
class PlanResult:
    """A plan as the store takes it, and what the evidence allows to conclude already, if anything."""

    proposal: ProposedPlan
    forecasts: tuple[Forecast, ...]
    decision: Decision | None


def prepare_worker() -> None:
    """Set the worker process up: it leaves Ctrl-C to its parent, and ends with it.

    Linear algebra gets one thread: at these sizes several threads would mostly wait for one another, and on
    a busy machine that takes many times longer than the work. The setting comes before numpy is loaded,
    because numpy reads it only then.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    follow_parent()


def compute_in_worker(job: PlanJob) -> PlanResult:
    """The plan for `job`, starting from the fits of the experiment's last plan in this process.

    An alarm ends a computation that takes too long, together with its process.
    """
    signal.alarm(TIME_LIMIT_SECONDS)
    try:
        return _STARTS.compute(job)
    finally:
        signal.alarm(0)


def compute_plan(job: PlanJob) -> PlanResult:
    """The plan for `job`, which depends on nothing else."""
    return _computed(job, None)[0]


class WarmStarts:
    """Where the next plan of each experiment starts from: the fits of its last one.

    A start is removed while a plan is made from it, and its successor is stored with the plan, so a start
    that led to an error is not used again. An experiment whose definition changed starts anew.
    """

    def __init__(self, most: int = _MOST_STARTS) -> None:
        self._most = most
        self._starts: dict[str, tuple[Experiment, Start]] = {}

    def compute(self, job: PlanJob) -> PlanResult:
        """The plan for `job`."""
        defined, start = self._starts.pop(job.experiment.name, (None, None))
        result, following = _computed(job, start if defined == job.experiment else None)
        self._starts[job.experiment.name] = job.experiment, following
        while len(self._starts) > self._most:
            del self._starts[next(iter(self._starts))]
        return result


_STARTS: Final = WarmStarts()
"""Those of this process; only the planner's process has any."""


def _computed(job: PlanJob, start: Start | None) -> tuple[PlanResult, Start]:
    """The plan for `job`, and what the next one may start from."""
    import numpy as np  # noqa: PLC0415 - loaded in the worker process only

    from gateway.llm_po.plan import plan  # noqa: PLC0415 - loaded in the planner's process only

    started = time.perf_counter()
    tally, design = _tally(job.counts), _design(job)
    computed = plan(tally, design, np.random.default_rng(job.seed), start, _caps(job))
    forecasts = _forecasts(computed, design.epsilon)
    proposal = ProposedPlan(
        comparisons=job.counts.comparisons,
        pairs=tuple(
            PlannedPair(int(first), int(second), float(probability))
            for (first, second), probability in zip(computed.pairs, computed.probabilities, strict=True)
        ),
        leader=int(computed.leader),
        evidence_nats=tuple(map(float, computed.evidence_nats)),
        needed_nats=tuple(map(float, computed.needed_nats)),
        expected_remaining=computed.expected_remaining,
        duration_seconds=time.perf_counter() - started,
        fit_p_value=None if computed.fit is None else computed.fit.p_value,
        is_misfit=computed.fit is not None and computed.fit.is_misfit,
    )
    decision = _decision(computed.verdict, tally, design, job.counts)
    return PlanResult(proposal, forecasts, decision), computed.next_start


def _tally(counts: Counts) -> Tally:
    import numpy as np  # noqa: PLC0415 - loaded in the planner's process only

    from gateway.llm_po.plan import Tally  # noqa: PLC0415 - loaded in the planner's process only

    return Tally(
        wins=np.array(counts.wins, dtype=np.int64),
        ties=np.array(counts.ties, dtype=np.int64),
        evidence=np.array(counts.evidence_nano_nats, dtype=np.int64),
        eliminated=np.array([at is not None for at in counts.eliminated_at], dtype=np.bool_),
        comparisons=counts.comparisons,
        debts=np.array(counts.debts_nano_nats, dtype=np.int64),
    )


def _design(job: PlanJob) -> Design:
    from gateway.experiments.structure import structure_of  # noqa: PLC0415 - loaded in the planner's process only
    from gateway.llm_po.plan import Design  # noqa: PLC0415 - loaded in the planner's process only

    experiment = job.experiment
    said = structure_of(experiment.inference, experiment.policies)
    return Design(
        delta=experiment.delta,
        epsilon=experiment.epsilon,
        incumbent=job.incumbent,
        costs=experiment.costs,
        max_comparisons=experiment.max_comparisons,
        min_comparisons=experiment.min_comparisons,
        may_decide=job.may_decide,
        policies_ever=job.counts.policies_ever,
        features=said.features,
        stopping=said.stopping,
        holds_on_misfit=said.holds_on_misfit,
        objective=said.objective,
    )


def _caps(job: PlanJob) -> Caps | None:
    from gateway.llm_po.exposure import Caps  # noqa: PLC0415 - loaded in the planner's process only

    if job.caps is None or not job.caps.are_set:
        return None
    most = job.caps.most(job.experiment.policies)
    return Caps(job.incumbent, most, job.caps.least, job.caps.answers_per_unit)


def _forecasts(plan: Plan, epsilon: float) -> tuple[Forecast, ...]:
    """One for every pair, not only the planned ones: outcomes of an older plan's pairs still arrive."""
    from gateway.llm_po.evidence import increments  # noqa: PLC0415 - loaded in the planner's process only

    matrix = plan.forecasts_millionths.tolist()
    return tuple(
        Forecast(first, second, matrix[first][second], increments(matrix[first][second], epsilon))
        for first, second in combinations(range(len(matrix)), 2)
    )


def _decision(verdict: Verdict | None, tally: Tally, design: Design, counts: Counts) -> Decision | None:
    from gateway.llm_po.certificate import certificate  # noqa: PLC0415 - loaded in the planner's process only

    if verdict is None:
        return None
    return Decision(verdict.kind, verdict.champion, certificate(verdict, tally, design, counts.eliminated_at))
