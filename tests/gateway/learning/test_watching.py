"""A promotion that is watched: what is compared meanwhile, what takes it back, what `verify` makes of it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from gateway.errors import ConflictError
from gateway.experiments.agreement import Agreement
from gateway.experiments.catalogue import CatalogueHolder
from gateway.experiments.snapshot import LiveExperiment
from gateway.experiments.store_history import StoreHistory
from gateway.experiments.verbs import verbs_from
from gateway.experiments.watches import holdback_of
from gateway.instrumentation.hooks import Hooks
from gateway.instrumentation.records import DecisionTaken, GatewayEvent
from gateway.learning.plan_worker import PlanJob, PlanResult, compute_plan
from gateway.learning.planning import Planner
from gateway.learning.promotion import Promoter
from gateway.learning.refreshing import live_experiment
from gateway.learning.steering import Steering, Wish
from gateway.proof.experiment_log import ExperimentLog
from gateway.proof.recorded import read_log
from gateway.proof.verification import Verification, verify
from gateway.serving.routing import Incumbent, Single, draw_part
from policy_store.errors import ExperimentFinishedError
from policy_store.events import ByHand
from policy_store.log_records import Result
from policy_store.replicas import ReplicaRecord
from policy_store.report_records import Receipt, Report
from policy_store.states import ExperimentState
from policy_store.store import PolicyStore
from policy_store.view import ExperimentView
from policy_store.watch_records import Watch
from tests.gateway.building import DECIDES_AT_ONCE, NAME, catalogue

PLAIN, WARM = 0, 1
WATCHED = {
    **DECIDES_AT_ONCE,
    "min_comparisons": 10,
    "watch": {"share": 0.2, "for": "2h", "comparisons": 60, "level": 0.1},
}


async def compute(job: PlanJob) -> PlanResult:
    """The plan, in this process."""
    return compute_plan(job)


class Bench:
    """An experiment of `plain`, which serves at first, and `warm`, and two replicas that plan it in turn."""

    def __init__(self, store: PolicyStore) -> None:
        self.store = store
        self.events: list[GatewayEvent] = []
        self.holder = CatalogueHolder(catalogue(promotion=WATCHED))
        self.hooks = Hooks(self.events.append)
        self.agreement = Agreement()
        self.planner = self.replica("a")
        self.steering = Steering(store, self.holder, compute, StoreHistory(), self.agreement, self.hooks)
        self._units = 0

    def replica(self, name: str) -> Planner:
        """A planner of another process."""
        return Planner(
            self.store,
            self.holder,
            compute,
            Promoter(self.store, self.holder, self.hooks),
            history=StoreHistory(),
            agreement=self.agreement,
            holder=name,
            interval_seconds=0.01,
            lease_seconds=30,
            hooks=self.hooks,
            rng=random.Random(7),
        )

    async def register(self) -> ExperimentView:
        """Make the store run what the file says."""
        definition = self.holder.current.definitions[NAME]
        return await self.store.register(definition.experiment, definition.elimination_nano_nats)

    def report(self, run: int) -> Report:
        """Of another user, who saw both answers."""
        self._units += 1
        return Report(NAME, run, f"unit{self._units}", PLAIN, WARM, "side_by_side", "x", 3600)

    async def prefer(self, policy: int, times: int, run: int = 1) -> None:
        """Users who saw both answers prefer a policy."""
        result = Result.WIN if policy == PLAIN else Result.LOSS
        for _ in range(times):
            await self.store.record_preference(self.report(run), result)

    async def decide_for(self, policy: int) -> ExperimentView:
        """Users prefer a policy until the experiment is decided; how it stands then."""
        await self.planner.plan_all()
        while (view := await self.view()).state is ExperimentState.RUNNING:
            await self.prefer(policy, 5)
            await self.planner.plan_all()
        return view

    async def promote(self) -> Watch:
        """Users prefer `warm` until it is promoted and watched; the watch."""
        await self.decide_for(WARM)
        await self.planner.plan_all()
        return await self.watch()

    async def compare(self, policy: int, times: int, *, every: int = 5) -> None:
        """Users of the watch prefer a policy until it ends; the planner looks now and then."""
        run = (await self.watch()).run
        for start in range(0, times, every):
            await self.prefer(policy, min(every, times - start), run)
            await self.planner.plan_all()
            if not (await self.view()).state.facts.is_watched:
                return

    async def view(self) -> ExperimentView:
        """The experiment."""
        return await self.store.view(NAME)

    async def watch(self) -> Watch:
        """Its watch."""
        watch = (await self.view()).watch
        assert watch is not None
        return watch

    async def live(self) -> LiveExperiment:
        """What routers see."""
        return live_experiment(self.holder.current.definitions[NAME], await self.view())

    async def rows(self) -> list[dict[str, Any]]:
        """The exported log."""
        return [json.loads(line) async for line in ExperimentLog(self.store).lines(NAME)]

    async def verified(self) -> Verification:
        """What `verify` makes of it."""
        return checked(await self.rows())


def checked(rows: list[dict[str, Any]]) -> Verification:
    """What `verify` makes of rows."""
    return verify(read_log(json.dumps(row) for row in rows))


@pytest.fixture
async def bench(embedded_store: PolicyStore) -> Bench:
    """A registered experiment whose file asks for a watch."""
    bench = Bench(embedded_store)
    await bench.register()
    return bench


async def test_a_promotion_is_watched_from_the_next_look_on(bench: Bench) -> None:
    """The champion serves, and a share of the traffic compares it with the policy before."""
    watch = await bench.promote()

    view = await bench.view()
    assert (view.state, view.incumbent) == (ExperimentState.WATCHING, WARM)
    assert (watch.champion, watch.previous, watch.terms.share, watch.terms.margin) == (WARM, PLAIN, 0.2, 0.02)
    assert watch.plan is not None
    assert bench.events[-2] == DecisionTaken(NAME, 1, "watching", "warm")

    live, draws = await bench.live(), random.Random(5)
    parts = [draw_part(live, None, draws, 0.0) for _ in range(2_000)]
    singles = [part for part in parts if isinstance(part, Single)]
    assert 320 < len(singles) < 480
    assert {(part.assignment.first, part.assignment.second) for part in singles} == {(PLAIN, WARM)}
    assert {part.assignment.generation for part in singles} == {watch.run}
    assert 0.4 < sum(part.policy == WARM for part in singles) / len(singles) < 0.6
    assert all(isinstance(part, Incumbent) for part in parts if part not in singles)
    assert live.incumbent == WARM


async def test_an_effect_that_fades_is_rolled_back_by_the_gateway(bench: Bench) -> None:
    """Users prefer the promoted policy at first and the one before later; the reason has the figures."""
    watch = await bench.promote()
    await bench.compare(WARM, 15)
    assert (await bench.view()).state is ExperimentState.WATCHING
    await bench.compare(PLAIN, 40)

    view = await bench.view()
    assert (view.state, view.incumbent) == (ExperimentState.ROLLED_BACK, PLAIN)
    told = (await bench.store.events(NAME, 1))[0].told
    assert isinstance(told, ByHand)
    assert (told.actor, told.before, told.after) == ("gateway", "watching", "rolled_back")
    assert "plain turned out to be preferred to warm by more than 2 points in 100" in told.reason
    assert "(level 0.1)" in told.reason
    assert bench.events[-1] == DecisionTaken(NAME, 1, "rolled_back", "plain")
    assert (await bench.live()).incumbent == PLAIN

    found = await bench.verified()
    assert found.differences == ()
    assert found.champion == "warm"
    assert found.watch is not None
    assert (found.watch["outcome"], found.watch["wins"]) == ("worse", 15)
    assert found.watch["evidence_nats"] >= found.watch["needed_nats"]
    assert found.by_hand[-1]["reason"] == told.reason
    with pytest.raises(ExperimentFinishedError):
        await bench.prefer(PLAIN, 1, watch.run)


async def test_a_promotion_that_stays_good_is_settled_at_the_end_of_its_watch(bench: Bench) -> None:
    """The certificate is that of the promotion, without the watch's comparisons."""
    await bench.promote()
    before = await bench.view()
    for _ in range(15):
        await bench.compare(WARM, 2)
        await bench.compare(PLAIN, 2)  # as good as each other

    view = await bench.view()
    assert (view.state, view.incumbent, view.certificate) == (
        ExperimentState.SETTLED,
        WARM,
        before.certificate,
    )
    assert (await bench.store.events(NAME, 1))[0].kind == "confirmed"
    assert (await bench.store.counts(NAME, 1)).comparisons == before.certificate["comparisons"]
    found = await bench.verified()
    assert found.differences == ()
    assert found.watch is not None
    assert (found.watch["outcome"], found.watch["comparisons"]) == ("no_worse", 60)

    assert (await bench.steering.move(NAME, Wish("rollback", "ops", "refunds rose"))).incumbent == PLAIN
    assert (await bench.verified()).differences == ()


