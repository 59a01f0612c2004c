"""Guardrails in the store: counts that add up over replicas, and findings that follow a policy."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from policy_store.clients import StoreClient
from policy_store.connect import connect
from policy_store.errors import ContradictingOutcomeError, DecisionConflictError, StaleFenceError
from policy_store.events import TakenBack
from policy_store.guard_events import GuardrailTripped, Readmitted
from policy_store.guard_records import CountedFor, Deed, GuardStanding, Trip
from policy_store.moves import Move
from policy_store.states import ExperimentState
from policy_store.store import PolicyStore
from policy_store.view import ExperimentView
from tests.pace import PATIENCE_SECONDS
from tests.policy_store.building import NAME, THRESHOLD, experiment, planned, started

ABOUT = CountedFor("guard", "hash1", "hash0", 0)
FOUND = GuardStanding().with_trip(Trip("error_rate", "hash1", Deed.EJECTED, 0))
EARLIER = 1000  # hours that these tests put counts into are smaller
PROOF = {"champion": 1, "incumbent": 0}


def tripped(fence: int, did: Deed = Deed.EJECTED) -> GuardrailTripped:
    """A finding about policy 1."""
    return GuardrailTripped(
        *("error_rate", 1, 0, did.value, 1, 0, [1.0, -1.0, -0.01], 0.01, None),
        *([[20, 0, 9]], 5.4, 5.298317, 1.0, 0.0, fence, 1),
    )


async def trip(
    store: PolicyStore,
    view: ExperimentView,
    fence: int,
    after: GuardStanding = FOUND,
    move: Move | None = None,
) -> ExperimentView:
    """The finding, and the move that follows."""
    moved: dict[str, Any] = {"actor": "guardrail", "reason": "worse", "fence": fence, "generation": 1}
    if move is Move.WITHDRAW:
        moved = {"champion": 1, "fence": fence, "generation": 1}
    return await store.trip(view, after, tripped(fence), move=move, moved=moved)


@pytest.fixture
async def redis(store_url: str) -> AsyncIterator[StoreClient]:
    """A client of the store."""
    client = connect(store_url, timeout_seconds=PATIENCE_SECONDS)
    yield client
    await client.aclose()


async def was_in(redis: StoreClient, hour: int) -> None:
    """Put what was just counted into another hour: the store's clock cannot be set."""
    key = redis.names.experiment(NAME).generation(1).guards
    for field, value in (await redis.hgetall(key)).items():
        parts = field.split(":")
        if parts[4] == "first":
            await redis.hset(key, field, min(int(value), hour))
        elif int(parts[4]) >= EARLIER:
            await redis.hdel(key, field)
            await redis.hincrby(key, ":".join((*parts[:4], str(hour), *parts[5:])), int(value))


async def test_replicas_add_up_their_pairs_and_none_twice(store: PolicyStore, redis: StoreClient) -> None:
    """Each addition has a number of its sender; the same number again changes nothing."""
    await started(store)
    both = [
        store.add_pairs(NAME, 1, sender, number, {ABOUT: {(20, 0): 2, (0, 0): 5}})
        for sender in ("a", "b")
        for number in (1, 2)
    ]
    await asyncio.gather(*both)
    await store.add_pairs(NAME, 1, "a", 2, {ABOUT: {(20, 0): 2, (0, 0): 5}})
    await was_in(redis, 700)
    await store.add_pairs(NAME, 1, "b", 3, {ABOUT: {(0, 20): 1}})
    await was_in(redis, 701)

    found = (await store.counted_pairs(NAME, 1))[ABOUT]
    assert found.pairs == {(20, 0): 8, (0, 0): 20, (0, 20): 1}
    assert found.hours == {700: {(20, 0): 8, (0, 0): 20}, 701: {(0, 20): 1}}
    assert found.first_hour == 700
    assert await store.counted_pairs(NAME, 2) == {}


