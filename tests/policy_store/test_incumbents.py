"""Who serves when the file is edited: nothing is promoted by editing, except what the file names."""

from __future__ import annotations

from dataclasses import replace

import pytest

from policy_store.errors import DecisionConflictError
from policy_store.events import EventKind, IncumbentChanged
from policy_store.experiment import Experiment
from policy_store.moves import Move
from policy_store.names import Names
from policy_store.states import ExperimentState
from policy_store.store import PolicyStore
from policy_store.view import ExperimentView
from tests.policy_store.building import NAME, THRESHOLD, experiment, planned, prefer


def of(*names: str, incumbent: str) -> Experiment:
    """A file with these policies; `b!` is `b` with another content."""
    return replace(
        experiment(),
        policies=tuple(name.rstrip("!") for name in names),
        policy_fingerprints=tuple(f"content of {name}" for name in names),
        costs=(0.0,) * len(names),
        incumbent=[name.rstrip("!") for name in names].index(incumbent),
    )


async def registered(store: PolicyStore, file: Experiment) -> ExperimentView:
    """A replica with this file starts."""
    return await store.register(file, THRESHOLD)


async def promoted(store: PolicyStore, view: ExperimentView, champion: str) -> None:
    """The planner's decision."""
    fence = await store.acquire_lease(NAME, "planner", 60)
    assert fence is not None
    index = view.experiment.policies.index(champion)
    await store.decide(NAME, view.generation, fence, move=Move.PROMOTE, champion=index, certificate={})


def serving(view: ExperimentView) -> str:
    """Who serves."""
    return view.experiment.policies[view.incumbent]


async def test_another_incumbent_in_the_file_serves_from_then_on(store: PolicyStore) -> None:
    """The generation goes on with its evidence, which does not depend on who serves."""
    await planned(store)
    await prefer(store, "u1")
    before = await store.view(NAME)

    view = await registered(store, experiment(incumbent=1))

    assert (view.generation, view.state, serving(view)) == (1, ExperimentState.RUNNING, "p1")
    assert view.plan == before.plan
    assert view.revision > before.revision
    assert (await store.counts(NAME, 1)).comparisons == 1
    (event, *_) = await store.events(NAME)
    assert (event.kind, event.told) == (EventKind.INCUMBENT_CHANGED, IncumbentChanged(1, 1))
    assert (await store.log(NAME, 1))[0][-1].kind == EventKind.INCUMBENT_CHANGED


@pytest.mark.parametrize("is_by_hand", [False, True])
async def test_what_was_compared_with_another_incumbent_promotes_nothing(
    store: PolicyStore, is_by_hand: bool
) -> None:
    """The file names another incumbent between reading the evidence and the decision: it is read again."""
    fence, proof = await planned(store), {"champion": 1, "incumbent": 0}
    if is_by_hand:
        await store.decide(NAME, 1, fence, move=Move.CERTIFY, champion=1, certificate=proof)
    before = await registered(store, experiment(incumbent=1))

    approval = {"actor": "ops", "reason": "fine", "champion": 1, "seen": proof}
    decision = {"move": Move.PROMOTE, "champion": 1, "certificate": proof}
    with pytest.raises(DecisionConflictError):
        await (
            store.move_by_hand(NAME, 1, Move.APPROVE, **approval)
            if is_by_hand
            else store.decide(NAME, 1, fence, **decision)
        )

    assert await store.view(NAME) == before


async def test_a_file_that_goes_on_naming_the_same_incumbent_changes_nothing(store: PolicyStore) -> None:
    """Every restart of every replica registers it again."""
    await registered(store, of("a", "b", incumbent="a"))
    view = await registered(store, of("a", "b", incumbent="b"))

    assert await registered(store, of("a", "b", incumbent="b")) == view
    assert len(await store.events(NAME)) == 2


async def test_a_promotion_stands_while_the_file_goes_on_naming_the_incumbent_before(
    store: PolicyStore,
) -> None:
    """An operator need not edit the file for it."""
    view = await registered(store, of("a", "b", incumbent="a"))
    await promoted(store, view, "b")

    view = await registered(store, of("a", "b", incumbent="a"))

    assert (view.generation, view.state, serving(view)) == (1, ExperimentState.PROMOTED, "b")


