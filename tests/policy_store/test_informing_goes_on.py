"""A change of the file keeps what only informed about policies that stay the same: it was never evidence."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from policy_store.connect import connect
from policy_store.counts import Counts
from policy_store.errors import StoreUnavailableError
from policy_store.experiment import Experiment
from policy_store.log_records import Comparison, Inherited, Result
from policy_store.moves import Move
from policy_store.report_records import Report
from policy_store.roles import Role
from policy_store.store import PolicyStore
from tests.pace import PATIENCE_SECONDS
from tests.policy_store.building import KEEP_SECONDS, NAME, THRESHOLD, experiment, planned, prefer
from tests.servers import StoreServer

_ABC = ("a", "b", "c")


def _of(*names: str, **changes: object) -> Experiment:
    """An experiment of these policies; `b!` is `b` with another content."""
    return replace(
        experiment(policies=len(names)),
        policies=tuple(name.rstrip("!") for name in names),
        policy_fingerprints=names,
        **changes,
    )


async def _judge(
    store: PolicyStore,
    unit: str,
    pair: tuple[int, int],
    result: Result = Result.WIN,
    *,
    generation: int = 1,
    role: Role = Role.JUDGE,
) -> int:
    """A comparison that only informs; its number."""
    said = Report(NAME, generation, unit, *pair, "judge", result.value, KEEP_SECONDS, informs=role)
    recorded = await store.record_preference(said, result)
    assert recorded.comparison is not None
    return recorded.comparison


async def _three_pairs(store: PolicyStore) -> None:
    """Verdicts on every pair of three policies: 3 wins and a tie, 1 loss, 2 wins."""
    await store.register(_of(*_ABC), THRESHOLD)
    for number, (pair, result) in enumerate(
        [((0, 1), Result.WIN)] * 3
        + [((0, 1), Result.TIE), ((0, 2), Result.LOSS)]
        + [((1, 2), Result.WIN)] * 2
    ):
        await _judge(store, f"u{number}", pair, result)


async def _informs(store: PolicyStore, generation: int, role: Role = Role.JUDGE) -> Counts:
    return await store.counts(NAME, generation, role)


async def test_what_informed_about_kept_policies_goes_on(store: PolicyStore) -> None:
    """Wins and ties between policies that are the same by name and content move to their new places."""
    await _three_pairs(store)
    await _judge(store, "seen", (0, 2), role=Role.IMPLICIT)

    await store.register(_of("0", "a", "b!", "c"), THRESHOLD)

    judge, implicit = await _informs(store, 2), await _informs(store, 2, Role.IMPLICIT)
    assert judge.wins == ((0, 0, 0, 0), (0, 0, 0, 0), (0, 0, 0, 0), (0, 1, 0, 0))
    assert implicit.wins[1][3] == implicit.comparisons == 1
    assert (await _informs(store, 2, Role.EXPLICIT)).comparisons == 0
    await store.register(_of(*_ABC, "d"), THRESHOLD)
    assert (await _informs(store, 3)).comparisons == 1  # of the current generation, not of all before it


async def test_it_adds_nothing_to_the_evidence(store: PolicyStore) -> None:
    """Evidence is inherited as without it, and what informed never becomes part of it."""
    await planned(store)
    await prefer(store, "u1", Result.LOSS)
    await _judge(store, "u2", (0, 1))
    before = await store.counts(NAME, 1)

    await store.register(replace(experiment(), max_comparisons=500), THRESHOLD)

    after, judge = await store.counts(NAME, 2), await _informs(store, 2)
    assert (after.comparisons, after.inherited, after.wins) == (1, 1, before.wins)
    assert after.evidence_nano_nats == before.evidence_nano_nats
    assert (judge.comparisons, judge.wins[0][1]) == (1, 1)
    assert not any(map(any, judge.evidence_nano_nats))


async def test_its_log_says_what_it_went_on_with(store: PolicyStore) -> None:
    """The first record of a role's log is what it began with, and later comparisons are numbered on."""
    await _three_pairs(store)
    await store.register(_of("b", "a", "d"), THRESHOLD)
    number = await _judge(store, "new", (0, 2), generation=2)

    (began, newest), _ = await store.log(NAME, 2, informs=Role.JUDGE)
    assert isinstance(began, Inherited)
    assert (began.generation, began.after, began.sources, began.comparisons) == (1, 7, (1, 0, None), 4)
    assert (began.wins[1][0], began.ties[0][1]) == (3, 1)
    assert isinstance(newest, Comparison)
    assert newest.number == number == 5


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(_of(*_ABC, delta=0.1), id="delta"),
        pytest.param(_of(*_ABC, outcome_rules='{"unit":"session"}'), id="outcome rules"),
        pytest.param(_of(*_ABC, collect="side_by_side"), id="collect"),
    ],
)
async def test_it_goes_on_where_evidence_starts_anew(store: PolicyStore, changed: Experiment) -> None:
    """A forecast may rest on anything, so a change of what evidence means takes nothing from it."""
    await _three_pairs(store)
    await prefer(store, "u1")

    await store.register(changed, THRESHOLD)

    assert (await store.counts(NAME, 2)).comparisons == 0
    assert (await _informs(store, 2)).wins == (await _informs(store, 1)).wins


