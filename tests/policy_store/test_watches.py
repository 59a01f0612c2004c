"""A watch over a promotion in the store: a run of its own, moved by the planner that holds the lease."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from policy_store.connect import connect
from policy_store.errors import DecisionConflictError, StaleFenceError, UnknownExperimentError
from policy_store.events import TakenBack, WatchStarted
from policy_store.log_records import Result
from policy_store.moves import Move
from policy_store.names import Names
from policy_store.report_records import Receipt, Report
from policy_store.states import ExperimentState
from policy_store.store import PolicyStore
from policy_store.view import ExperimentView
from policy_store.watch_records import Watch, WatchTerms
from tests.policy_store.building import (
    KEEP_SECONDS,
    NAME,
    TERMS,
    THRESHOLD,
    experiment,
    forecasts,
    plan,
    planned,
    started,
)

PROOF = {"champion": 1, "incumbent": 0}
VERDICT = {"outcome": "worse", "comparisons": 3}


async def watched(store: PolicyStore, **changes: object) -> tuple[int, Watch]:
    """Policy 1 was promoted over 0 and is watched; the planner's fence and the watch."""
    fence = await planned(store, **changes)
    await store.decide(NAME, 1, fence, move=Move.PROMOTE, champion=1, certificate=PROOF)
    view = await store.begin_watch(NAME, 1, fence, TERMS, THRESHOLD)
    assert view.watch is not None
    return fence, view.watch


async def prefer(store: PolicyStore, run: int, unit: str, **about: Any) -> Receipt:
    """A user who saw both answers prefers policy 0."""
    said = Report(NAME, run, unit, 0, 1, "side_by_side", "win", KEEP_SECONDS, **about)
    return (await store.record_preference(said, Result.WIN)).receipt


async def take_back(store: PolicyStore, fence: int | None) -> ExperimentView:
    """The promotion is rolled back: by a planner that watches, or by a person."""
    about: dict[str, Any] = {} if fence is None else {"fence": fence, "verdict": VERDICT}
    actor = "ops" if fence is None else "gateway"
    return await store.move_by_hand(NAME, 1, Move.ROLL_BACK, actor=actor, reason="worse", **about)


async def test_a_watch_has_a_number_of_its_own_and_says_what_it_is_of(store: PolicyStore) -> None:
    """The number is the next generation number, and the log has the terms of the watch."""
    fence, watch = await watched(store)

    assert watch == Watch(2, champion=1, previous=0, terms=TERMS, started_at=watch.started_at)
    told = (await store.events(NAME, 1))[0].told
    assert told == WatchStarted(1, 0, 2, 0.1, 0.05, 0.02, 3600.0, 40, fence, 1)
    assert await store.watch(NAME, 2) == watch
    with pytest.raises(UnknownExperimentError, match="no watch 7"):
        await store.watch(NAME, 7)
    changed = await started(store, max_comparisons=99)
    assert (changed.generation, changed.state, changed.watch) == (3, ExperimentState.RUNNING, None)


async def test_terms_survive_to_the_last_digit(store: PolicyStore) -> None:
    """Verifiers compare what the log says with what was kept."""
    fence = await planned(store)
    await store.decide(NAME, 1, fence, move=Move.PROMOTE, champion=1, certificate=PROOF)
    terms = WatchTerms(share=1 / 3, level=0.1 + 0.2, margin=1 / 7, seconds=None, comparisons=None)
    view = await store.begin_watch(NAME, 1, fence, terms, THRESHOLD)
    assert view.watch is not None
    assert view.watch.terms == terms
    assert (await store.events(NAME, 1))[0].detail["share"] == 1 / 3


async def test_comparisons_of_a_watch_touch_nothing_of_the_generation(store: PolicyStore) -> None:
    """A watch counts with its own forecasts and notes a crossing without an event."""
    fence, watch = await watched(store, epsilon=0.0)
    before, log = await store.counts(NAME, 1), await store.log(NAME, 1)
    await store.publish_plan(NAME, watch.run, plan(), forecasts(step=THRESHOLD), fence)
    for number in range(3):
        assert await prefer(store, watch.run, f"unit{number}") is Receipt.COUNTED

    counts = await store.counts(NAME, watch.run)
    assert (counts.comparisons, counts.wins[0][1], counts.eliminated_at[1]) == (3, 3, 1)
    after = await store.counts(NAME, 1)
    assert (after.wins, after.comparisons, after.evidence_nano_nats) == (
        before.wins,
        before.comparisons,
        before.evidence_nano_nats,
    )
    assert await store.log(NAME, 1) == log
    assert (await store.events(NAME, 1))[0].kind == "watch_started"
    view = await store.view(NAME)
    assert view.watch is not None
    assert view.watch.plan is not None
    assert view.plan is not None
    assert [each.number for each in await store.latest_comparisons(NAME, watch.run, 2)] == [3, 2]


