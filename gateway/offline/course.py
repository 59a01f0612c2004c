"""The course of a run: the next comparison, the counts, and the current plan.

This is bookkeeping alone: no calls, no files, no clock. Everything follows from the experiment, the seed and
the verdicts counted so far, so a run that was killed continues exactly as it would have.

Comparisons are counted in the order in which they were assigned, whichever verdict arrives first, so the
time that a verdict takes does not matter. Up to `window` of them are in progress: comparison n is drawn from
the plan that was in force when n - window comparisons had been counted, and is counted with the forecast in
force at that time.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np

from gateway.experiments.plan_values import Decision
from gateway.learning.plan_worker import PlanJob, PlanResult, compute_plan
from gateway.llm_po.evidence import RESULTS, ComparisonResult, Ledger
from gateway.llm_po.lines import checked_promise
from gateway.llm_po.within_plan import PlanForecasts
from policy_store.counts import Counts
from policy_store.experiment import Experiment
from policy_store.log_records import Comparison, LoggedPlan, Result
from policy_store.plan_records import PlannedPair, ProposedPlan

REFRESH_SHARE: Final = 50  # a plan every 1/50 of the comparisons so far, as in simulations
_PLANS, _DRAWS, _ORDER = range(3)  # independent streams of random numbers


@dataclass(frozen=True, slots=True)
class Pairing:
    """Two policies and a task to compare them on. `first < second`; repetitions number random answers."""

    number: int
    first: int
    second: int
    task: int
    first_repetition: int
    second_repetition: int


@dataclass(frozen=True, slots=True)
class DrawnPairs:
    """The pairs of a plan that was in force when `comparisons` comparisons had been counted."""

    comparisons: int
    pairs: tuple[PlannedPair, ...]

    def pair_at(self, point: float) -> PlannedPair:
        """The pair whose share of [0, 1) contains a point."""
        cumulative = 0.0
        for pair in self.pairs:
            cumulative += pair.probability
            if point < cumulative:
                return pair
        return self.pairs[-1]  # rounding may leave the sum just below one


class Course:
    """Assigns comparisons, counts their verdicts, and plans.

    Args:
        experiment: The experiment with its policies.
        tasks: The number of tasks.
        is_repeatable: For each policy, whether it always gives the same answer to a task.
        draw: `list`: any task may come up again. `population`: each comes up once.
        seed: Fixes every draw.
        window: Comparisons in progress at once.
    """

    def __init__(
        self,
        experiment: Experiment,
        tasks: int,
        is_repeatable: Sequence[bool],
        *,
        draw: Literal["list", "population"],
        seed: int,
        window: int,
    ) -> None:
        self.experiment = experiment
        self._tasks = tasks
        self._is_repeatable = tuple(is_repeatable)
        self._seed = seed
        self._window = window
        self._order = self._random(_ORDER).permutation(tasks).tolist() if draw == "population" else None
        promise = checked_promise(experiment.promise)
        self._ledger = Ledger(len(experiment.policies), experiment.delta, experiment.epsilon, promise)
        self._uses: Counter[tuple[int, int]] = Counter()
        self._drawn: list[DrawnPairs] = []
        self._forecasts = PlanForecasts()
        self.assigned = 0
        self.plan: PlanResult | None = None

    @property
    def counted(self) -> int:
        """Comparisons counted."""
        return self._ledger.comparisons

    @property
    def plans(self) -> int:
        """Plans made."""
        return len(self._drawn)

    @property
    def decision(self) -> Decision | None:
        """How the run ends, or None while it goes on."""
        return None if self.plan is None else self.plan.decision

    @property
    def under_way(self) -> int:
        """The comparisons that are assigned but not yet counted."""
        return self.assigned - self.counted

    @property
    def may_assign(self) -> bool:
        """Whether another comparison may be begun now."""
        most = self.experiment.max_comparisons
        is_within = most is None or self.assigned < most
        return is_within and self.under_way < self._window and not self.is_out_of_tasks

    @property
    def is_out_of_tasks(self) -> bool:
        """Whether each task may come up only once and all have come up."""
        return self._order is not None and self.assigned >= self._tasks

    @property
    def is_plan_due(self) -> bool:
        """Whether a plan has to be made before anything else is counted."""
        if not self._drawn:
            return True
        last = self._drawn[-1].comparisons
        due = last + max(1, last // REFRESH_SHARE)
        return self.counted >= due or (
            self.counted > last and self.counted == self.experiment.max_comparisons
        )

    def make_plan(self, at: float) -> tuple[LoggedPlan, ProposedPlan]:
        """Make a plan from the counts: forecasts for the next counts, pairs for the next assignments."""
        self.plan = self._computed()
        logged = LoggedPlan(
            version=len(self._drawn) + 1,
            fence=1,
            comparisons=self.counted,
            forecasts=tuple(forecast.logged for forecast in self.plan.forecasts),
            at=at,
        )
        self._take(logged, self.plan.proposal.pairs)
        return logged, self.plan.proposal

    def assign(self) -> Pairing:
        """The next comparison; `may_assign` must hold."""
        number = self.assigned + 1
        rng = self._random(_DRAWS, number)
        counted = max(0, number - self._window)
        position = bisect_right(self._drawn, counted, key=lambda drawn: drawn.comparisons)
        pair = self._drawn[position - 1].pair_at(rng.random())
        task = int(rng.integers(self._tasks)) if self._order is None else self._order[number - 1]
        assigned = Pairing(
            number,
            pair.first,
            pair.second,
            task,
            self._repetition(pair.first, task),
            self._repetition(pair.second, task),
        )
        self._note_use(assigned)
        return assigned

    def count(self, assigned: Pairing, result: ComparisonResult, source: str, at: float) -> Comparison:
        """Count a verdict with the forecast in force.

        Raises:
            ValueError: If it is not the next one in the order of assignment, or a plan is due first.
        """
        if assigned.number != self.counted + 1:
            raise ValueError(f"comparison {assigned.number} cannot follow {self.counted}")
        if self.is_plan_due:
            raise ValueError(f"a plan is due after {self.counted} comparisons")
        pair = assigned.first, assigned.second
        first, second = self._forecasts.of(pair)
        goes_on = self._forecasts.goes_on(pair)
        self._ledger.count(*pair, result, first, second)
        self._forecasts.count(pair, result)
        return Comparison(
            number=assigned.number,
            first=assigned.first,
            second=assigned.second,
            result=Result(result),
            probability_millionths=first,
            plan_version=len(self._drawn),
            source=source,
            at=at,
            second_millionths=second if goes_on else None,
        )

    def replay_plan(self, logged: LoggedPlan, pairs: tuple[PlannedPair, ...], *, is_last: bool) -> None:
        """Restore an earlier plan; the conclusion of the last plan is computed again.

        Raises:
            ValueError: If its number of comparisons differs from that replayed.
        """
        if logged.comparisons != self.counted or logged.version != len(self._drawn) + 1:
            raise ValueError(f"plan {logged.version} does not follow {self.counted} comparisons")
        if is_last:
            self.plan = self._computed()
        self._take(logged, pairs)

    def replay(self, assigned: Pairing, comparison: Comparison) -> None:
        """Restore a counted comparison.

        Raises:
            ValueError: If it does not follow the replayed comparisons.
        """
        self._note_use(assigned)
        again = self.count(assigned, as_result(comparison.result), comparison.source, comparison.at)
        if again != comparison:
            raise ValueError(f"comparison {comparison.number} was not counted under plan {self.plans}")

    def ended_early(self) -> Decision:
        """The conclusion if the run cannot continue.

        If the counted comparisons do not suffice, they become the experiment's budget (at least one), so the
        inconclusive end can be recomputed like any other.
        """
        self.plan = self._computed()
        if self.plan.decision is None:
            self.experiment = replace(self.experiment, max_comparisons=self.counted)
            self.plan = self._computed()
        if self.plan.decision is None:
            raise ValueError("a spent budget always decides")
        return self.plan.decision

    def counts(self) -> Counts:
        """Everything counted, in the store's form."""
        tally = self._ledger.tally()
        return Counts(
            comparisons=tally.comparisons,
            wins=_rows(tally.wins),
            ties=_rows(tally.ties),
            evidence_nano_nats=_rows(tally.evidence),
            evidence_at_half_nano_nats=() if tally.at_half is None else _rows(tally.at_half),
            eliminated_at=tuple(self._ledger.eliminated_at),
            started_at=0.0,
            now=0.0,
        )

    def _computed(self) -> PlanResult:
        seed = int(self._random(_PLANS, self.counted).integers(2**63))
        return compute_plan(PlanJob(self.experiment, self.experiment.incumbent, self.counts(), True, seed))

    def _take(self, logged: LoggedPlan, pairs: tuple[PlannedPair, ...]) -> None:
        self._drawn.append(DrawnPairs(logged.comparisons, pairs))
        self._forecasts = PlanForecasts(logged.forecasts)

    def _repetition(self, policy: int, task: int) -> int:
        return 0 if self._is_repeatable[policy] else self._uses[policy, task]

    def _note_use(self, assigned: Pairing) -> None:
        self.assigned = assigned.number
        self._uses[assigned.first, assigned.task] += 1
        self._uses[assigned.second, assigned.task] += 1

    def _random(self, *stream: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, *stream])


def as_result(word: str) -> ComparisonResult:
    """The core's name for a result of the store.

    Raises:
        ValueError: If there is no such result.
    """
    for result in RESULTS:
        if word == result:
            return result
    raise ValueError(f"result {word!r} is none of {', '.join(RESULTS)}")


def _rows(matrix: Any) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(row) for row in matrix.tolist())
