"""Guardrails: what a policy that is worse comes to in each state, who admits it again, what `verify` says."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest

from gateway.errors import ConflictError, InvalidRequestError
from gateway.experiments.agreement import Agreement
from gateway.experiments.catalogue import CatalogueHolder
from gateway.experiments.exposure import ExposureCaps
from gateway.experiments.guardrails import counted_for, counted_run
from gateway.experiments.snapshot import LiveExperiment
from gateway.experiments.store_history import StoreHistory
from gateway.experiments.verbs import verbs_from
from gateway.instrumentation.hooks import Hooks
from gateway.instrumentation.records import GatewayEvent, GuardrailActed
from gateway.learning.plan_worker import PlanJob, PlanResult, compute_plan
from gateway.learning.planning import Planner
from gateway.learning.promotion import Promoter
from gateway.learning.refreshing import live_experiment
from gateway.learning.steering import Steering, Wish
from gateway.llm_po.guardrails import GRAIN
from gateway.proof.experiment_log import ExperimentLog
from gateway.proof.recorded import read_log
from gateway.proof.verification import UndecidedError, Verification, verify
from gateway.serving.routing import Single, draw_part
from policy_store.events import ByHand
from policy_store.guard_events import GuardrailTripped
from policy_store.guard_records import Deed
from policy_store.log_records import Result
from policy_store.report_records import Report
from policy_store.states import ExperimentState
from policy_store.store import PolicyStore
from policy_store.view import ExperimentView
from tests.gateway.building import DECIDES_AT_ONCE, NAME, catalogue

POLICIES = ("plain", "warm", "xenial")
PLAIN, WARM, XENIAL = 0, 1, 2
PROMOTION = {**DECIDES_AT_ONCE, "min_comparisons": 10}
FAILING, FINE = (GRAIN, 0), (0, 0)


async def compute(job: PlanJob) -> PlanResult:
    """The plan, in this process."""
    return compute_plan(job)


class Bench:
    """An experiment with one guardrail, and a replica that plans it."""

    def __init__(self, store: PolicyStore, then: str, policies: tuple[str, ...], **promotion: Any) -> None:
        self.store = store
        self.events: list[GatewayEvent] = []
        guardrails = {"error_rate": {"worse_by": 0.01, "then": then}}
        self.holder = CatalogueHolder(
            catalogue(policies=policies, promotion={**PROMOTION, **promotion}, guardrails=guardrails)
        )
        hooks = Hooks(self.events.append)
        self.planner = Planner(
            store,
            self.holder,
            compute,
            Promoter(store, self.holder, hooks),
            history=StoreHistory(),
            agreement=Agreement(),
            holder="a",
            interval_seconds=0.01,
            lease_seconds=30,
            hooks=hooks,
            rng=random.Random(7),
        )
        self.steering = Steering(store, self.holder, compute, StoreHistory(), Agreement(), hooks)
        self._sent = 0

    async def register(self) -> None:
        """Make the store run what the file says, and plan it once."""
        definition = self.holder.current.definitions[NAME]
        await self.store.register(definition.experiment, definition.elimination_nano_nats)
        await self.planner.plan_all()

    async def measure(self, policy: int, pairs: dict[tuple[int, int], int], reference: int = PLAIN) -> None:
        """Replicas counted these pairs of a policy and the one it is compared with; the planner looks."""
        view = await self.view()
        prints = view.experiment.policy_fingerprints
        guardrail = self.holder.current.definitions[NAME].guardrails[0]
        about = counted_for(guardrail, prints[policy], prints[reference], view.guards)
        self._sent += 1
        await self.store.add_pairs(NAME, counted_run(view), "replica", self._sent, {about: pairs})
        await self.planner.plan_all()

    async def fail(self, policy: int, reference: int = PLAIN) -> ExperimentView:
        """Every second answer of a policy fails."""
        await self.measure(policy, {FAILING: 20, FINE: 20}, reference)
        return await self.view()

    async def certify(self, policy: int) -> ExperimentView:
        """Users prefer a policy to every other until something is decided."""
        unit, others = 0, [each for each in range(len(self.policies)) if each != policy]
        while (view := await self.view()).state is ExperimentState.RUNNING and unit < 600:
            for other in others * 5:
                unit += 1
                first, second = sorted((policy, other))
                said = Report(NAME, view.generation, f"unit{unit}", first, second, "side_by_side", "x", 3600)
                await self.store.record_preference(said, Result.WIN if first == policy else Result.LOSS)
            await self.planner.plan_all()
        return view

    @property
    def policies(self) -> list[str]:
        """Their names."""
        return [policy.name for policy in self.holder.current.definitions[NAME].policies]

    async def view(self) -> ExperimentView:
        """The experiment."""
        return await self.store.view(NAME)

    async def live(self) -> LiveExperiment:
        """What routers see."""
        return live_experiment(self.holder.current.definitions[NAME], await self.view())

    async def kinds(self) -> list[str]:
        """The kinds of all events, oldest first."""
        return [event.kind for event in reversed(await self.store.events(NAME))]

    async def rows(self) -> list[dict[str, Any]]:
        """The exported log."""
        return [json.loads(line) async for line in ExperimentLog(self.store).lines(NAME)]


def checked(rows: list[dict[str, Any]]) -> Verification | None:
    """What `verify` makes of rows; None if it finds nothing wrong and nothing decided."""
    try:
        return verify(read_log(json.dumps(row) for row in rows))
    except UndecidedError:
        return None


async def bench_of(
    store: PolicyStore, then: str, policies: tuple[str, ...] = POLICIES, **promotion: Any
) -> Bench:
    """A registered experiment."""
    bench = Bench(store, then, policies, **promotion)
    await bench.register()
    return bench


async def test_too_few_failures_do_nothing(embedded_store: PolicyStore) -> None:
    """While the evidence is below the line there is no event and no move."""
    bench = await bench_of(embedded_store, "eject")
    await bench.measure(WARM, {FAILING: 2, FINE: 10})
    assert await bench.kinds() == ["started"]


async def test_an_ejected_policy_is_drawn_no_more_and_the_others_are(embedded_store: PolicyStore) -> None:
    """Pairs of the other policies go on; the finding has its numbers and is told once."""
    bench = await bench_of(embedded_store, "eject")
    view = await bench.fail(WARM)
    await bench.fail(WARM)

    assert view.state is ExperimentState.RUNNING
    assert await bench.kinds() == ["started", "guardrail_tripped"]
    told = (await bench.store.events(NAME, 1))[0].told
    assert isinstance(told, GuardrailTripped)
    assert (told.policy, told.reference, told.did, told.worse, told.usual) == (WARM, PLAIN, "ejected", 0.5, 0)
    assert told.nats >= told.needed_nats
    assert bench.events.count(GuardrailActed(NAME, "error_rate", "warm", "ejected")) == 1

    live, draws = await bench.live(), random.Random(1)
    drawn = [draw_part(live, None, draws, 0.0) for _ in range(200)]
    pairs = {(part.assignment.first, part.assignment.second) for part in drawn if isinstance(part, Single)}
    assert pairs == {(PLAIN, XENIAL)}
    assert view.plan is not None
    assert checked(await bench.rows()) is None


async def test_with_only_the_incumbent_left_nothing_is_compared(embedded_store: PolicyStore) -> None:
    """The incumbent answers everything; what was counted stays."""
    bench = await bench_of(embedded_store, "eject", ("plain", "warm"))
    await bench.fail(WARM)
    live = await bench.live()
    assert live.pairs == ()
    assert not isinstance(draw_part(live, None, random.Random(1), 0.0), Single)


async def test_caps_hold_among_the_policies_that_are_left(embedded_store: PolicyStore) -> None:
    """If all pairs but one are out, fewer units are compared, so that its candidate keeps its cap."""
    bench = await bench_of(embedded_store, "eject")
    caps = ExposureCaps(share=0.6, answers_per_unit=1, max_shares={"xenial": 0.1}, min_share=0.0)
    await bench.fail(WARM)
    live = replace(await bench.live(), share=0.6, caps=caps)
    assert [(pair.first, pair.second, pair.probability) for pair in live.pairs] == [(PLAIN, XENIAL, 1.0)]
    assert live.compared_share == pytest.approx(0.2)  # of which xenial answers half


async def test_pausing_waits_for_a_person_and_then_counts_anew(embedded_store: PolicyStore) -> None:
    """Resuming does not trip again on the same pairs, and the policy stays without promotion."""
    bench = await bench_of(embedded_store, "pause")
    view = await bench.fail(WARM)
    assert view.state is ExperimentState.PAUSED
    moved = (await bench.store.events(NAME, 1))[0].told
    assert isinstance(moved, ByHand)
    assert moved.actor == "guardrail"
    assert "error_rate: warm is worse than plain: 0.5 on average against 0 in 40 pairs" in moved.reason
    assert set(verbs_from(view)) >= {"resume", "readmit"}

    await bench.steering.move(NAME, Wish("resume", "ops", "the provider is back"))
    await bench.planner.plan_all()
    view = await bench.view()
    assert (view.state, view.guards.trips[0].did) == (ExperimentState.RUNNING, Deed.PAUSED)
    view = await bench.certify(WARM)
    assert view.state is ExperimentState.RUNNING  # not promoted, whatever users prefer

    assert (await bench.fail(WARM)).state is ExperimentState.PAUSED
    assert (await bench.kinds()).count("guardrail_tripped") == 2
    assert checked(await bench.rows()) is None


async def test_resuming_answers_what_a_signal_asked(embedded_store: PolicyStore) -> None:
    """A signal pauses and asks; a person who resumes lets the policy be promoted."""
    bench = await bench_of(embedded_store, "ask")
    assert (await bench.fail(WARM)).state is ExperimentState.PAUSED
    await bench.steering.move(NAME, Wish("resume", "ops", "we know"))
    view = await bench.view()
    assert (view.state, view.guards.trips) == (ExperimentState.RUNNING, ())
    view = await bench.certify(WARM)
    assert (view.state, view.incumbent) == (ExperimentState.PROMOTED, WARM)
    assert (found := checked(await bench.rows())) is not None
    assert found.differences == ()


async def test_a_policy_found_worse_is_not_promoted_until_it_is_admitted(embedded_store: PolicyStore) -> None:
    """Neither the evidence nor a person promotes it; both may after `readmit`, for which it counts anew."""
    bench = await bench_of(embedded_store, "eject")
    await bench.fail(WARM)
    assert (await bench.certify(WARM)).state is ExperimentState.RUNNING
    with pytest.raises(ConflictError, match="readmit support --policy warm"):
        await bench.steering.move(NAME, Wish("promote", "ops", "users like it", "warm"))

    wish = Wish("readmit", "ops", "timeouts are fixed", "warm")
    view = await bench.steering.move(NAME, wish)
    assert await bench.steering.move(NAME, wish) == view
    assert (view.guards.trips, (await bench.live()).ejected) == ((), frozenset())
    await bench.planner.plan_all()
    assert (await bench.view()).state is ExperimentState.PROMOTED
    assert (await bench.kinds())[1:3] == ["guardrail_tripped", "readmitted"]
    assert (found := checked(await bench.rows())) is not None
    assert found.differences == ()


async def test_readmitting_says_what_is_wrong_with_it(embedded_store: PolicyStore) -> None:
    """No policy is named, there is no such policy, or no guardrail holds it back."""
    bench = await bench_of(embedded_store, "eject")
    await bench.fail(WARM)
    for verb in ("readmit", "promote"):
        with pytest.raises(InvalidRequestError, match=f"Name the policy to {verb}.*: .*warm"):
            await bench.steering.move(NAME, Wish(verb, "ops", "why"))
    with pytest.raises(InvalidRequestError, match="has no policy 'cold'"):
        await bench.steering.move(NAME, Wish("readmit", "ops", "why", "cold"))
    with pytest.raises(ConflictError, match="They found warm worse"):
        await bench.steering.move(NAME, Wish("readmit", "ops", "why", "xenial"))


async def test_an_ejected_champion_is_no_longer_approved(embedded_store: PolicyStore) -> None:
    """A certificate that waits for a person is withdrawn with the finding."""
    bench = await bench_of(embedded_store, "eject", mode="approval")
    assert (await bench.certify(WARM)).state is ExperimentState.AWAITING_APPROVAL
    assert (await bench.fail(WARM)).state is ExperimentState.RUNNING
    await bench.planner.plan_all()
    assert (await bench.kinds())[-2:] == ["guardrail_tripped", "withdrawn"]
    assert checked(await bench.rows()) is None


@pytest.mark.parametrize(
    ("then", "state", "serves"),
    [
        ("rollback", ExperimentState.ROLLED_BACK, PLAIN),
        ("eject", ExperimentState.RUNNING, PLAIN),
        ("pause", ExperimentState.PAUSED, PLAIN),
    ],
)
async def test_a_staged_policy_that_is_worse_gets_no_further(
    embedded_store: PolicyStore, then: str, state: ExperimentState, serves: int
) -> None:
    """The steps end, and the incumbent answers ordinary traffic."""
    bench = await bench_of(embedded_store, then, mode="staged")
    assert (await bench.certify(WARM)).state is ExperimentState.STAGED
    view = await bench.fail(WARM)
    await bench.planner.plan_all()
    assert (view.state, view.incumbent, (await bench.view()).state) == (state, serves, state)
    assert (await bench.live()).staged is None
    found = checked(await bench.rows())
    assert found is None or found.differences == ()


@pytest.mark.parametrize("then", ["rollback", "eject", "pause"])
async def test_a_watched_promotion_that_is_worse_is_taken_back(
    embedded_store: PolicyStore, then: str
) -> None:
    """Whatever the guardrail does otherwise; the pairs are of the promoted policy and the one before it."""
    bench = await bench_of(embedded_store, then, watch={"for": "2h"})
    assert (await bench.certify(WARM)).incumbent == WARM
    await bench.planner.plan_all()
    assert (await bench.view()).state is ExperimentState.WATCHING
    view = await bench.fail(WARM)
    assert (view.state, view.incumbent) == (ExperimentState.ROLLED_BACK, PLAIN)
    assert (found := checked(await bench.rows())) is not None
    assert found.differences == ()
    assert found.by_hand[-1]["actor"] == "guardrail"


async def test_a_signal_leaves_a_watched_promotion_to_a_person(embedded_store: PolicyStore) -> None:
    """It asks, and changes nothing."""
    bench = await bench_of(embedded_store, "ask", watch={"for": "2h"})
    await bench.certify(WARM)
    await bench.planner.plan_all()
    view = await bench.fail(WARM)
    assert (view.state, view.guards.trips[0].did) == (ExperimentState.WATCHING, Deed.ASKED)


async def test_before_a_promotion_a_rollback_is_only_noted(embedded_store: PolicyStore) -> None:
    """There is nothing to roll back yet, but the policy is not promoted."""
    bench = await bench_of(embedded_store, "rollback", watch={"for": "2h"})
    view = await bench.fail(WARM)
    assert (view.state, view.guards.trips[0].did) == (ExperimentState.RUNNING, Deed.NOTED)
    assert (await bench.certify(WARM)).state is ExperimentState.RUNNING


@pytest.mark.parametrize(
    ("field", "value"),
    [("nats", 9.9), ("pairs", [[GRAIN, 0, 3], [0, 0, 30]]), ("level", 0.5), ("hour", 4)],
)
async def test_a_finding_that_does_not_follow_from_its_numbers_is_not_confirmed(
    embedded_store: PolicyStore, field: str, value: Any
) -> None:
    """`verify` recomputes evidence and line from the logged pairs."""
    bench = await bench_of(embedded_store, "eject")
    await bench.fail(WARM)
    rows = await bench.rows()
    row = next(row for row in rows if row.get("kind") == "guardrail_tripped")
    row["detail"][field] = value
    found = checked(rows)
    assert found is not None
    assert found.differences[0].startswith("guardrail error_rate on policy 1: ")


async def test_a_pause_without_its_finding_is_not_confirmed(embedded_store: PolicyStore) -> None:
    """What a guardrail did stands right after what it found."""
    bench = await bench_of(embedded_store, "pause")
    await bench.fail(WARM)
    rows = [row for row in await bench.rows() if row.get("kind") != "guardrail_tripped"]
    found = checked(rows)
    assert found is not None
    assert found.differences == ("paused: a guardrail is said to have done it, and none had tripped",)
