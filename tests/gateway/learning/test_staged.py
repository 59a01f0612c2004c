"""A promotion step by step: what each step waits for, who gets what meanwhile, what stops it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from gateway.config.gateway_file import GatewayConfig
from gateway.errors import ConflictError
from gateway.experiments.catalogue import catalogue_of
from gateway.experiments.snapshot import LiveExperiment
from gateway.experiments.verbs import Verb, verbs_from
from gateway.learning.steering import Wish
from gateway.proof.recorded import read_log
from gateway.proof.verification import UndecidedError, Verification, verify
from gateway.serving.routing import Incumbent, Staged, draw_part
from gateway.settings import Settings
from policy_store.events import StepApproved, Stepped
from policy_store.stage_records import Stage
from policy_store.states import ExperimentState
from policy_store.store import PolicyStore
from policy_store.view import ExperimentView
from tests.gateway.building import DECIDES_AT_ONCE, catalogue, config_fields

from .test_watching import PLAIN, WARM, Bench

TRAFFIC = {"share": 0.5, "collect": "matched"}
TWENTY_MORE = {"share": "5%", "comparisons": 20}
A_PERSON = {"share": 0.25, "approval": True}


def promotion(*steps: Any, **more: Any) -> dict[str, Any]:
    """A section of staged promotions."""
    return {**DECIDES_AT_ONCE, "min_comparisons": 10, "mode": "staged", "steps": list(steps), **more}


class StagedBench(Bench):
    """A bench whose file asks for steps."""

    def use(self, section: dict[str, Any], **changes: Any) -> None:
        """Another file."""
        self.holder.current = catalogue(promotion=section, traffic=TRAFFIC, **changes)

    async def stage(self) -> Stage:
        """Where the staged promotion stands."""
        stage = (await self.view()).stage
        assert stage is not None
        return stage

    async def do(self, verb: Verb, reason: str) -> ExperimentView:
        """The person `ops` does it."""
        return await self.steering.move("support", Wish(verb, "ops", reason))

    async def more(self, policy: int, times: int) -> None:
        """Users prefer a policy; the planner looks now and then, and at the end."""
        for start in range(0, times, 5):
            await self.prefer(policy, min(5, times - start))
            await self.planner.plan_all()


def shares(live: LiveExperiment, draws: int = 4_000) -> tuple[float, float]:
    """Of the ordinary traffic, what the staged policy and the incumbent answer."""
    rng = random.Random(3)
    parts = [draw_part(live, None, rng, 0.0) for _ in range(draws)]
    staged = sum(isinstance(part, Staged) for part in parts)
    incumbent = sum(isinstance(part, Incumbent) for part in parts)
    return staged / (staged + incumbent), (staged + incumbent) / draws


@pytest.fixture
async def bench(embedded_store: PolicyStore) -> StagedBench:
    """A registered experiment: twenty more comparisons at 5%, a person at 25%, then everything."""
    bench = StagedBench(embedded_store)
    bench.use(promotion(TWENTY_MORE, A_PERSON, "100%"))
    await bench.register()
    return bench


async def test_a_certified_policy_is_promoted_in_the_steps_of_the_file(bench: StagedBench) -> None:
    """Each step is held and logged while pairs are still compared, and `verify` checks the steps."""
    view = await bench.decide_for(WARM)
    assert (view.state, view.incumbent) == (ExperimentState.STAGED, PLAIN)
    assert (await bench.stage()).present.share == 0.05
    share, ordinary = shares(await bench.live())
    assert 0.03 < share < 0.08
    assert 0.45 < ordinary < 0.55

    await bench.more(WARM, 15)
    assert (await bench.stage()).step == 0
    await bench.more(WARM, 5)
    assert (await bench.stage()).step == 1
    share, _ = shares(await bench.live())
    assert 0.2 < share < 0.3
    await bench.more(WARM, 20)
    assert (await bench.view()).state is ExperimentState.STAGED  # however many comparisons: a person is asked

    assert "approve" in verbs_from(await bench.view())
    done = await bench.do("approve", "support is calm")
    assert (done.state, done.incumbent) == (ExperimentState.PROMOTED, WARM)
    events = [event for event in reversed(await bench.store.events("support")) if event.kind != "started"]
    assert [event.kind for event in events] == ["staged", "advanced", "approved"]
    first, second = (event.told for event in events[:2])
    assert isinstance(first, Stepped)
    assert isinstance(second, Stepped)
    assert (first.step, first.share, second.step, second.share) == (1, 0.05, 2, 0.25)
    assert (await bench.verified()).differences == ()


async def test_time_ends_a_step_and_a_person_the_next(bench: StagedBench) -> None:
    """The time is the store's; a person's approval in the middle leads to the next step, once."""
    bench.use(promotion({"share": "1%", "for": "0.001s"}, {"share": "2%", "approval": True}, "50%", "100%"))
    await bench.decide_for(WARM)
    await bench.planner.plan_all()
    assert (await bench.stage()).step == 1

    view = await bench.do("approve", "so far, so good")
    assert view.stage is not None
    assert (view.state, view.stage.step, view.stage.present.share) == (ExperimentState.STAGED, 2, 0.5)
    told = (await bench.store.events("support", 1))[0].told
    assert isinstance(told, StepApproved)
    assert (told.actor, told.reason, told.step, told.share) == ("ops", "so far, so good", 3, 0.5)
    assert (await bench.do("approve", "so far, so good")).stage == view.stage  # the answer was lost
    with pytest.raises(ConflictError, match="waits for no person"):
        await bench.do("approve", "go on")
    assert "approve" not in verbs_from(view)
    found = await bench.verified()
    assert (found.differences, found.by_hand[-1]["reason"]) == ((), "so far, so good")


async def test_the_last_step_promotes_by_itself(bench: StagedBench) -> None:
    """The certificate covers everything counted until then, and a watch begins after the last step."""
    bench.use(promotion(TWENTY_MORE, "100%", watch={"share": 0.1}))
    await bench.decide_for(WARM)
    await bench.more(WARM, 20)
    view = await bench.view()
    assert view.state is ExperimentState.PROMOTED
    assert view.certificate is not None
    counted = await bench.store.counts("support", view.generation)
    assert view.certificate["comparisons"] == counted.comparisons > TWENTY_MORE["comparisons"]
    await bench.planner.plan_all()
    assert (await bench.view()).state is ExperimentState.WATCHING
    assert (await bench.verified()).differences == ()


async def test_evidence_that_turns_takes_all_steps_back(bench: StagedBench) -> None:
    """The incumbent answers all ordinary traffic again; a new certificate begins with the first step."""
    await bench.decide_for(WARM)
    await bench.more(WARM, 20)
    assert (await bench.stage()).step == 1
    await bench.prefer(PLAIN, 25)
    with pytest.raises(ConflictError, match="no longer holds"):
        await bench.do("approve", "too late")
    await bench.planner.plan_all()

    view = await bench.view()
    assert (view.state, view.incumbent, view.stage) == (ExperimentState.RUNNING, PLAIN, None)
    assert shares(await bench.live())[0] == 0
    assert (await bench.store.events("support", 1))[0].kind == "withdrawn"
    with pytest.raises(UndecidedError):
        await bench.verified()
    for _ in range(40):
        await bench.more(WARM, 10)
        if (await bench.view()).stage is not None:
            break
    assert (await bench.stage()).step == 0


@pytest.mark.parametrize(
    ("verb", "state"),
    [
        ("pause", ExperimentState.PAUSED),
        ("stop", ExperimentState.STOPPED),
        ("reject", ExperimentState.REJECTED),
        ("rollback", ExperimentState.ROLLED_BACK),
    ],
)
async def test_a_person_stops_it_in_the_middle(
    bench: StagedBench, verb: Verb, state: ExperimentState
) -> None:
    """The incumbent answers everything from then on."""
    await bench.decide_for(WARM)
    await bench.more(WARM, 20)
    view = await bench.do(verb, "refunds rose")
    assert (view.state, view.incumbent, view.stage) == (state, PLAIN, None)
    assert (await bench.live()).staged is None
    if state.facts.has_certificate:
        assert (await bench.verified()).differences == ()


async def test_another_planner_goes_on_with_the_steps_that_it_began_with(bench: StagedBench) -> None:
    """A restart under a file with other steps does not change the steps."""
    await bench.decide_for(WARM)
    await bench.more(WARM, 10)
    before = await bench.stage()
    await bench.store.release_lease("support", "a")
    bench.use({**DECIDES_AT_ONCE, "min_comparisons": 10})
    bench.planner = bench.replica("b")
    await bench.register()
    await bench.planner.plan_all()
    assert await bench.stage() == before
    await bench.more(WARM, 10)
    after = await bench.stage()
    assert (after.steps, after.step) == (before.steps, 1)


async def test_a_cap_holds_in_every_step(bench: StagedBench) -> None:
    """A policy answers no more than its largest share, compared or not."""
    section = promotion({"share": "80%", "comparisons": 500}, "100%")
    fields = config_fields(promotion=section, traffic=TRAFFIC)
    fields["experiments"]["support"]["policies"]["warm"]["max_share"] = 0.6
    bench.holder.current = catalogue_of(GatewayConfig.model_validate(fields), Settings(), {})
    await bench.register()
    await bench.decide_for(WARM)
    assert (await bench.stage()).present.share == 0.8
    share, _ = shares(await bench.live())
    assert 0.17 < share < 0.23  # of the half that takes no part; the other half may all be its own


def _step(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return next(row for row in rows if row.get("kind") == "advanced")


def _skipped(rows: list[dict[str, Any]]) -> None:
    _step(rows)["detail"]["step"] = 3


def _smaller(rows: list[dict[str, Any]]) -> None:
    _step(rows)["detail"]["share"] = 0.01


def _left_out(rows: list[dict[str, Any]]) -> None:
    rows.remove(next(row for row in rows if row.get("kind") == "staged"))


@pytest.mark.parametrize("tamper", [_skipped, _smaller, _left_out])
async def test_steps_that_do_not_follow_each_other_are_refused(
    bench: StagedBench, tamper: Callable[[list[dict[str, Any]]], None]
) -> None:
    """Each step must be the next one and have a larger share."""
    await bench.decide_for(WARM)
    await bench.more(WARM, 20)
    await bench.do("approve", "support is calm")
    rows = await bench.rows()
    tamper(rows)
    found: Verification = verify(read_log(json.dumps(row) for row in rows))
    assert not found.is_confirmed
