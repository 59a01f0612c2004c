"""Of many experiments a planner looks at those that changed at once, and at the others in turn."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from gateway.learning.rota import KEPT_SECONDS, LOOKED_AT_ALWAYS, Rota
from policy_store.errors import StoreUnavailableError
from policy_store.log_records import Result
from policy_store.moves import Move
from policy_store.stage_records import StageStep
from policy_store.store import PolicyStore
from tests.pace import PATIENCE_SECONDS
from tests.policy_store.building import THRESHOLD, experiment, forecasts, plan, prefer

NAMES = [f"experiment-{number}" for number in range(3 * LOOKED_AT_ALWAYS)]
LEASE_SECONDS = 30.0


class Bench:
    """A rota for many experiments at rest, all of which it has seen."""

    def __init__(self, store: PolicyStore) -> None:
        self.store = store
        self.now = 0.0
        self.rota = Rota(store, "a", LEASE_SECONDS, lambda: self.now)

    async def settle(self) -> None:
        """Let everything be looked at once."""
        for name in await self.rota.due(NAMES):
            self.rota.saw(await self.store.view(name))
        await self.rota.due(NAMES)

    async def changed(self, names: Sequence[str] = NAMES) -> set[str]:
        """What is due although it is not its turn."""
        self.rota._next = 0
        return set(await self.rota.due(names)) - set(NAMES[:LOOKED_AT_ALWAYS])


@pytest.fixture
async def bench(embedded_store: PolicyStore) -> Bench:
    """Many registered experiments, at rest."""
    for name in NAMES:
        await embedded_store.register(experiment(name), THRESHOLD)
    bench = Bench(embedded_store)
    await bench.settle()
    return bench


async def test_a_few_experiments_are_all_looked_at_every_time(embedded_store: PolicyStore) -> None:
    """Nothing has to be read to know whose turn it is."""
    rota = Bench(embedded_store).rota
    few = NAMES[:LOOKED_AT_ALWAYS]
    assert list(await rota.due(few)) == few
    assert list(await rota.due(few)) == few


async def test_experiments_at_rest_take_turns(bench: Bench) -> None:
    """Whatever no glance shows, such as the end of a minimum duration, is found in turn."""
    bench.rota._next = 0
    turns = [await bench.rota.due(NAMES) for _ in range(3)]
    assert [len(turn) for turn in turns] == [LOOKED_AT_ALWAYS] * 3
    assert {name for turn in turns for name in turn} == set(NAMES)


async def test_what_changed_is_due_at_once_and_then_rests(bench: Bench) -> None:
    """A comparison, a waiting outcome, a plan, a move and a lease that ended each show in the glance."""
    last, store = NAMES[-1], bench.store
    assert await bench.changed() == set()

    fence = await store.acquire_lease(last, "b", LEASE_SECONDS)
    assert await bench.changed() == {last}
    await store.publish_plan(last, 1, plan(), forecasts(), fence)
    assert await bench.changed() == {last}
    await prefer(store, "u1", Result.WIN, name=last)
    assert await bench.changed() == {last}
    await store.decide(last, 1, fence, move=Move.PROMOTE, champion=1, certificate={})
    assert await bench.changed() == {last}
    await store.release_lease(last, "b")
    assert await bench.changed() == {last}
    assert await bench.changed() == set()


async def test_what_failed_or_ends_by_itself_is_looked_at_every_time(bench: Bench) -> None:
    """A step of a staged promotion is over at a time, and what could not be planned is tried again."""
    last, store = NAMES[-1], bench.store
    fence = await store.acquire_lease(last, "a", LEASE_SECONDS)
    steps = (StageStep(0.1, seconds=60.0), StageStep(1.0))
    staged = await store.decide(
        last, 1, fence, move=Move.STAGE, champion=1, certificate={"champion": 1}, steps=steps
    )
    bench.rota.saw(staged)
    assert await bench.changed() == {last}
    assert await bench.changed() == {last}

    bench.rota.failed(NAMES[-2])
    assert await bench.changed() == {NAMES[-2], last}


async def test_what_concerns_all_makes_all_of_them_due(bench: Bench) -> None:
    """Another configuration, or replicas that agree again, may change every conclusion."""
    bench.rota.notice(("another file",))
    assert await bench.changed() == set(NAMES[LOOKED_AT_ALWAYS:])
    bench.rota.notice(("another file",))
    assert await bench.changed() == set()


async def test_leases_of_experiments_at_rest_are_kept(bench: Bench) -> None:
    """A planner that has nothing to plan stays the planner; leases of others are left alone."""
    redis, names = bench.store._redis, bench.store._names
    mine, others = (names.experiment(name).lease for name in NAMES[-2:])
    await bench.store.acquire_lease(NAMES[-2], "a", 1.0)
    await bench.store.acquire_lease(NAMES[-1], "b", 1.0)
    bench.now += LEASE_SECONDS

    await bench.rota.due(NAMES)

    assert await redis.pttl(mine) > 1_000
    assert 0 < await redis.pttl(others) <= 1_000


async def test_without_the_store_some_are_due_all_the_same(bench: Bench) -> None:
    """The planner finds out, and says so, when it looks at one of them."""

    async def glances(_generations: object) -> None:
        raise StoreUnavailableError("away")

    bench.store.glances = glances
    assert len(await bench.rota.due(NAMES)) == LOOKED_AT_ALWAYS


async def test_a_look_that_hangs_keeps_the_lease_from_no_other_replica(embedded_store: PolicyStore) -> None:
    """Its worker may have been stopped; then another replica plans."""
    name, now = NAMES[0], 0.0
    rota = Rota(embedded_store, "a", 0.2, lambda: now)
    await embedded_store.register(experiment(name), THRESHOLD)
    assert await embedded_store.acquire_lease(name, "a", 0.2) == 1
    async with rota.kept(name), asyncio.timeout(PATIENCE_SECONDS):
        now = KEPT_SECONDS
        while await embedded_store.acquire_lease(name, "b", 0.2) is None:
            await asyncio.sleep(0.01)