async def test_hours_are_those_of_the_stores_clock(store: PolicyStore) -> None:
    """Senders' clocks may differ by hours, and the newest hour decides which are forgotten."""
    await started(store)
    before = (await store.counts(NAME, 1)).now
    await store.add_pairs(NAME, 1, "a", 1, {ABOUT: {(20, 0): 1}})
    after = (await store.counts(NAME, 1)).now

    found = (await store.counted_pairs(NAME, 1))[ABOUT]
    assert found.first_hour is not None
    assert before // 3600 <= found.first_hour <= after // 3600
    assert list(found.hours) == [found.first_hour]


async def test_old_hours_are_forgotten_and_the_sum_stays(store: PolicyStore, redis: StoreClient) -> None:
    """Only the latest hours are kept apart, so the number of fields is bounded."""
    await started(store)
    for hour in (700, 701, 702):
        await store.add_pairs(NAME, 1, "a", hour, {ABOUT: {(20, 0): 1}})
        await was_in(redis, hour)
    await store.forget_hours(NAME, 1, await store.counted_pairs(NAME, 1), 702)

    found = (await store.counted_pairs(NAME, 1))[ABOUT]
    assert sorted(found.hours) == [701, 702]
    assert (found.pairs, found.first_hour) == ({(20, 0): 3}, 700)


async def test_a_finding_and_the_move_that_follows_are_one_step(store: PolicyStore) -> None:
    """Both events are in the log, and repeating the step changes nothing."""
    fence = await planned(store)
    view = await store.view(NAME)
    after = await trip(store, view, fence, move=Move.PAUSE)
    again = await trip(store, view, fence, move=Move.PAUSE)

    assert after == again
    assert (after.state, after.guards) == (ExperimentState.PAUSED, FOUND)
    assert after.revision > view.revision
    paused, finding = (event.told for event in await store.events(NAME, 2))
    assert isinstance(paused, TakenBack)
    assert (paused.actor, paused.before, paused.after, paused.fence) == (
        "guardrail",
        "running",
        "paused",
        fence,
    )
    assert finding == tripped(fence)


async def test_only_the_present_planner_finds_anything(store: PolicyStore) -> None:
    """A planner with an older fence is refused, with a move and without one."""
    fence = await planned(store)
    view = await store.view(NAME)
    for move in (None, Move.PAUSE):
        with pytest.raises(StaleFenceError):
            await trip(store, view, fence - 1, move=move)
    assert (await store.view(NAME)) == view


async def test_of_two_changes_from_one_reading_the_first_is_made(store: PolicyStore) -> None:
    """What was found is compared with what the caller read."""
    fence = await planned(store)
    view = await store.view(NAME)
    other = view.guards.with_trip(Trip("latency", "hash2", Deed.NOTED, 0))
    await trip(store, view, fence)
    with pytest.raises(DecisionConflictError):
        await trip(store, view, fence, other)
    assert (await store.view(NAME)).guards == FOUND


async def test_what_guardrails_found_worse_is_promoted_by_nobody(store: PolicyStore) -> None:
    """Neither an approval nor a promotion by hand gets past a finding, before a person admits it again."""
    fence = await planned(store)
    await store.decide(NAME, 1, fence, move=Move.CERTIFY, champion=1, certificate=PROOF)
    view = await trip(store, await store.view(NAME), fence)
    for move, certificate in ((Move.APPROVE, None), (Move.PROMOTE_BY_HAND, PROOF)):
        with pytest.raises(DecisionConflictError):
            await store.move_by_hand(
                NAME, 1, move, actor="ops", reason="now", champion=1, certificate=certificate
            )

    said = Readmitted("ops", "fixed", 1, ["error_rate"], 1)
    admitted = await store.readmit(view, view.guards.without("hash1"), said)
    assert await store.readmit(view, view.guards.without("hash1"), said) == admitted
    assert admitted.guards == GuardStanding(counts={"hash1": 1})
    promoted = await store.move_by_hand(NAME, 1, Move.APPROVE, actor="ops", reason="now", champion=1)
    assert promoted.state is ExperimentState.PROMOTED