async def test_reports_of_a_watch_are_of_the_generations_definition(store: PolicyStore) -> None:
    """A store that lost something may have given the number to another one."""
    _, watch = await watched(store)
    assert await prefer(store, watch.run, "a", definition=experiment().fingerprint()) is Receipt.COUNTED
    with pytest.raises(UnknownExperimentError):
        await prefer(store, watch.run, "b", definition="0" * 64)


async def test_a_planner_that_was_overtaken_moves_nothing(store: PolicyStore) -> None:
    """A planner that was overtaken neither begins nor ends a watch."""
    fence, _ = await watched(store)
    before = await store.view(NAME)
    with pytest.raises(StaleFenceError):
        await take_back(store, fence - 1)
    with pytest.raises(StaleFenceError):
        await store.begin_watch(NAME, 1, fence - 1, TERMS, THRESHOLD)
    with pytest.raises(StaleFenceError):
        await store.decide(NAME, 1, fence - 1, move=Move.CONFIRM, champion=1, certificate={})
    assert await store.view(NAME) == before


async def test_a_watch_ends_once(store: PolicyStore) -> None:
    """If a planner takes back, another confirms and a person moves, only the first one ends the watch."""
    fence, watch = await watched(store)
    confirm = store.decide(
        NAME, 1, fence, move=Move.CONFIRM, champion=1, certificate={}, verdict={"outcome": "no_worse"}
    )
    ended = await asyncio.gather(
        take_back(store, fence), confirm, take_back(store, None), return_exceptions=True
    )

    made = [each for each in ended if isinstance(each, ExperimentView)]
    # A person may take back what was confirmed.
    assert len(made) == 1 or [each.state for each in made] == [
        ExperimentState.SETTLED,
        ExperimentState.ROLLED_BACK,
    ]
    assert all(isinstance(each, ExperimentView | DecisionConflictError) for each in ended)
    found = await store.watch(NAME, watch.run)
    assert found.verdict in (VERDICT, {"outcome": "no_worse"}, None)
    with pytest.raises(DecisionConflictError):
        await store.decide(NAME, 1, fence, move=Move.CONFIRM, champion=1, certificate={})


async def test_the_log_says_that_a_watch_took_the_promotion_back(store: PolicyStore) -> None:
    """The fence shows that no person did it, and the verdict is kept with the watch."""
    fence, watch = await watched(store)
    view = await take_back(store, fence)
    assert (view.state, view.incumbent, view.certificate) == (ExperimentState.ROLLED_BACK, 0, PROOF)
    told = (await store.events(NAME, 1))[0].told
    assert told == TakenBack("gateway", "worse", "watching", "rolled_back", 1, 0, 1, fence)
    assert (await store.watch(NAME, watch.run)).verdict == VERDICT


async def test_a_certified_incumbent_is_not_rolled_back(store: PolicyStore) -> None:
    """A certified incumbent is settled without a promotion, so there is nothing to roll back."""
    fence = await planned(store)
    await store.decide(NAME, 1, fence, move=Move.SETTLE, champion=0, certificate={**PROOF, "champion": 0})
    with pytest.raises(DecisionConflictError, match="settled"):
        await take_back(store, None)


async def test_a_promotion_of_an_earlier_version_can_be_watched(store: PolicyStore, store_url: str) -> None:
    """Versions before did not keep who served before; their certificates say."""
    fence = await planned(store, incumbent=2)
    await store.decide(NAME, 1, fence, move=Move.PROMOTE, champion=1, certificate={**PROOF, "incumbent": 2})
    redis = connect(store_url)
    await redis.hdel(Names().experiment(NAME).control, "1:previous")
    await redis.aclose()

    view = await store.begin_watch(NAME, 1, fence, TERMS, THRESHOLD)
    assert view.watch is not None
    assert (view.watch.champion, view.watch.previous) == (1, 2)
