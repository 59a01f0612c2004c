"""Refusals that pass: a server is loading or busy, a cluster moves keys. Each is named, and survived."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.exceptions import RedisError

from policy_store.connect import connect
from policy_store.errors import StoreRefusedError, StoreUnavailableError
from policy_store.report_records import Receipt
from policy_store.store import PolicyStore
from tests.pace import PATIENCE_SECONDS, impatient
from tests.policy_store.building import NAME, planned, prefer
from tests.servers import ClusterServer, Process, StoreServer, wait_until

MOST_KEYS = 1_000


async def refusal(store: PolicyStore) -> str | None:
    """The word with which the store refuses to read; None if it answers, empty for another fault."""
    try:
        await store.view(NAME)
    except StoreRefusedError as error:
        return error.word
    except StoreUnavailableError:
        return ""
    return None


async def until(store: PolicyStore, word: str | None) -> None:
    """Return once the store refuses with this word, or answers."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await refusal(store) != word:
            await asyncio.sleep(0.01)


@asynccontextmanager
async def store_at(url: str, seconds: float = 5.0) -> AsyncIterator[PolicyStore]:
    """A store there."""
    store = PolicyStore(connect(url, timeout_seconds=seconds), timeout_seconds=impatient(seconds))
    yield store
    await store.aclose()


async def test_a_server_busy_with_a_script_is_named_and_used_again(own_server: StoreServer) -> None:
    """Another client's endless script holds everything up until an operator ends it."""
    async with store_at(own_server.url) as store, store_at(own_server.url) as other:
        await planned(store)
        await other._redis.config_set("busy-reply-threshold", 10)
        endless = asyncio.create_task(other._redis.eval("while true do end", 0))

        await until(store, "BUSY")
        with pytest.raises(StoreRefusedError, match="busy with another script"):
            await prefer(store, "meanwhile")
        await store._redis.script_kill()

        with pytest.raises(RedisError):
            await endless
        await until(store, None)
        assert (await prefer(store, "meanwhile")).receipt is Receipt.COUNTED


async def test_a_server_that_reads_its_data_is_named_and_used_again(tmp_path: Path) -> None:
    """After a restart a large store answers only once it has read everything."""
    options = {"appendonly": "yes", "save": "", "enable-debug-command": "local"}
    server = Process(tmp_path, **options)
    server.start()
    wait_until(server.accepts, "the server")
    try:
        async with store_at(f"redis://{server.place}") as store:
            await planned(store)
            pipeline = store._redis.pipeline(transaction=False)
            for number in range(3_000):  # a server answers others each 1,024 commands
                pipeline.set(f"filler{number}", "x")
            await pipeline.execute()
            server.end(signal.SIGTERM)
            server.options["key-load-delay"] = 300  # microseconds
            server.start()

            await until(store, "LOADING")
            await until(store, None)
            assert (await prefer(store, "after")).receipt is Receipt.COUNTED
    finally:
        server.end()


async def test_a_replica_that_lost_its_primary_is_named_and_used_again(own_server: StoreServer) -> None:
    """With `replica-serve-stale-data no` it refuses reads too; once it is a primary it is used."""
    async with store_at(own_server.url) as store, store_at(own_server.url) as other:
        await planned(store)
        await other._redis.config_set("replica-serve-stale-data", "no")
        await other._redis.execute_command("REPLICAOF", "127.0.0.1", "9")

        await until(store, "MASTERDOWN")
        await other._redis.execute_command("REPLICAOF", "NO", "ONE")

        await until(store, None)
        assert (await prefer(store, "after")).receipt is Receipt.COUNTED


async def test_a_slot_that_moves_is_named_and_followed(tmp_path: Path) -> None:
    """While a slot moves, reads follow it and writes are refused; afterwards everything is where it went."""
    group = ClusterServer(tmp_path)
    group.start()
    try:
        async with store_at(group.url) as store:
            await planned(store)
            source, target = await _owner_and_other(group, store)
            async with store_at(f"redis://{target.place}") as plain:
                with pytest.raises(StoreRefusedError, match=r"redis\+cluster") as raised:
                    await plain.view(NAME)
                assert raised.value.word == "MOVED"

            async with _moving(group, store, source, target):
                with pytest.raises(StoreRefusedError, match="moving keys") as raised:
                    await prefer(store, "meanwhile")
                assert raised.value.word == "TRYAGAIN"
                assert (await store.view(NAME)).generation == 1
            assert (await prefer(store, "meanwhile")).receipt is Receipt.COUNTED
            assert (await store.counts(NAME, 1)).comparisons == 1
    finally:
        group.stop()


async def _owner_and_other(group: ClusterServer, store: PolicyStore) -> tuple[Process, Process]:
    slot = store._redis.keyslot(store._names.experiment(NAME).control)
    port = store._redis.nodes_manager.get_node_from_slot(slot).port
    source = next(node for node in group.nodes[:3] if node.port == port)
    return source, next(node for node in group.nodes[:3] if node is not source)


@asynccontextmanager
async def _moving(
    group: ClusterServer, store: PolicyStore, source: Process, target: Process
) -> AsyncIterator[None]:
    """The experiment's slot moves as `redis-cli --cluster reshard` moves it; its keys have all arrived."""
    slot = str(store._redis.keyslot(store._names.experiment(NAME).control))
    ids = {node: node.ask("cluster", "myid") for node in (source, target)}
    target.ask("cluster", "setslot", slot, "importing", ids[source])
    source.ask("cluster", "setslot", slot, "migrating", ids[target])
    for key in source.ask("cluster", "getkeysinslot", slot, str(MOST_KEYS)).splitlines():
        source.ask("migrate", "127.0.0.1", str(target.port), key, "0", "5000")
    yield
    for node in (target, source, *group.nodes[:3]):
        node.ask("cluster", "setslot", slot, "node", ids[target])
