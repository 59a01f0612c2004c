"""Many experiments are read in a few calls, on every kind of store."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from typing import Any

import pytest

from policy_store.clients import GatheringClient
from policy_store.connect import connect
from policy_store.errors import StoreUnavailableError, UnknownExperimentError
from policy_store.store import PolicyStore
from policy_store.vitals import StoreVitals
from tests.pace import PATIENCE_SECONDS
from tests.policy_store.building import THRESHOLD, experiment, prefer

NAMES = [f"experiment-{number}" for number in range(130)]
"""More than one script is asked about at once."""


async def test_many_experiments_are_read_together(store: PolicyStore) -> None:
    """Each gets its own values, in their order, also from servers that have forgotten the scripts."""
    for name in NAMES:
        await store.register(experiment(name), THRESHOLD)
    await store.acquire_lease(NAMES[7], "planner", 60)
    await prefer(store, "u1", name=NAMES[100])
    counted = dict.fromkeys(NAMES, 0) | {NAMES[100]: 1}
    vitals = StoreVitals(store._redis, timeout_seconds=PATIENCE_SECONDS)

    for _ in range(2):
        assert await store.revisions([*NAMES, "unknown"]) == dict.fromkeys(NAMES, 1)
        runs = [(name, 1) for name in NAMES]
        assert await vitals.comparisons_of_each(runs) == list(counted.values())
        found = await store.glances(dict.fromkeys(NAMES, 1))
        assert list(found) == NAMES
        words = {name: glance.words[1:3] for name, glance in found.items()}
        assert words == {
            name: ("planner" if name == NAMES[7] else "", str(number)) for name, number in counted.items()
        }
        await store._redis.script_flush()
    assert await store.revisions([]) == {}


async def test_leases_are_renewed_together(store: PolicyStore) -> None:
    """Only those that the caller holds."""
    for name in NAMES[:3]:
        await store.register(experiment(name), THRESHOLD)
    await store.acquire_lease(NAMES[0], "a", 5)
    await store.acquire_lease(NAMES[1], "b", 5)

    await store.renew_leases(NAMES, "a", 600)

    leases = [store._names.experiment(name).lease for name in NAMES[:3]]
    left = await asyncio.gather(*(store._redis.pttl(lease) for lease in leases))
    assert left[0] > 500_000
    assert 0 < left[1] <= 5_000
    assert left[2] == -2


async def test_a_fault_in_one_of_many_is_a_fault(store: PolicyStore) -> None:
    """A reading is whole or refused."""
    for name in NAMES:
        await store.register(experiment(name), THRESHOLD)
    await store._redis.set(store._names.experiment(NAMES[-1]).generation(1).waiting, "no hash")
    with pytest.raises(StoreUnavailableError, match="WRONGTYPE"):
        await store.glances(dict.fromkeys(NAMES, 1))


async def test_readers_side_by_side_get_what_single_readers_get(store: PolicyStore) -> None:
    """Each its own, from scripts and from plain commands; what one may not have is no fault of the others."""
    for name in NAMES[:12]:
        await store.register(experiment(name), THRESHOLD)
    await prefer(store, "u1", name=NAMES[3])
    together = PolicyStore(GatheringClient(store._redis), timeout_seconds=PATIENCE_SECONDS)

    async def read(of: PolicyStore, name: str) -> Any:
        try:
            view = await of.view(name)
        except UnknownExperimentError:
            return None
        counts = replace(await of.counts(name, view.generation), now=0.0)
        return view, counts, await of.events(name), await of.log_entries(name, 1), await of.usage(name)

    names = [*NAMES[:12], "unknown"]
    await store._redis.script_flush()
    found = await asyncio.gather(*(read(together, name) for name in names))

    assert found == [await read(store, name) for name in names]
    assert found[3][1].comparisons == 1
    assert found[-1] is None


async def test_a_store_that_does_not_answer_fails_all_readers_in_time_and_is_waited_for_no_longer() -> None:
    """No call stays behind that would hold a connection."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = connect(f"redis://127.0.0.1:{silent.getsockname()[1]}", timeout_seconds=0.2)
        gathering = GatheringClient(client)
        store = PolicyStore(gathering, timeout_seconds=0.2)
        found = await asyncio.gather(*(store.view(name) for name in NAMES[:5]), return_exceptions=True)
        assert [type(each) for each in found] == [StoreUnavailableError] * 5
        async with asyncio.timeout(PATIENCE_SECONDS / 2):
            while gathering._sending:
                await asyncio.sleep(0.01)
        await client.aclose()