async def test_time_ends_a_watch_too(bench: Bench) -> None:
    """The store's clock ends a watch, even if there were few comparisons."""
    bench.holder.current = catalogue(promotion={**WATCHED, "watch": "0.001s"})
    await bench.promote()
    await bench.planner.plan_all()

    assert (await bench.view()).state is ExperimentState.SETTLED
    found = await bench.verified()
    assert (found.differences, found.watch and found.watch["comparisons"]) == ((), 0)


async def test_a_watch_goes_on_with_another_planner_and_under_another_file(bench: Bench) -> None:
    """The store keeps terms and evidence of a watch, so nothing begins anew."""
    watch = await bench.promote()
    await bench.compare(PLAIN, 5)
    await bench.store.release_lease(NAME, "a")
    bench.holder.current = catalogue(promotion={**DECIDES_AT_ONCE, "min_comparisons": 10})
    bench.planner = bench.replica("b")
    await bench.register()
    await bench.compare(PLAIN, 40)

    view = await bench.view()
    assert view.state is ExperimentState.ROLLED_BACK
    assert (await bench.watch()).terms == watch.terms
    assert (await bench.verified()).differences == ()


DIFFER = (ReplicaRecord("host:1:ab", "c0ffee", 0, 0), ReplicaRecord("host:2:cd", "decaf", 0, 0))