async def test_it_goes_on_after_a_decision(store: PolicyStore) -> None:
    """A new question about the same policies starts without evidence, and not without any idea."""
    await planned(store)
    await _judge(store, "u1", (0, 1))
    fence = await store.acquire_lease(NAME, "planner", 60)
    await store.decide(NAME, 1, fence, move=Move.PROMOTE, champion=1, certificate={})

    await store.register(experiment(policies=4), THRESHOLD)

    assert (await store.counts(NAME, 2)).comparisons == 0
    assert (await _informs(store, 2)).wins[0][1] == 1


@pytest.mark.parametrize("names", [("a", "x", "y"), ("a!", "b!", "c")], ids=["one kept", "two edited"])
async def test_nothing_goes_on_between_other_policies(store: PolicyStore, names: tuple[str, ...]) -> None:
    """With fewer than two policies that are the same, nothing was said of any pair."""
    await _three_pairs(store)
    await store.register(_of(*names), THRESHOLD)
    assert (await _informs(store, 2)).comparisons == 0
    assert (await store.log(NAME, 2, informs=Role.JUDGE))[0] == []


async def test_experiments_that_nothing_informs_are_stored_as_before(store: PolicyStore) -> None:
    """No key of a role's ledger appears where there was none."""
    await planned(store)
    await prefer(store, "u1")
    await store.register(_of("p0", "p1", "d"), THRESHOLD)
    for role in Role:
        own = store._names.experiment(NAME).generation(2, role)
        assert not await store._redis.exists(own.counts)
        assert not await store._redis.exists(own.log)


async def test_each_generation_keeps_what_it_has(store: PolicyStore) -> None:
    """Old and new files live at once: nothing is taken over twice, and late verdicts stay where they are."""
    old, new = _of(*_ABC), _of("a", "b", "d")
    await _three_pairs(store)
    await store.register(new, THRESHOLD)
    await _judge(store, "late", (0, 1))  # assigned before the change
    await _judge(store, "new", (0, 1), Result.LOSS, generation=2)

    await store.register(old, THRESHOLD)
    await store.register(new, THRESHOLD)

    one, two = await _informs(store, 1), await _informs(store, 2)
    assert (one.comparisons, one.wins[0][1], one.wins[1][0]) == (8, 4, 0)
    assert (two.comparisons, two.wins[0][1], two.wins[1][0]) == (5, 3, 1)


async def test_replicas_that_start_at_once_take_it_over_once(store: PolicyStore, store_url: str) -> None:
    """Registered by many while verdicts are counted: log and counts agree on what was there at one moment."""
    await _three_pairs(store)
    clients = [
        PolicyStore(connect(store_url, timeout_seconds=PATIENCE_SECONDS), timeout_seconds=PATIENCE_SECONDS)
        for _ in range(3)
    ]

    async def keep_judging() -> None:
        for number in range(40):
            await _judge(store, f"late{number}", (0, 1))

    changed = _of("a", "b", "d")
    await asyncio.gather(*(client.register(changed, THRESHOLD) for client in clients * 3), keep_judging())
    for client in clients:
        await client.aclose()

    (began,), _ = await store.log(NAME, 2, informs=Role.JUDGE)
    counts = await _informs(store, 2)
    assert isinstance(began, Inherited)
    assert (began.wins, began.ties, began.comparisons) == (counts.wins, counts.ties, counts.comparisons)
    assert counts.wins[0][1] == began.after - 4  # 3 of the first 7 verdicts and all later ones


async def test_a_killed_server_has_all_of_it_or_nothing(own_server: StoreServer) -> None:
    """Kill -9 while a change is registered: repeated afterwards, it took over everything, once."""
    redis = connect(own_server.url, timeout_seconds=PATIENCE_SECONDS)
    fragile = PolicyStore(redis, timeout_seconds=PATIENCE_SECONDS)
    await _three_pairs(fragile)
    changed = _of("a", "b", "d")
    registering = asyncio.create_task(fragile.register(changed, THRESHOLD))
    await asyncio.sleep(0)
    own_server.kill()
    with_luck = (await asyncio.gather(registering, return_exceptions=True))[0]
    assert not isinstance(with_luck, BaseException) or isinstance(with_luck, StoreUnavailableError)
    own_server.start()

    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                view = await fragile.register(changed, THRESHOLD)
                break
            except StoreUnavailableError:
                await asyncio.sleep(0.01)

    counts = await _informs(fragile, view.generation)
    records, _ = await fragile.log(NAME, view.generation, informs=Role.JUDGE)
    await fragile.aclose()
    assert view.generation == 2
    assert (counts.comparisons, counts.wins[0][1], counts.ties[0][1]) == (4, 3, 1)
    assert [type(record) for record in records] == [Inherited]