async def test_naming_the_promoted_policy_in_the_file_changes_nothing(store: PolicyStore) -> None:
    """Naming it keeps the promotion even if the store is lost."""
    view = await registered(store, of("a", "b", incumbent="a"))
    await promoted(store, view, "b")

    view = await registered(store, of("a", "b", incumbent="b"))

    assert (view.generation, view.state, serving(view)) == (1, ExperimentState.PROMOTED, "b")
    assert [event.kind for event in await store.events(NAME)] == ["promoted", "started"]


async def test_naming_another_policy_after_a_promotion_starts_anew_with_it(store: PolicyStore) -> None:
    """What was certified is what a decided generation serves, so this is another one, without evidence."""
    view = await registered(store, of("a", "b", "c", incumbent="a"))
    await promoted(store, view, "b")

    view = await registered(store, of("a", "b", "c", incumbent="c"))

    assert (view.generation, view.state, serving(view)) == (2, ExperimentState.RUNNING, "c")
    assert (await store.counts(NAME, 2)).comparisons == 0
    assert await registered(store, of("a", "b", "c", incumbent="c")) == view


async def test_a_removed_winner_that_is_added_again_competes_again(store: PolicyStore) -> None:
    """The file names another policy, which serves: the winner's certificate is of the past."""
    view = await registered(store, of("a", "b", incumbent="a"))
    await promoted(store, view, "b")
    without = await registered(store, of("a", "c", incumbent="a"))
    assert serving(without) == "a"

    view = await registered(store, of("a", "b", incumbent="a"))

    assert (view.generation, view.state, serving(view)) == (3, ExperimentState.RUNNING, "a")
    assert view.certificate is None
    kinds = [event.kind for event in await store.events(NAME)]
    assert kinds == ["started", "started", "promoted", "started"]


async def test_a_removed_winner_that_the_file_names_serves_again(store: PolicyStore) -> None:
    """The winner keeps its certificate, because the file and the decision agree."""
    view = await registered(store, of("a", "b", incumbent="a"))
    await promoted(store, view, "b")
    await registered(store, of("a", "c", incumbent="a"))

    view = await registered(store, of("a", "b", incumbent="b"))

    assert (view.generation, view.state, serving(view)) == (1, ExperimentState.PROMOTED, "b")


async def test_taking_an_added_candidate_back_finds_the_promotion(store: PolicyStore) -> None:
    """The winner served all the while."""
    view = await registered(store, of("a", "b", incumbent="a"))
    await promoted(store, view, "b")
    assert serving(await registered(store, of("a", "b", "c", incumbent="a"))) == "b"

    view = await registered(store, of("a", "b", incumbent="a"))

    assert (view.generation, view.state, serving(view)) == (1, ExperimentState.PROMOTED, "b")


async def test_an_undecided_generation_found_again_keeps_who_serves_now(store: PolicyStore) -> None:
    """The old evidence continues, and a promotion made meanwhile is not undone."""
    await registered(store, of("a", "b", "c", incumbent="a"))
    view = await registered(store, of("a", "b", incumbent="a"))
    await promoted(store, view, "b")

    view = await registered(store, of("a", "b", "c", incumbent="a"))

    assert (view.generation, view.state, serving(view)) == (1, ExperimentState.RUNNING, "b")
    kinds = [event.kind for event in await store.events(NAME)][:2]
    assert kinds == ["incumbent_changed", "reactivated"]


async def test_an_incumbent_with_another_content_gives_way_to_what_the_file_names(store: PolicyStore) -> None:
    """A changed policy is a new one, and the old one is gone."""
    view = await registered(store, of("a", "b", incumbent="a"))
    await promoted(store, view, "b")

    view = await registered(store, of("a", "b!", incumbent="a"))

    assert (view.generation, serving(view)) == (2, "a")


async def test_stores_written_before_the_files_word_was_kept_are_read(store: PolicyStore) -> None:
    """For such a store, the file's last word is what the current generation began with."""
    view = await registered(store, of("a", "b", incumbent="a"))
    await promoted(store, view, "b")
    assert await store._redis.hdel(Names().experiment(NAME).control, "named") == 1

    view = await registered(store, of("a", "b", "c", incumbent="a"))

    assert serving(view) == "b"
