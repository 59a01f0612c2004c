"""What a person does to an experiment: once, with a reason, and back again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from policy_store.connect import connect
from policy_store.errors import DecisionConflictError
from policy_store.events import ByHand, TakenBack
from policy_store.moves import Move
from policy_store.names import Names
from policy_store.report_records import Receipt
from policy_store.states import ExperimentState
from policy_store.store import PolicyStore
from policy_store.view import ExperimentView
from tests.policy_store.building import NAME, planned, prefer, report, started

PROOF = {"champion": 1, "incumbent": 0}


async def by_hand(
    store: PolicyStore, move: Move, reason: str = "because", generation: int = 1, **about: object
) -> ExperimentView:
    """A move of the person `ops`."""
    return await store.move_by_hand(NAME, generation, move, actor="ops", reason=reason, **about)


async def certified(store: PolicyStore, certificate: dict[str, object] | None = None) -> int:
    """Policy 1 awaits approval; the planner's fence."""
    fence = await planned(store)
    proof = certificate or PROOF
    await store.decide(NAME, 1, fence, move=Move.CERTIFY, champion=1, certificate=proof)
    return fence


async def promoted(store: PolicyStore) -> None:
    """Policy 1 serves, by proof."""
    fence = await planned(store)
    await store.decide(NAME, 1, fence, move=Move.PROMOTE, champion=1, certificate=PROOF)


async def kinds(store: PolicyStore) -> list[str]:
    """The kinds of all events, newest first."""
    return [event.kind for event in await store.events(NAME)]


async def test_the_same_move_again_is_made_once(store: PolicyStore) -> None:
    """A person who got no answer asks again, and finds it made; another reason is another move."""
    await planned(store)
    first = await by_hand(store, Move.PAUSE, "an incident")

    assert await by_hand(store, Move.PAUSE, "an incident") == first
    with pytest.raises(DecisionConflictError, match="paused"):
        await by_hand(store, Move.PAUSE, "another one")
    assert (await kinds(store)).count("paused") == 1


async def test_a_pause_counts_what_was_given_before(store: PolicyStore) -> None:
    """Outcomes that wait stay, and those of answers given before are compared with them."""
    await planned(store)
    await report(store, "early", 0, 1.0)
    await by_hand(store, Move.PAUSE)

    assert (await report(store, "late", 1, 0.0)).receipt is Receipt.COUNTED
    assert (await by_hand(store, Move.RESUME)).state is ExperimentState.RUNNING
    assert (await store.counts(NAME, 1)).comparisons == 1


async def test_approval_is_of_the_certificate_that_was_seen(store: PolicyStore) -> None:
    """Another one may have come while the person read."""
    fence = await certified(store)
    await store.decide(NAME, 1, fence, move=Move.WITHDRAW, champion=1, certificate={})
    newer = {**PROOF, "comparisons": 90}
    await store.decide(NAME, 1, fence, move=Move.CERTIFY, champion=1, certificate=newer)

    with pytest.raises(DecisionConflictError, match="awaiting_approval"):
        await by_hand(store, Move.APPROVE, champion=1, seen=PROOF)
    view = await by_hand(store, Move.APPROVE, champion=1, seen=newer)
    assert (view.state, view.incumbent, view.certificate) == (ExperimentState.PROMOTED, 1, newer)


async def test_what_awaits_approval_goes_on_gathering_evidence(store: PolicyStore) -> None:
    """The incumbent serves, and comparisons are counted."""
    await certified(store)
    assert (await prefer(store, "later")).receipt is Receipt.COUNTED
    assert (await store.view(NAME)).incumbent == 0


async def test_rolling_back_puts_the_incumbent_before_back_for_good(store: PolicyStore) -> None:
    """Neither evidence nor a restart nor a changed budget promotes the policy again."""
    await promoted(store)
    view = await by_hand(store, Move.ROLL_BACK, "refunds rose")

    assert (view.state, view.incumbent, view.certificate) == (ExperimentState.ROLLED_BACK, 0, PROOF)
    event = (await store.events(NAME, 1))[0]
    assert event.told == TakenBack("ops", "refunds rose", "promoted", "rolled_back", 1, 0, 1)
    fence = await store.acquire_lease(NAME, "planner", 60)
    with pytest.raises(DecisionConflictError):
        await store.decide(NAME, 1, fence, move=Move.PROMOTE, champion=1, certificate={"again": 1})
    assert await started(store) == view
    changed = await started(store, max_comparisons=500)
    assert (changed.state, changed.incumbent) == (ExperimentState.RUNNING, 0)
    assert (await store.counts(NAME, 2)).inherited == 0


async def test_a_promotion_of_an_earlier_version_is_rolled_back_by_its_certificate(
    store: PolicyStore, store_url: str
) -> None:
    """Versions before did not keep who served before; their certificates say."""
    view = await started(store, incumbent=2)
    fence = await store.acquire_lease(NAME, "planner", 60)
    proof = {"champion": 1, "incumbent": view.incumbent}
    await store.decide(NAME, 1, fence, move=Move.PROMOTE, champion=1, certificate=proof)
    redis = connect(store_url)
    await redis.hdel(Names().experiment(NAME).control, "1:previous")
    await redis.aclose()

    assert (await by_hand(store, Move.ROLL_BACK)).incumbent == 2


async def test_a_promotion_after_another_one_was_rolled_back_has_its_own_way_back(store: PolicyStore) -> None:
    """A rollback returns to the policy that served just before."""
    await promoted(store)
    await by_hand(store, Move.ROLL_BACK)
    chosen = await by_hand(store, Move.PROMOTE_BY_HAND, champion=2, certificate={"champion": 2})
    assert (chosen.incumbent, chosen.certificate) == (2, {"champion": 2})
    assert (await by_hand(store, Move.ROLL_BACK, "that neither")).incumbent == 0


async def test_a_pause_outlasts_a_change_of_the_file(store: PolicyStore) -> None:
    """New generations and earlier ones alike stay paused until a person resumes."""
    await planned(store)
    await started(store, max_comparisons=500)
    await by_hand(store, Move.PAUSE, generation=2)

    for changes, generation in (({"max_comparisons": 700}, 3), ({}, 1)):
        view = await started(store, **changes)
        assert (view.generation, view.state) == (generation, ExperimentState.PAUSED)
        told = (await store.events(NAME, 1))[0].told
        assert isinstance(told, ByHand)
        assert (told.actor, told.before, told.after) == ("configuration", "running", "paused")
    assert (await by_hand(store, Move.RESUME)).state is ExperimentState.RUNNING


async def test_a_move_of_a_generation_left_behind_is_refused(store: PolicyStore) -> None:
    """The person saw an experiment that the file has changed since."""
    await planned(store)
    await started(store, max_comparisons=500)
    with pytest.raises(DecisionConflictError, match="running 2"):
        await by_hand(store, Move.STOP, generation=1)


async def test_words_of_any_kind_survive(store: PolicyStore) -> None:
    """Reasons are kept as they were given."""
    await planned(store)
    reason = 'Kündigungen "stiegen" \\ 📈\n{1}'
    await by_hand(store, Move.STOP, reason)
    told = (await store.events(NAME, 1))[0].told
    assert isinstance(told, ByHand)
    assert replace(told, reason="") == ByHand("ops", "", "running", "stopped", 0, 0, 1)
    assert told.reason == reason
