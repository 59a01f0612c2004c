"""The planner: one replica plans, a plan never uses what it was not given, faults leave the last plan be."""

from __future__ import annotations

import asyncio
import multiprocessing
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Literal

import pytest

from gateway.experiments.agreement import Agreement
from gateway.experiments.definitions import Definition
from gateway.experiments.store_history import StoreHistory
from gateway.instrumentation.hooks import Hooks
from gateway.instrumentation.records import GatewayEvent, PlanningFailed
from gateway.learning.plan_pool import PlanPool
from gateway.learning.plan_worker import PlanJob, PlanResult, compute_plan
from gateway.learning.planning import Planner
from gateway.learning.promotion import Promoter
from gateway.running.background import stop
from policy_store.log_records import Comparison, LoggedPlan, Result
from policy_store.report_records import Report
from policy_store.states import ExperimentState
from policy_store.store import PolicyStore
from tests.gateway.building import NAME, catalogue_holder, definition
from tests.pace import PATIENCE_SECONDS


class Bench:
    """Planners of several replicas on one store; plans are computed in this process."""

    def __init__(self, store: PolicyStore, about: Definition) -> None:
        self.store = store
        self.about = about
        self.events: list[GatewayEvent] = []
        self.jobs: list[PlanJob] = []
        self.failure: Exception | None = None
        self.takes_seconds = 0.0

    async def compute(self, job: PlanJob) -> PlanResult:
        self.jobs.append(job)
        if self.failure:
            raise self.failure
        await asyncio.sleep(self.takes_seconds)
        return compute_plan(job)

    def planner(self, holder: str = "a", lease_seconds: float = 30) -> Planner:
        hooks = Hooks(self.events.append)
        return Planner(
            self.store,
            catalogue_holder(),
            self.compute,
            Promoter(self.store, catalogue_holder(), hooks),
            history=StoreHistory(),
            agreement=Agreement(),
            holder=holder,
            interval_seconds=0.01,
            lease_seconds=lease_seconds,
            hooks=hooks,
            rng=random.Random(7),
        )

    async def register(self) -> None:
        await self.store.register(self.about.experiment, self.about.elimination_nano_nats)

    async def prefer(self, result: Result, times: int, start: int = 0) -> None:
        for number in range(start, start + times):
            report = Report(NAME, 1, f"unit{number}", 0, 1, "side_by_side", "x", 3600)
            await self.store.record_preference(report, result)

    async def rate(self, side: Literal[0, 1], times: int, start: int = 0, given_at: int = 0) -> None:
        for number in range(start, start + times):
            report = Report(NAME, 1, f"unit{number}", 0, 1, "matched:thumb", "x", 3600)
            report = report._replace(given_at=given_at)
            await self.store.record_outcome(report, side=side, value=1.0, tie_margin=0.0, wait_seconds=3600)

    def errors(self, reason: str) -> int:
        return self.events.count(PlanningFailed(NAME, reason))


@pytest.fixture
async def bench(embedded_store: PolicyStore) -> Bench:
    """A registered experiment of two policies, `plain` (incumbent) and `warm`."""
    bench = Bench(embedded_store, definition())
    await bench.register()
    return bench


async def test_first_plan_is_published_before_anything_was_counted(bench: Bench) -> None:
    """Requests can be routed to pairs as soon as the experiment starts."""
    await bench.planner().plan_all()

    plan = (await bench.store.view(NAME)).plan
    assert plan is not None
    assert [(pair.first, pair.second) for pair in plan.proposal.pairs] == [(0, 1)]
    assert sum(pair.probability for pair in plan.proposal.pairs) == pytest.approx(1.0)


async def test_a_plan_that_takes_longer_than_a_lease_is_not_taken_over(bench: Bench) -> None:
    """Replicas would otherwise overtake each other for good, and none would ever decide."""
    bench.takes_seconds = 0.6
    planning = asyncio.create_task(bench.planner("a", lease_seconds=0.2).plan_all())
    await asyncio.sleep(0.45)
    await bench.planner("b").plan_all()
    await planning

    assert len(bench.jobs) == 1
    assert (await bench.store.view(NAME)).plan is not None
    assert not [event for event in bench.events if isinstance(event, PlanningFailed)]


