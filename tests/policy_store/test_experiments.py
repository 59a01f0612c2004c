"""Registering experiments, and reading them back."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from policy_store.connect import connect
from policy_store.conversations import ConversationStore
from policy_store.errors import UnknownExperimentError
from policy_store.experiment import Experiment
from policy_store.moves import Move
from policy_store.names import Names
from policy_store.states import ExperimentState
from policy_store.store import PolicyStore
from tests.policy_store.building import NAME, THRESHOLD, experiment, forecasts, plan, planned, prefer, started


async def test_new_experiment_runs_in_its_first_generation(store: PolicyStore) -> None:
    """An unknown fingerprint starts a generation from nothing, with the file's incumbent."""
    view = await started(store, incumbent=2)

    assert view.experiment == experiment(incumbent=2)
    assert (view.generation, view.revision, view.state, view.incumbent) == (1, 1, ExperimentState.RUNNING, 2)
    assert view.plan is None
    assert view.certificate is None
    assert await store.view(NAME) == view


async def test_registering_again_changes_nothing(store: PolicyStore) -> None:
    """Every replica registers at start; the same content is the same generation."""
    view = await started(store)

    assert await started(store) == view
    assert await store.revisions([NAME, "nobody"]) == {NAME: view.revision}
    assert len(await store.events(NAME)) == 1


async def test_changed_experiment_starts_anew_and_going_back_finds_the_evidence(store: PolicyStore) -> None:
    """Each content keeps its own evidence while another content is current."""
    await planned(store)
    await prefer(store, "u1")

    changed = await started(store, delta=0.01)
    assert (changed.generation, changed.plan) == (2, None)
    assert (await store.counts(NAME, 2)).comparisons == 0
    assert [record.detail for record in (await store.log(NAME, 2))[0]] == [{"generation": 2}]

    back = await started(store)
    assert (back.generation, back.plan.version) == (1, 1)
    assert back.revision > changed.revision
    assert (await store.counts(NAME, 1)).comparisons == 1
    assert [event.kind for event in await store.events(NAME)] == ["reactivated", "started", "started"]


@pytest.mark.parametrize(
    ("changes", "serves_first"),
    [
        pytest.param(
            {"policies": ("p0", "p1", "p9"), "policy_fingerprints": ("hash0", "hash1", "hash9")},
            "p1",
            id="a candidate exchanged",
        ),
        pytest.param({"delta": 0.1}, "p1", id="a setting changed"),
        pytest.param(
            {"policies": ("p0", "p2", "p9"), "policy_fingerprints": ("hash0", "hash2", "hash9")},
            "p0",
            id="the promoted policy removed",
        ),
        pytest.param(
            {"policy_fingerprints": ("hash0", "new", "hash2")}, "p0", id="the promoted policy edited"
        ),
        pytest.param({"delta": 0.1, "incumbent": 2}, "p2", id="another incumbent asked for"),
    ],
)
async def test_promotion_outlives_an_edit_of_the_file(
    store: PolicyStore, changes: dict[str, Any], serves_first: str
) -> None:
    """A promoted policy goes on serving, unless it is gone or the file names another incumbent."""
    await started(store)
    fence = await store.acquire_lease(NAME, "planner", 60)
    assert fence is not None
    await store.decide(NAME, 1, fence, move=Move.PROMOTE, champion=1, certificate={})

    view = await store.register(replace(experiment(), **changes), THRESHOLD)

    assert view.generation == 2
    assert view.experiment.policies[view.incumbent] == serves_first


async def test_concurrent_registrations_start_one_generation_per_content(store: PolicyStore) -> None:
    """Replicas with old and new files start at once; no generation is started twice or lost."""
    contents = [experiment(delta=delta) for delta in (0.01, 0.02, 0.03)] * 6

    views = await asyncio.gather(*(store.register(content, THRESHOLD) for content in contents))

    generations = {content.fingerprint(): set() for content in contents}
    for content, view in zip(contents, views, strict=True):
        if view.experiment.fingerprint() == content.fingerprint():
            generations[content.fingerprint()].add(view.generation)
    assert sorted(map(sorted, generations.values())) == [[1], [2], [3]]