async def test_while_replicas_differ_no_watch_begins_and_none_is_confirmed(bench: Bench) -> None:
    """Both moves wait until all replicas run one configuration."""
    await bench.decide_for(WARM)
    bench.agreement.replicas = DIFFER
    await bench.planner.plan_all()
    assert (await bench.view()).state is ExperimentState.PROMOTED

    bench.agreement.replicas = ()
    await bench.planner.plan_all()
    bench.agreement.replicas = DIFFER
    await bench.compare(WARM, 65)
    assert (await bench.view()).state is ExperimentState.WATCHING
    bench.agreement.replicas = ()
    await bench.planner.plan_all()
    assert (await bench.view()).state is ExperimentState.SETTLED


async def test_what_is_worse_is_taken_back_while_replicas_differ(bench: Bench) -> None:
    """A rollback waits for no agreement on files."""
    await bench.promote()
    bench.agreement.replicas = DIFFER
    await bench.compare(PLAIN, 40)
    assert (await bench.view()).state is ExperimentState.ROLLED_BACK


async def test_a_person_takes_a_watched_promotion_back(bench: Bench) -> None:
    """A person need not wait for evidence, and the next promotion has a watch and counts of its own."""
    first = await bench.promote()
    await bench.compare(PLAIN, 5)
    view = await bench.steering.move(NAME, Wish("rollback", "ops", "refunds rose"))
    assert (view.state, view.incumbent) == (ExperimentState.ROLLED_BACK, PLAIN)
    assert view.watch is not None
    assert view.watch.verdict is None

    await bench.steering.move(NAME, Wish("promote", "ops", "it was the weather", "warm"))
    await bench.planner.plan_all()
    second = await bench.watch()
    assert second.run != first.run
    assert (await bench.store.counts(NAME, second.run)).comparisons == 0
    await bench.compare(PLAIN, 40)
    assert (await bench.view()).state is ExperimentState.ROLLED_BACK
    assert (await bench.verified()).differences == ()