async def test_nothing_is_planned_while_nothing_new_was_counted(bench: Bench) -> None:
    """An idle experiment costs reads, not plans."""
    planner = bench.planner()
    await planner.plan_all()
    await planner.plan_all()
    assert len(bench.jobs) == 1

    await bench.prefer(Result.WIN, 1)
    await planner.plan_all()
    assert len(bench.jobs) == 2


async def test_a_plan_is_published_when_another_policy_of_a_pair_lags_behind(bench: Bench) -> None:
    """If only one policy's users report, nothing is compared, but routers still need a new plan."""
    planner = bench.planner()
    await planner.plan_all()
    await bench.rate(1, times=2)
    await planner.plan_all()
    assert (await bench.store.view(NAME)).plan.waiting == {(0, 1): (0, 2)}

    await bench.rate(1, times=1, start=2)
    await planner.plan_all()
    assert len(bench.jobs) == 2
    await bench.rate(1, times=1, start=3)
    await planner.plan_all()
    assert len(bench.jobs) == 3


async def test_a_plan_says_how_many_outcomes_are_under_way(bench: Bench) -> None:
    """Routers damp their draws by it; it follows from the times of answers and comparisons."""
    planner = bench.planner()
    await planner.plan_all()
    assert (await bench.store.view(NAME)).plan.under_way == 0
    given = int((await bench.store.counts(NAME, 1)).now) - 30
    await bench.rate(1, times=1, given_at=given)
    await bench.rate(0, times=1, start=1, given_at=given)
    await planner.plan_all()
    assert (await bench.store.view(NAME)).plan.under_way > 30


async def test_only_the_replica_with_the_lease_plans(bench: Bench) -> None:
    """Two replicas do not do the same work."""
    first, second = bench.planner("a"), bench.planner("b")
    await first.plan_all()
    await second.plan_all()
    assert len(bench.jobs) == 1


async def test_another_replica_takes_over_when_the_first_stops(bench: Bench) -> None:
    """A planner that is closed gives its lease back, so that no replica waits for it to run out."""
    first = asyncio.create_task(bench.planner("a").run())
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not bench.jobs:
            await asyncio.sleep(0.001)
        await stop(first)

    await bench.planner("b").plan_all()
    assert len(bench.jobs) == 2


async def test_failed_plan_is_counted_and_leaves_the_last_one_in_force(bench: Bench) -> None:
    """A fault in the arithmetic does not stop the experiment, and is tried again."""
    planner = bench.planner()
    await planner.plan_all()
    await bench.prefer(Result.WIN, 1)
    bench.failure = ZeroDivisionError("no")

    await planner.plan_all()
    assert bench.errors("plan") == 1
    plan = (await bench.store.view(NAME)).plan
    assert plan is not None
    assert plan.version == 1

    bench.failure = None
    await planner.plan_all()
    plan = (await bench.store.view(NAME)).plan
    assert plan is not None
    assert plan.version == 2


async def test_overtaken_planner_changes_nothing(bench: Bench, embedded_store: PolicyStore) -> None:
    """A replica that was frozen while planning finds its plan refused, not published over a newer one."""
    slow = bench.planner("slow")
    bench_compute = bench.compute

    async def overtaken(job: PlanJob) -> PlanResult:
        await embedded_store.release_lease(NAME, "slow")
        await embedded_store.acquire_lease(NAME, "fast", 30)
        return await bench_compute(job)

    slow._compute = overtaken
    await slow.plan_all()

    assert bench.errors("stale_fence") == 1
    assert (await embedded_store.view(NAME)).plan is None


async def test_experiment_unknown_to_the_store_is_counted_not_raised(embedded_store: PolicyStore) -> None:
    """The planner waits for the experiment to be registered."""
    bench = Bench(embedded_store, definition())
    await bench.planner().plan_all()
    assert bench.errors("unknown_experiment") == 1


async def test_clear_winner_is_promoted_with_its_certificate(bench: Bench) -> None:
    """Enough evidence ends the experiment, changes the incumbent and says why."""
    planner = bench.planner()
    await planner.plan_all()
    for start in range(0, 400, 20):
        await bench.prefer(Result.LOSS, 20, start)
        await planner.plan_all()
        view = await bench.store.view(NAME)
        if view.state is not ExperimentState.RUNNING:
            break

    assert view.state is ExperimentState.PROMOTED
    assert view.experiment.policies[view.incumbent] == "warm"
    assert view.certificate is not None
    assert view.certificate["champion_name"] == "warm"
    assert view.certificate["config_hash"] == "c0ffee"
    promoted = (await bench.store.events(NAME))[0]
    assert promoted.kind == "promoted"
    assert promoted.at - PATIENCE_SECONDS < view.certificate["decided_at"] <= promoted.at


