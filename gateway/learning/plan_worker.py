"""The planner's computation, as one function that runs in a separate process.

`plan_translation` turns the store's records into the arrays `llm_po` works on, and the plan back. The server
process imports this module only to name the function. The function loads numpy and `llm_po` in the worker,
so the server process needs no memory and no start-up time for them.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.experiments.exposure import ExposureCaps
from gateway.experiments.plan_values import Decision, InformingSource
from gateway.running.parent import follow_parent
from policy_store.counts import Counts
from policy_store.experiment import Experiment
from policy_store.plan_records import Forecast, PlannedPair, ProposedPlan

if TYPE_CHECKING:
    from gateway.llm_po.plan import Start

TIME_LIMIT_SECONDS: Final = 60

_MOST_STARTS: Final = 64  # number of experiments whose last fits are kept; a few MB each with 128 policies


@dataclass(frozen=True, slots=True)
class PlanJob:
    """Everything one plan depends on.

    Attributes:
        experiment: Policies, error level, margin, budget, costs.
        incumbent: The policy that serves now, according to the store, not the configuration.
        counts: What has been counted so far.
        may_decide: False while the experiment's minimum duration has not passed.
        seed: Seed of the plan's random draws.
        caps: The share of units that each policy may answer, by name; None for no caps.
        costs: Cost of an answer of each policy, for choosing between equals; None for the declared costs.
        last_look: The number of the last look, once it is revealed; None before, and where there is none.
        sources: What informs the forecasts without being evidence.
    """

    experiment: Experiment
    incumbent: int
    counts: Counts
    may_decide: bool
    seed: int
    caps: ExposureCaps | None = None
    costs: tuple[float, ...] | None = None
    last_look: float | None = None
    sources: tuple[InformingSource, ...] = ()


@dataclass(frozen=True, slots=True)
class PlanResult:
    """A plan in the store's form, and the conclusion that the evidence allows, if any."""

    proposal: ProposedPlan
    forecasts: tuple[Forecast, ...]
    decision: Decision | None


def prepare_worker() -> None:
    """Set up the worker process. It ignores Ctrl-C, which its parent handles, and ends with its parent.

    Linear algebra gets one thread: with arrays of this size several threads would mostly wait for one
    another, and on a busy machine this waiting takes many times longer than the work. The setting comes
    before numpy is loaded, because numpy reads it only then.
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
    """The plan for `job`; it depends only on the job."""
    return _computed(job, None)[0]


class WarmStarts:
    """The starting point of each experiment's next plan: the fits of its last one.

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
"""The starting points in this process; only the planner's process has any."""


def _computed(job: PlanJob, start: Start | None) -> tuple[PlanResult, Start]:
    """The plan for `job`, and the starting point for the next one."""
    import numpy as np  # noqa: PLC0415 - loaded in the planner's process only

    from gateway.learning import plan_translation as translated  # noqa: PLC0415 - it loads numpy as well
    from gateway.llm_po.plan import plan  # noqa: PLC0415 - loaded in the planner's process only

    started = time.perf_counter()
    design = translated.design(job)
    tally = translated.tally(job.counts, design.promise)
    rng, sources = np.random.default_rng(job.seed), translated.sources(job)
    computed = plan(tally, design, rng, start, translated.caps(job), sources)
    forecasts = translated.pair_forecasts(computed, design)
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
        used={source.name: used for source, used in zip(job.sources, computed.used, strict=True)},
    )
    decision = translated.decision(computed.verdict, tally, design, job.counts)
    return PlanResult(proposal, forecasts, decision), computed.next_start
