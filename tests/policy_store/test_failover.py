"""A primary that is killed or hangs under traffic: its replica takes over, and nothing is restarted."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from policy_store.connect import connect
from policy_store.errors import StoreUnavailableError
from policy_store.report_records import Receipt
from policy_store.store import PolicyStore
from policy_store.vitals import ServerSettings, StoreVitals
from tests.pace import PATIENCE_SECONDS, impatient
from tests.policy_store.building import NAME, logged_comparisons, planned, prefer
from tests.servers import ClusterServer, Process, SentinelServer

WRITERS = 8
RECOVERED_SECONDS = impatient(6.0)
LOST_IN_FLIGHT = 100
"""More than this many acknowledged reports are never on their way to the replica at once."""

Group = ClusterServer | SentinelServer
HARM: dict[str, Callable[[Process], None]] = {
    "killed": lambda primary: primary.end(),
    "hanging": lambda primary: primary.send(signal.SIGSTOP),
}


class Reporters:
    """Users who report without end. What was acknowledged and what failed is kept."""

    def __init__(self, store: PolicyStore) -> None:
        self.acknowledged: list[str] = []
        self.failed: list[str] = []
        self.are_done = False
        self._store = store

    async def run(self) -> None:
        """Report until `are_done`."""
        await asyncio.gather(*(self._report(writer) for writer in range(WRITERS)))

    async def more(self, count: int) -> None:
        """Return once so many more were acknowledged."""
        enough = len(self.acknowledged) + count
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(self.acknowledged) < enough:
                await asyncio.sleep(0.01)

    async def _report(self, writer: int) -> None:
        index = 0
        while not self.are_done:
            unit, index = f"{writer}-{index}", index + 1
            try:
                await prefer(self._store, unit)
            except StoreUnavailableError:
                self.failed.append(unit)
                await asyncio.sleep(0.02)
            else:
                self.acknowledged.append(unit)


@pytest.mark.parametrize(
    ("kind", "harm"),
    [
        (ClusterServer, "killed"),
        (SentinelServer, "hanging"),
        pytest.param(ClusterServer, "hanging", marks=pytest.mark.long),
        pytest.param(SentinelServer, "killed", marks=pytest.mark.long),
    ],
)
async def test_a_replica_takes_over_under_traffic(
    kind: Callable[[Path], Group], harm: str, tmp_path: Path
) -> None:
    """Reports are taken again within seconds; counts, log and marks agree, and each report counts once."""
    async with AsyncExitStack() as parts:
        group = kind(tmp_path)
        parts.callback(group.stop)
        group.start()
        store = PolicyStore(connect(group.url, timeout_seconds=0.5), timeout_seconds=0.5)
        parts.push_async_callback(store.aclose)
        await planned(store)
        primary = await _primary(group, store)
        reporters = Reporters(store)
        running = asyncio.create_task(reporters.run())
        await reporters.more(300)

        HARM[harm](primary)
        harmed_at = time.monotonic()
        while not reporters.failed:
            await asyncio.sleep(0.01)
        await reporters.more(20)

        assert time.monotonic() - harmed_at < RECOVERED_SECONDS
        primary.send(signal.SIGCONT)
        reporters.are_done = True
        await running
        await _check_counted_once(store, reporters)


async def _primary(group: Group, store: PolicyStore) -> Process:
    """The server that holds the experiment."""
    if isinstance(group, SentinelServer):
        return group.servers[0]
    slot = store._redis.keyslot(store._redis.names.experiment(NAME).control)
    port = store._redis.nodes_manager.get_node_from_slot(slot).port
    return next(node for node in group.nodes if node.port == port)


async def _check_counted_once(store: PolicyStore, reporters: Reporters) -> None:
    counted = (await store.counts(NAME, 1)).comparisons
    units = [*reporters.acknowledged, *reporters.failed]
    receipts = {unit: (await prefer(store, unit)).receipt for unit in units}
    assert counted == sum(receipt is Receipt.DUPLICATE for receipt in receipts.values())
    lost = sum(receipts[unit] is Receipt.COUNTED for unit in reporters.acknowledged)
    assert lost <= LOST_IN_FLIGHT
    numbers = [comparison.number for comparison in await logged_comparisons(store)]
    assert numbers == list(range(1, len(units) + 1))


async def test_calls_at_once_forget_no_sentinel(tmp_path: Path) -> None:
    """Many connections ask for the primary at once, and every Sentinel can still be asked afterwards."""
    group = SentinelServer(tmp_path)
    group.start()
    store = PolicyStore(connect(group.url, timeout_seconds=5), timeout_seconds=5)
    try:
        group.sentinels[0].end()
        await planned(store)
        await asyncio.gather(*(prefer(store, f"u{index}") for index in range(32)))
        ports = {each.connection_pool.connection_kwargs["port"] for each in store._redis._sentinel.sentinels}
        assert ports == {each.port for each in group.sentinels}
    finally:
        await store.aclose()
        group.stop()


async def test_a_pulse_tries_every_server_of_a_cluster(tmp_path: Path) -> None:
    """One that takes no writes, or may lose what it has, is seen whatever keys it holds."""
    group = ClusterServer(tmp_path)
    group.start()
    redis = connect(group.url, timeout_seconds=5)
    vitals = StoreVitals(redis, timeout_seconds=5)
    try:
        assert (await vitals.pulse(may_begin=True)).epoch == 1
        assert await vitals.server_settings() == ServerSettings(evicts=False, persists=True)
        for node in group.nodes[:3]:
            node.ask("config", "set", "maxmemory", "1")
            with pytest.raises(StoreUnavailableError, match="OOM"):
                await vitals.pulse(may_begin=False)
            node.ask("config", "set", "maxmemory", "0")
        await vitals.pulse(may_begin=False)

        group.nodes[1].ask("config", "set", "maxmemory-policy", "allkeys-lru")
        group.nodes[2].ask("config", "set", "appendonly", "no")
        assert await vitals.server_settings() == ServerSettings(evicts=True, persists=False)
    finally:
        await redis.aclose()
        group.stop()