async def test_answers_count_for_the_run_that_they_were_drawn_in(bench: Bench) -> None:
    """Votes on answers from before the promotion are finished, whatever is watched now."""
    watch = await bench.promote()
    with pytest.raises(ExperimentFinishedError):
        await bench.prefer(WARM, 1)
    assert (
        await bench.store.record_preference(bench.report(watch.run), Result.TIE)
    ).receipt is Receipt.COUNTED
    counts = await bench.store.counts(NAME, watch.run)
    assert (counts.comparisons, counts.ties[PLAIN][WARM]) == (1, 1)


async def test_a_certified_incumbent_has_no_promotion_to_take_back(bench: Bench) -> None:
    """A certified incumbent is settled too, but nothing was promoted."""
    view = await bench.decide_for(PLAIN)
    assert (view.state, verbs_from(view)) == (ExperimentState.SETTLED, ["promote"])
    with pytest.raises(ConflictError, match="no promotion to take back"):
        await bench.steering.move(NAME, Wish("rollback", "ops", "why not"))


def _of_watch(rows: list[dict[str, Any]]) -> int:
    """Where the watch's log begins."""
    return next(number for number, row in enumerate(rows) if row["type"] == "watch")


def _turned(rows: list[dict[str, Any]]) -> None:
    row = next(row for row in rows[_of_watch(rows) :] if row.get("result") == "win")
    row["result"] = "loss"


def _verdict(rows: list[dict[str, Any]]) -> None:
    rows[_of_watch(rows)]["verdict"]["losses"] += 1


def _level(rows: list[dict[str, Any]]) -> None:
    rows[_of_watch(rows)]["terms"]["level"] = 0.5


def _dropped(rows: list[dict[str, Any]]) -> None:
    del rows[_of_watch(rows) :]


def _forecast(rows: list[dict[str, Any]]) -> None:
    row = next(row for row in rows[_of_watch(rows) :] if row["type"] == "comparison")
    row["probability_millionths"] += 1


def _by_itself(rows: list[dict[str, Any]]) -> None:
    event = next(row for row in rows if row.get("kind") == "rolled_back")
    del event["detail"]["fence"]


@pytest.mark.parametrize("tamper", [_turned, _verdict, _level, _dropped, _forecast, _by_itself])
async def test_a_watch_that_was_tampered_with_is_refused(
    bench: Bench, tamper: Callable[[list[dict[str, Any]]], None]
) -> None:
    """Outcomes, forecasts, terms, verdict and whose move it was all have to fit together."""
    await bench.promote()
    await bench.compare(PLAIN, 40)
    rows = await bench.rows()
    assert checked(rows).is_confirmed

    tamper(rows)
    assert not checked(rows).is_confirmed


async def test_the_evidence_of_a_watch_is_what_its_forecasts_published(bench: Bench) -> None:
    """The store's counts are the core's increments, added up."""
    watch = await bench.promote()
    assert watch.plan is not None
    await bench.prefer(PLAIN, 3, watch.run)
    counts = await bench.store.counts(NAME, watch.run)
    (logged, *_) = await bench.store.latest_comparisons(NAME, watch.run, 10)
    added = holdback_of(watch).increments(logged.probability_millionths)
    assert counts.evidence_nano_nats[WARM][PLAIN] == 3 * added[2]
    assert counts.evidence_nano_nats[PLAIN][WARM] == 3 * added[0]