async def test_an_ejected_champion_loses_its_certificate_in_the_same_step(store: PolicyStore) -> None:
    """Between the finding and the withdrawal nobody could approve it."""
    fence = await planned(store)
    await store.decide(NAME, 1, fence, move=Move.CERTIFY, champion=1, certificate=PROOF)
    view = await trip(store, await store.view(NAME), fence, move=Move.WITHDRAW)
    assert (view.state, view.certificate) == (ExperimentState.RUNNING, None)
    assert [event.kind for event in await store.events(NAME, 2)] == ["withdrawn", "guardrail_tripped"]


async def test_resuming_begins_counting_anew_in_the_same_step(store: PolicyStore) -> None:
    """A person resumes from the findings that they saw."""
    fence = await planned(store)
    asked = GuardStanding().with_trip(Trip("error_rate", "hash1", Deed.ASKED, 0))
    view = await trip(store, await store.view(NAME), fence, asked, Move.PAUSE)
    resumed = await store.move_by_hand(
        NAME, 1, Move.RESUME, actor="ops", reason="go on", guards=(view.guards, view.guards.resumed())
    )
    assert (resumed.state, resumed.guards) == (ExperimentState.RUNNING, GuardStanding(counts={"hash1": 1}))

    await store.move_by_hand(NAME, 1, Move.PAUSE, actor="ops", reason="wait")
    with pytest.raises(DecisionConflictError):
        await store.move_by_hand(
            NAME, 1, Move.RESUME, actor="ops", reason="on", guards=(asked, asked.resumed())
        )


async def test_a_finding_follows_a_policy_into_the_next_generation(store: PolicyStore) -> None:
    """An edit of the file admits nothing again, unless it changes the policy itself."""
    fence = await planned(store)
    await trip(store, await store.view(NAME), fence)
    view = await store.register(experiment(policies=4), THRESHOLD)
    assert view.generation == 2
    assert view.guards.of("hash1")
    changed = replace(experiment(policies=4), policy_fingerprints=("hash0", "new", "hash2", "hash3"))
    view = await store.register(changed, THRESHOLD)
    assert [view.guards.of(each) for each in view.experiment.policy_fingerprints] == [(), (), (), ()]


async def test_an_experiment_without_findings_is_stored_as_before(store: PolicyStore) -> None:
    """Only a finding adds a field; nothing else of the stored form changes."""
    view = await started(store)
    assert view.guards == GuardStanding()
    assert GuardStanding().to_text() == ""
    assert GuardStanding.from_text(FOUND.to_text()) == FOUND
    assert json.loads(FOUND.to_text())["trips"][0]["did"] == "ejected"


async def test_a_number_posted_again_is_known_and_another_one_contradicts(store: PolicyStore) -> None:
    """The first number about an answer stands."""
    await started(store)
    assert await store.note_metric(NAME, 1, "digest", "0.5", 60)
    assert not await store.note_metric(NAME, 1, "digest", "0.5", 60)
    with pytest.raises(ContradictingOutcomeError):
        await store.note_metric(NAME, 1, "digest", "0.6", 60)
    assert await store.note_metric(NAME, 1, "other", "0.6", 60)


def test_resuming_answers_what_was_asked_and_admits_nothing_else() -> None:
    """A policy that paused the experiment stays without promotion; an ejected one stays ejected."""
    standing = GuardStanding()
    for number, did in enumerate((Deed.ASKED, Deed.PAUSED, Deed.EJECTED)):
        standing = standing.with_trip(Trip("g", f"p{number}", did, 0))
    resumed = standing.resumed()
    assert [trip.did for trip in resumed.trips] == [Deed.PAUSED, Deed.EJECTED]
    assert resumed.counts == {"p0": 1, "p1": 1}
    assert not resumed.has_tripped("g", "p1")
    assert resumed.has_tripped("g", "p2")
    assert resumed.with_trip(Trip("g", "p1", Deed.PAUSED, 1)).of("p1") == (Trip("g", "p1", Deed.PAUSED, 1),)