async def test_names_may_hold_anything_and_are_listed(store: PolicyStore, store_url: str) -> None:
    """Braces and spaces in a name do not break its keys; a set tells operators what there is."""
    names = {"b", "a", "odd {name}: ü"}
    for name in names:
        await store.register(experiment(name), THRESHOLD)

    redis = connect(store_url)
    assert await redis.smembers(Names().experiments) == names
    await redis.aclose()
    assert (await store.view("odd {name}: ü")).experiment.name == "odd {name}: ü"


async def test_unknown_experiment_is_said_to_be_unknown(store: PolicyStore) -> None:
    """Every call about a name or generation that the store does not hold says so."""
    await started(store)
    calls = [
        store.view("nobody"),
        store.counts(NAME, 2),
        store.acquire_lease("nobody", "planner", 1),
        store.publish_plan(NAME, 2, plan(), forecasts(), 1),
        store.decide(NAME, 2, 1, move=Move.FIND_NO_WINNER, champion=None, certificate={}),
        prefer(store, "u1", name="nobody"),
    ]
    for call in calls:
        with pytest.raises(UnknownExperimentError):
            await call


async def test_replicas_share_one_token_key(store: PolicyStore, store_url: str) -> None:
    """The first to ask makes the key; all get the same 32 bytes, also later."""
    others = [PolicyStore(connect(store_url)) for _ in range(3)]

    keys = await asyncio.gather(*(each.token_key() for each in [store, *others]))

    assert len(set(keys)) == 1
    assert len(keys[0]) == 32
    assert await store.token_key() == keys[0]
    for other in others:
        await other.aclose()


async def test_sticky_unit_keeps_its_first_assignment(store: PolicyStore, store_url: str) -> None:
    """If callers propose assignments at once, one wins and every caller learns which."""
    await started(store)
    conversations = ConversationStore(redis := connect(store_url))

    proposals = [f"proposal-{index}" for index in range(8)]
    assigned = await asyncio.gather(
        *(conversations.assign_unit(NAME, 1, "session", each, 60) for each in proposals)
    )

    assert len(set(assigned)) == 1
    assert assigned[0] in proposals
    assert await conversations.assign_unit(NAME, 1, "another", "other", 60) == "other"
    assert await conversations.assign_unit(NAME, 2, "session", "new generation", 60) == "new generation"
    await redis.aclose()


def test_fingerprint_ignores_name_and_incumbent_only() -> None:
    """Everything that gives evidence its meaning is part of the fingerprint."""
    base = experiment()
    same = [replace(base, name="other"), replace(base, incumbent=1)]
    changed = [
        replace(base, policies=("x", "y", "z")),
        replace(base, policy_fingerprints=("a", "b", "c")),
        replace(base, costs=(0.0, 0.0, 1.0)),
        replace(base, delta=0.1),
        replace(base, epsilon=0.0),
        replace(base, max_comparisons=10),
        replace(base, min_comparisons=10),
        replace(base, min_duration_seconds=1.0),
        replace(base, collect="side_by_side"),
        replace(base, outcome_rules='{"tie_margin":0.1}'),
        replace(base, promise="no_worse_than_best"),
    ]
    assert {each.fingerprint() for each in same} == {base.fingerprint()}
    assert len({each.fingerprint() for each in [base, *changed]}) == len(changed) + 1


def test_promise_is_written_where_it_is_not_the_one_there_was() -> None:
    """Experiments from before there was a choice keep their text, and with it their generation."""
    base, chosen = experiment(), replace(experiment(), promise="no_worse_than_best")

    assert base.fingerprint() == "dd11851a316e0050fb0501f0372f1be6b16c95138b4bc8dcdec38356a1022013"
    assert "promise" not in base.to_json()
    for each in (base, chosen):
        assert Experiment.from_json(each.to_json()) == each
