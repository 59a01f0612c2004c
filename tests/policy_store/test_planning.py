"""Leases, plans and decisions: one planner at a time, and nothing from one that was replaced."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from policy_store.errors import DecisionConflictError, ExperimentFinishedError, StaleFenceError
from policy_store.log_records import LoggedPlan, Result
from policy_store.moves import MOVES, Move
from policy_store.plan_records import Forecast
from policy_store.states import ExperimentState
from policy_store.store import PolicyStore
from tests.pace import PATIENCE_SECONDS
from tests.policy_store.building import NAME, forecasts, logged_comparisons, plan, planned, prefer, started


async def test_one_of_many_gets_the_lease(store: PolicyStore) -> None:
    """If replicas ask at once, one of them plans."""
    await started(store)

    fences = await asyncio.gather(*(store.acquire_lease(NAME, f"replica{index}", 60) for index in range(8)))

    assert sorted(fences, key=str) == [1] + [None] * 7


async def test_renewal_keeps_the_number_and_every_new_holder_gets_a_higher_one(store: PolicyStore) -> None:
    """The number tells a planner from the one that replaced it."""
    await started(store)
    assert await store.acquire_lease(NAME, "a", 60) == 1
    assert await store.acquire_lease(NAME, "a", 60) == 1

    await store.release_lease(NAME, "b")
    assert await store.acquire_lease(NAME, "b", 60) is None

    await store.release_lease(NAME, "a")
    assert await store.acquire_lease(NAME, "b", 60) == 2


async def test_lease_expires_by_the_servers_clock_and_its_number_is_never_given_again(
    store: PolicyStore,
) -> None:
    """A planner that stopped renewing is replaced, and finds out by its number if it comes back."""
    await started(store)
    assert await store.acquire_lease(NAME, "a", 0.02) == 1

    async with asyncio.timeout(PATIENCE_SECONDS):
        while (fence := await store.acquire_lease(NAME, "b", 60)) is None:
            pass

    assert fence == 2
    with pytest.raises(StaleFenceError, match="2"):
        await store.publish_plan(NAME, 1, plan(), forecasts(), 1)


async def test_published_plan_is_what_every_replica_reads(store: PolicyStore) -> None:
    """Versions count up, each publication changes the revision, the store sets version, fence and time."""
    await started(store)
    fence = await store.acquire_lease(NAME, "planner", 60)
    before = (await store.view(NAME)).revision

    first = await store.publish_plan(NAME, 1, plan(), forecasts(), fence)
    second = await store.publish_plan(
        NAME, 1, replace(plan(comparisons=3), expected_remaining=7.5), forecasts(), fence
    )

    view = await store.view(NAME)
    assert (first, second) == (1, 2)
    assert view.revision == before + 2
    assert view.plan.proposal == replace(plan(comparisons=3), expected_remaining=7.5)
    assert (view.plan.version, view.plan.fence) == (2, fence)
    counts = await store.counts(NAME, 1)
    assert counts.started_at <= view.plan.created_at <= counts.now


async def test_publication_repeated_after_a_lost_answer_changes_nothing(store: PolicyStore) -> None:
    """A plan published again under its fence keeps its version, without another line in the log."""
    fence = await planned(store)
    view, log = await store.view(NAME), await store.log(NAME, 1)

    assert await store.publish_plan(NAME, 1, plan(), forecasts(), fence) == 1

    assert await store.view(NAME) == view
    assert await store.log(NAME, 1) == log


async def test_new_plan_replaces_all_forecasts(store: PolicyStore) -> None:
    """A pair the new plan says nothing about has no forecast, rather than an old one."""
    fence = await planned(store)
    await store.publish_plan(NAME, 1, plan(comparisons=1), forecasts()[:1], fence)

    await prefer(store, "u1", pair=(0, 1))
    await prefer(store, "u2", pair=(0, 2))

    assert [each.plan_version for each in await logged_comparisons(store)] == [2, 0]


async def test_plan_of_many_policies_is_published_whole(store: PolicyStore) -> None:
    """64 policies have 2,016 forecasts, more than one call inside a script may carry."""
    policies = 64
    await started(store, policies=policies)
    fence = await store.acquire_lease(NAME, "planner", 60)

    await store.publish_plan(NAME, 1, plan(policies), forecasts(policies), fence)

    asked = forecasts(policies)[::500]
    for index, forecast in enumerate(asked):
        await prefer(store, f"u{index}", pair=(forecast.first, forecast.second))
    used = [each.probability_millionths for each in await logged_comparisons(store)]
    assert used == [each.probability_millionths for each in asked]
    logged = [record for record in (await store.log(NAME, 1))[0] if isinstance(record, LoggedPlan)]
    assert len(logged[0].forecasts) == len(forecasts(policies))


async def test_replaced_planner_can_neither_publish_nor_decide(store: PolicyStore) -> None:
    """The number of a replaced planner is stale, so nothing that it sends changes anything."""
    old = await planned(store)
    await store.release_lease(NAME, "planner")
    await store.acquire_lease(NAME, "other", 60)
    view = await store.view(NAME)

    with pytest.raises(StaleFenceError):
        await store.publish_plan(NAME, 1, plan(comparisons=9), forecasts(), old)
    with pytest.raises(StaleFenceError):
        await store.decide(NAME, 1, old, move=Move.PROMOTE, champion=1, certificate={})

    assert await store.view(NAME) == view


async def test_decision_changes_state_incumbent_and_certificate_together(store: PolicyStore) -> None:
    """One step: a reader of the new incumbent also reads the certificate that made it."""
    fence = await planned(store)
    revision = (await store.view(NAME)).revision
    certificate = {"evidence": [[0, 12345678901234], [5, 0]], "statistic_nats": 3.0123456789}

    view = await store.decide(NAME, 1, fence, move=Move.PROMOTE, champion=2, certificate=certificate)

    assert (view.state, view.incumbent, view.certificate) == (ExperimentState.PROMOTED, 2, certificate)
    assert view.revision == revision + 1
    assert await store.view(NAME) == view
    latest = (await store.events(NAME, 1))[0]
    assert (latest.kind, latest.detail) == ("promoted", {"champion": 2, "fence": fence, "generation": 1})


@pytest.mark.parametrize("move", [Move.FIND_NO_WINNER, Move.RUN_OUT])
async def test_decision_without_champion_keeps_the_incumbent(store: PolicyStore, move: Move) -> None:
    """A decision without a certified policy promotes nothing."""
    fence = await planned(store, incumbent=1)

    view = await store.decide(NAME, 1, fence, move=move, champion=None, certificate={"why": "no one"})

    assert (view.state, view.incumbent) == (MOVES[move].target, 1)


async def test_of_competing_decisions_one_is_taken(store: PolicyStore) -> None:
    """Compare-and-set: the first ends the experiment, the others change nothing."""
    fence = await planned(store)

    outcomes = await asyncio.gather(
        *(
            store.decide(NAME, 1, fence, move=Move.PROMOTE, champion=index, certificate={"is": index})
            for index in range(3)
        ),
        return_exceptions=True,
    )

    taken = [each for each in outcomes if not isinstance(each, DecisionConflictError)]
    assert len(taken) == 1
    assert await store.view(NAME) == taken[0]
    assert [event.kind for event in await store.events(NAME)] == ["promoted", "started"]


async def test_decision_repeated_after_a_lost_answer_changes_nothing(store: PolicyStore) -> None:
    """A decision taken again returns what is stored, even if the lease has moved on."""
    fence = await planned(store)
    decision = {"move": Move.SETTLE, "champion": 0, "certificate": {"a": [1, 2]}}
    view = await store.decide(NAME, 1, fence, **decision)
    await store.release_lease(NAME, "planner")
    await store.acquire_lease(NAME, "other", 60)

    assert await store.decide(NAME, 1, fence, **decision) == view
    assert len(await store.events(NAME)) == 2


async def test_finished_or_left_generation_takes_no_plan_and_no_decision(store: PolicyStore) -> None:
    """A planner that has not noticed yet changes nothing."""
    fence = await planned(store)
    await store.decide(NAME, 1, fence, move=Move.SETTLE, champion=0, certificate={})
    with pytest.raises(ExperimentFinishedError):
        await store.publish_plan(NAME, 1, plan(comparisons=9), forecasts(), fence)

    await started(store, delta=0.01)
    await store.publish_plan(NAME, 2, plan(), forecasts(), fence)
    await started(store, delta=0.02)
    with pytest.raises(ExperimentFinishedError):
        await store.publish_plan(NAME, 2, plan(comparisons=9), forecasts(), fence)
    with pytest.raises(DecisionConflictError):
        await store.decide(NAME, 2, fence, move=Move.SETTLE, champion=0, certificate={})


@pytest.mark.parametrize(("move", "champion"), [(Move.PROMOTE, None), (Move.RUN_OUT, 1)])
async def test_move_names_a_champion_exactly_if_it_installs_one(
    store: PolicyStore, move: Move, champion: int | None
) -> None:
    """A promotion without a champion and a spent budget with one are both nonsense."""
    fence = await planned(store)
    with pytest.raises(ValueError, match="champion"):
        await store.decide(NAME, 1, fence, move=move, champion=champion, certificate={})


async def test_evidence_beyond_floating_point_stays_exact(store: PolicyStore) -> None:
    """Sums above 2^53 lose nothing: integers are added as integers."""
    await started(store)
    fence = await store.acquire_lease(NAME, "planner", 60)
    odd = 2**53 + 1
    await store.publish_plan(NAME, 1, plan(), [Forecast(0, 1, 500_000, (odd, 0, -odd, 0))], fence)

    await prefer(store, "u1", Result.WIN)
    await prefer(store, "u2", Result.WIN)

    evidence = (await store.counts(NAME, 1)).evidence_nano_nats
    assert (evidence[0][1], evidence[1][0]) == (2 * odd, -2 * odd)
