"""A server that is killed, frozen or absent: an honest error in time, nothing lost, back soon after."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from policy_store.connect import connect
from policy_store.errors import StoreUnavailableError
from policy_store.report_records import Receipt
from policy_store.store import PolicyStore
from tests.pace import PATIENCE_SECONDS, impatient
from tests.policy_store.building import (
    NAME,
    logged_comparisons,
    planned,
    prefer,
    started,
)
from tests.servers import StoreServer

TIMEOUT_SECONDS = 0.3
SLACK_SECONDS = impatient(1.0)  # other tests may have the processor


@pytest.fixture
async def fragile(own_server: StoreServer) -> AsyncIterator[PolicyStore]:
    """A store on that server, with a short time-out and few connections."""
    redis = connect(own_server.url, timeout_seconds=TIMEOUT_SECONDS, max_connections=4)
    store = PolicyStore(redis, timeout_seconds=TIMEOUT_SECONDS)
    yield store
    await store.aclose()


async def test_acknowledged_outcomes_survive_a_killed_server(
    own_server: StoreServer, fragile: PolicyStore
) -> None:
    """Kill -9 under eight writers: what was acknowledged is there, the rest can be repeated, once each."""
    await planned(fragile)
    acknowledged: set[str] = set()
    lost: set[str] = set()
    enough = asyncio.Event()

    async def write(writer: int) -> None:
        for index in range(10_000):
            unit = f"{writer}-{index}"
            try:
                await prefer(fragile, unit)
            except StoreUnavailableError:
                lost.add(unit)
                return
            acknowledged.add(unit)
            if len(acknowledged) == 300:
                enough.set()

    async with asyncio.timeout(PATIENCE_SECONDS):
        writers = asyncio.gather(*(write(writer) for writer in range(8)))
        await enough.wait()
        own_server.kill()
        await writers
    own_server.start()

    await _recovered(fragile)
    before = (await fragile.counts(NAME, 1)).comparisons
    assert len(acknowledged) <= before <= len(acknowledged) + len(lost)
    receipts = {unit: (await prefer(fragile, unit)).receipt for unit in acknowledged | lost}
    assert {receipts[unit] for unit in acknowledged} == {Receipt.DUPLICATE}
    numbers = [comparison.number for comparison in await logged_comparisons(fragile, 1)]
    assert numbers == list(range(1, len(acknowledged) + len(lost) + 1))
    assert (await fragile.view(NAME)).plan.version == 1


async def test_frozen_server_is_reported_in_time_and_used_again_afterwards(
    own_server: StoreServer, fragile: PolicyStore
) -> None:
    """More calls than connections: each fails within the time-out, none of the connections is lost."""
    await planned(fragile)
    own_server.freeze()

    began = time.monotonic()
    failures = await asyncio.gather(
        *(prefer(fragile, f"u{index}") for index in range(12)), return_exceptions=True
    )
    elapsed = time.monotonic() - began
    own_server.thaw()

    assert [type(each) for each in failures] == [StoreUnavailableError] * 12
    assert elapsed < TIMEOUT_SECONDS + SLACK_SECONDS
    await _recovered(fragile)
    # The frozen server may still have carried out what it had received: repeating tells, and counts once.
    receipts = await asyncio.gather(*(prefer(fragile, f"u{index}") for index in range(12)))
    assert {each.receipt for each in receipts} <= {Receipt.COUNTED, Receipt.DUPLICATE}
    assert (await fragile.counts(NAME, 1)).comparisons == 12


async def test_server_that_came_back_is_used_at_the_first_call(
    own_server: StoreServer, fragile: PolicyStore
) -> None:
    """Connections of before the crash, all broken, cost no failed call once the server is back."""
    await planned(fragile)
    await asyncio.gather(*(prefer(fragile, f"u{index}") for index in range(8)))

    own_server.kill()
    own_server.start()
    other = PolicyStore(connect(own_server.url))
    await _recovered(other)
    await other.aclose()

    receipts = await asyncio.gather(*(prefer(fragile, f"u{index}") for index in range(8)))
    assert {each.receipt for each in receipts} == {Receipt.DUPLICATE}


async def test_absent_server_is_reported_at_once(free_port: int, tmp_path: Path) -> None:
    """Every kind of call reports that nothing listens, well before the time-out."""
    for url in (f"redis://127.0.0.1:{free_port}", f"unix://{tmp_path}/nobody.sock"):
        store = PolicyStore(connect(url, timeout_seconds=impatient(5)), timeout_seconds=impatient(5))
        began = time.monotonic()
        for call in (store.token_key(), store.view(NAME), prefer(store, "u1")):
            with pytest.raises(StoreUnavailableError):
                await call
        assert time.monotonic() - began < impatient(2.0)
        await store.aclose()


async def test_server_that_never_answers_is_reported_in_time() -> None:
    """Something accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        store = PolicyStore(connect(url, timeout_seconds=TIMEOUT_SECONDS), timeout_seconds=TIMEOUT_SECONDS)

        began = time.monotonic()
        with pytest.raises(StoreUnavailableError, match=r"0\.3 s"):
            await store.view(NAME)

        assert time.monotonic() - began < TIMEOUT_SECONDS + SLACK_SECONDS
        await store.aclose()


async def test_server_that_refuses_writes_is_reported(store: PolicyStore) -> None:
    """Out of memory, no part of an outcome is written, not even the mark that the unit reported."""
    await planned(store)
    servers = await store._redis.servers()
    for server in servers:
        await store._redis.config_set("maxmemory", 1, **server)
    try:
        with pytest.raises(StoreUnavailableError, match=r"OOM|memory"):
            await prefer(store, "u1")
    finally:
        for server in servers:
            await store._redis.config_set("maxmemory", 0, **server)

    assert (await store.counts(NAME, 1)).comparisons == 0
    assert (await prefer(store, "u1")).receipt is Receipt.COUNTED


def test_url_of_another_kind_is_refused() -> None:
    """A misspelt URL is reported before anything is sent."""
    with pytest.raises(ValueError, match="redis://"):
        connect("http://127.0.0.1:6379")


async def _recovered(store: PolicyStore) -> None:
    """Return once the store answers again."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                await store.token_key()
            except StoreUnavailableError:
                await asyncio.sleep(0.02)
            else:
                return


async def test_time_for_which_this_process_did_nothing_is_not_the_stores(
    store: PolicyStore, store_url: str
) -> None:
    """A busy machine may hold a process up for longer than an answer may take, which is there by then."""
    await started(store)
    hurried = PolicyStore(connect(store_url, timeout_seconds=impatient(5)), timeout_seconds=0.2)
    asyncio.get_running_loop().call_soon(time.sleep, 0.6)

    assert await hurried.revisions([NAME]) == {NAME: 1}

    await hurried.aclose()