async def test_incumbent_that_wins_is_settled(bench: Bench) -> None:
    """Nothing changes for users when the incumbent is certified."""
    planner = bench.planner()
    await planner.plan_all()
    for start in range(0, 400, 20):
        await bench.prefer(Result.WIN, 20, start)
        await planner.plan_all()
        view = await bench.store.view(NAME)
        if view.state is not ExperimentState.RUNNING:
            break

    assert view.state is ExperimentState.SETTLED
    assert view.experiment.policies[view.incumbent] == "plain"


async def test_spent_budget_ends_inconclusive(embedded_store: PolicyStore) -> None:
    """At `max_comparisons` the experiment ends as inconclusive, and the incumbent stays."""
    bench = Bench(embedded_store, definition(max_comparisons=12))
    await bench.register()
    planner = bench.planner()
    await planner.plan_all()
    for number in range(12):
        await bench.prefer(Result.WIN if number % 2 else Result.LOSS, 1, number)
    await planner.plan_all()

    view = await embedded_store.view(NAME)
    assert view.state is ExperimentState.INCONCLUSIVE
    assert view.experiment.policies[view.incumbent] == "plain"


async def test_no_decision_before_the_minimum_duration(embedded_store: PolicyStore) -> None:
    """Evidence may suffice in a minute; the operator asked for a week of data."""
    bench = Bench(embedded_store, definition(promotion={"min_comparisons": 10, "min_duration": "7d"}))
    await bench.register()
    planner = bench.planner()
    for start in range(0, 200, 40):
        await bench.prefer(Result.LOSS, 40, start)
        await planner.plan_all()

    assert not bench.jobs[-1].may_decide
    assert (await embedded_store.view(NAME)).state is ExperimentState.RUNNING


async def test_decision_is_taken_when_the_minimum_duration_has_passed_without_new_comparisons(
    bench: Bench,
) -> None:
    """A held decision does not wait for one more comparison."""
    planner = bench.planner()
    await planner.plan_all()
    done = planner._done[NAME]
    planner._done[NAME] = replace(done, may_decide=False)

    await planner.plan_all()
    assert len(bench.jobs) == 2


async def test_forecasts_are_logged_before_the_outcomes_they_count(bench: Bench) -> None:
    """The log shows, comparison by comparison, that every forecast came first."""
    planner = bench.planner()
    await planner.plan_all()
    await bench.prefer(Result.LOSS, 3)
    await planner.plan_all()
    await bench.prefer(Result.LOSS, 3, 3)

    records, _ = await bench.store.log(NAME, 1)
    plans = [record for record in records if isinstance(record, LoggedPlan)]
    assert [plan.comparisons for plan in plans] == [0, 3]
    counted = [record for record in records if isinstance(record, Comparison)]
    assert [comparison.plan_version for comparison in counted] == [1, 1, 1, 2, 2, 2]


@pytest.fixture
async def pool() -> AsyncIterator[PlanPool]:
    """A real planning process."""
    pool = PlanPool()
    yield pool
    pool.close()


async def test_planning_process_that_dies_is_replaced(bench: Bench, pool: PlanPool) -> None:
    """A killed process costs one plan and is counted."""
    planner = bench.planner()
    planner._compute = pool.compute
    await planner.plan_all()
    for process in multiprocessing.active_children():
        process.kill()
    await bench.prefer(Result.WIN, 1)

    await planner.plan_all()
    assert bench.errors("worker_died") == 1

    await planner.plan_all()
    plan = (await bench.store.view(NAME)).plan
    assert plan is not None
    assert plan.version == 2


async def test_lasting_failure_is_logged_once(bench: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    """A plan that fails at every interval does not fill the log; the counter tells how often."""
    bench.failure = ZeroDivisionError("no")
    planner = bench.planner()
    for _ in range(5):
        await planner.plan_all()

    assert bench.errors("plan") == 5
    assert "".join(capfd.readouterr()).count("planning_failed") == 1
