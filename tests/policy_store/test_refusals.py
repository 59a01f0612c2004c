"""A server that answers and refuses is recognised by its word, whatever server it is."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ReadOnlyError, ResponseError

from policy_store.connect import connect
from policy_store.errors import StoreRefusedError, StoreUnavailableError
from policy_store.refusals import REFUSALS, word_of
from policy_store.report_records import Receipt
from policy_store.scripting import BY_COMMANDS, READS, _texts
from policy_store.store import PolicyStore
from policy_store.vitals import StoreVitals
from tests.pace import PATIENCE_SECONDS, impatient
from tests.policy_store.building import NAME, planned, prefer
from tests.servers import ClusterServer, StoreServer

Trouble = Callable[[Redis], Awaitable[Any]]


@pytest.fixture
async def admin(own_server: StoreServer) -> AsyncIterator[Redis]:
    """An operator's own connection."""
    redis = connect(own_server.url, timeout_seconds=impatient(5))
    yield redis
    await redis.aclose()


@pytest.fixture
async def redis(own_server: StoreServer, admin: Redis) -> AsyncIterator[Redis]:
    """The gateway's connections, as a user of their own."""
    await admin.acl_setuser("gateway", enabled=True, passwords=["+word"], categories=["+@all"], keys=["*"])
    client = connect(own_server.url, timeout_seconds=0.5)
    client.connection_pool.connection_kwargs |= {"username": "gateway", "password": "word"}
    yield client
    await client.aclose()


def without(command: str) -> Trouble:
    """Takes a command away from the gateway's user."""
    return lambda admin: admin.acl_setuser("gateway", enabled=True, reset=False, commands=[f"-{command}"])


async def demoted(admin: Redis) -> None:
    """Make the server a replica of one that is not there."""
    await admin.execute_command("REPLICAOF", "127.0.0.1", "9")


TROUBLES: dict[str, tuple[Trouble, str]] = {
    "demoted": (demoted, "READONLY"),
    "out of memory": (lambda admin: admin.config_set("maxmemory", 1), "OOM"),
    "too few replicas": (lambda admin: admin.config_set("min-replicas-to-write", 3), "NOREPLICAS"),
    **{
        f"no {command}": (without(command), "NOPERM")
        for command in ("evalsha", "hincrby", "xadd", "rpush", "set", "sadd", "pexpire", "lpop")
    },
}


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_a_pulse_fails_for_what_feedback_would_fail_for(
    trouble: str, admin: Redis, redis: Redis
) -> None:
    """Anything that keeps the gateway's user from writing is found without feedback, and named."""
    make, word = TROUBLES[trouble]
    vitals = StoreVitals(redis, timeout_seconds=impatient(5))
    assert (await vitals.pulse(may_begin=True)).id

    await make(admin)

    with pytest.raises(StoreRefusedError) as raised:
        await vitals.pulse(may_begin=True)
    assert raised.value.word == word
    assert REFUSALS[word].meaning in str(raised.value)
    assert "word" not in str(raised.value).replace("password", "")


async def test_a_server_that_cannot_save_is_named(admin: Redis, redis: Redis) -> None:
    """Snapshots that fail make it refuse writes."""
    vitals = StoreVitals(redis, timeout_seconds=5)
    await vitals.pulse(may_begin=True)
    in_the_way = Path((await admin.config_get("dir"))["dir"]) / "dump.rdb"
    in_the_way.mkdir()
    await admin.config_set("save", "3600 1")
    await admin.bgsave()
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await admin.info("persistence"))["rdb_last_bgsave_status"] != "err":
                await asyncio.sleep(0.01)
        with pytest.raises(StoreRefusedError) as raised:
            await vitals.pulse(may_begin=False)
        assert raised.value.word == "MISCONF"
    finally:
        in_the_way.rmdir()
        await admin.config_set("save", "")
    await vitals.pulse(may_begin=False)


@pytest.mark.parametrize(("user", "word"), [("", "NOAUTH"), ("default:wrong@", "WRONGPASS")])
async def test_a_password_that_is_missing_or_wrong_is_named(
    own_server: StoreServer, admin: Redis, user: str, word: str
) -> None:
    """The error does not repeat it."""
    await admin.config_set("requirepass", "right")
    client = connect(own_server.url.replace("://", f"://{user}"), timeout_seconds=5)
    with pytest.raises(StoreRefusedError) as raised:
        await StoreVitals(client, timeout_seconds=5).pulse(may_begin=True)
    assert raised.value.word == word
    assert "wrong" not in str(raised.value)
    await client.aclose()


async def test_a_cluster_without_some_of_its_slots_is_named_and_used_again(tmp_path: Path) -> None:
    """While both servers of a third of the slots are gone, the other servers refuse."""
    group = ClusterServer(tmp_path)
    group.start()
    store = PolicyStore(connect(group.url, timeout_seconds=2), timeout_seconds=2)
    try:
        await planned(store)
        slot = store._redis.keyslot(store._redis.names.experiment("support").control)
        port = store._redis.nodes_manager.get_node_from_slot(slot).port
        left = next(index for index, node in enumerate(group.nodes[:3]) if node.port != port)
        lost = [group.nodes[left], group.nodes[left + 3]]
        for node in lost:
            node.end()

        async with asyncio.timeout(PATIENCE_SECONDS):
            while await _word(store) != "CLUSTERDOWN":
                await asyncio.sleep(0.05)
            for node in lost:
                node.start("cluster.conf")
            while await _word(store) is not None:
                await asyncio.sleep(0.05)
        assert (await prefer(store, "after")).receipt is Receipt.COUNTED
    finally:
        await store.aclose()
        group.stop()


async def _word(store: PolicyStore) -> str | None:
    """What the store refuses a report with; None for one it takes, empty for another fault."""
    try:
        await prefer(store, "again")
    except StoreRefusedError as error:
        return error.word
    except StoreUnavailableError:
        return ""
    return None


async def test_writes_held_back_are_a_pulse_without_an_answer(admin: Redis, redis: Redis) -> None:
    """`CLIENT PAUSE WRITE` lets reads through; a pulse is a write."""
    vitals = StoreVitals(redis, timeout_seconds=0.3)
    first = await vitals.pulse(may_begin=True)
    await admin.execute_command("CLIENT", "PAUSE", 60_000, "WRITE")

    with pytest.raises(StoreUnavailableError, match=r"0\.3 s"):
        await vitals.pulse(may_begin=False)
    assert await vitals.comparisons_of_each([("support", 1)]) == [0]

    await admin.execute_command("CLIENT", "UNPAUSE")
    assert (await vitals.pulse(may_begin=False)).id == first.id


def test_a_pulse_tries_every_command_that_any_script_writes_with() -> None:
    """A script with a new command needs it here as well, or its absence would go unseen."""
    assert {name for name, commands in _written().items() if not commands} == READS
    written = _written()
    gateways = {name: commands for name, commands in written.items() if name not in BY_COMMANDS}
    assert set().union(*gateways.values()) <= written["pulse"]


def _written() -> dict[str, set[str]]:
    """The commands that each script writes with."""
    reads = {"EXISTS", "GET", "HEXISTS", "HGET", "HGETALL", "HMGET", "LINDEX", "LLEN", "LRANGE", "TIME"}
    reads |= {
        "HSCAN",
        "HVALS",
        "PTTL",
        "TYPE",
        "XLEN",
        "XREVRANGE",
        "ZCARD",
        "ZRANGE",
        "ZRANGEBYSCORE",
        "ZREVRANGE",
        "ZSCORE",
    }
    found = {name: set(re.findall(r"redis\.call\('([A-Z]+)'", text)) for name, text in _texts().items()}
    return {name: commands - reads for name, commands in found.items()}


async def test_reads_go_on_while_refused_writes_close_connections(admin: Redis, redis: Redis) -> None:
    """A demoted server answers reads, and none fails while writes look for another server."""
    store = PolicyStore(redis, timeout_seconds=impatient(5))
    await planned(store)
    await demoted(admin)

    async def write() -> None:
        for _ in range(20):
            with pytest.raises(StoreRefusedError):
                await prefer(store, "u")

    async def read() -> None:
        for _ in range(100):
            await store.view(NAME)

    await asyncio.gather(*(read() for _ in range(5)), *(write() for _ in range(3)))


async def test_a_demoted_server_is_left_and_its_successor_used(
    tmp_path: Path, own_server: StoreServer, admin: Redis
) -> None:
    """The address leads to the new primary, and open connections to the old one are dropped."""
    successor = type(own_server)(tmp_path / "successor")
    successor.start()
    leads_to = [own_server.url]
    connections: list[asyncio.StreamWriter] = []

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = connect(leads_to[0]).connection_pool.connection_kwargs
        if "path" in there:
            inner, outer = await asyncio.open_unix_connection(there["path"])
        else:
            inner, outer = await asyncio.open_connection(there["host"], there["port"])
        connections.append(outer)
        await asyncio.gather(_copy(reader, outer), _copy(inner, writer))

    proxy = await asyncio.start_server(forward, "127.0.0.1", 0)
    port = proxy.sockets[0].getsockname()[1]
    store = PolicyStore(
        connect(f"redis://127.0.0.1:{port}", timeout_seconds=impatient(5)), timeout_seconds=impatient(5)
    )
    await planned(store)
    await asyncio.gather(*(prefer(store, f"u{index}") for index in range(8)))

    leads_to[0] = successor.url
    await demoted(admin)
    with pytest.raises(StoreRefusedError, match="READONLY"):
        await prefer(store, "after")

    await planned(store)
    assert (await prefer(store, "after")).receipt is Receipt.COUNTED
    assert len(await store.events("support")) == 1
    await store.aclose()
    proxy.close()
    for each in connections:
        each.close()
    successor.stop()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while block := await source.read(65536):
            target.write(block)
    target.close()


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (ReadOnlyError("You can't write against a read only replica.", status_code="READONLY"), "READONLY"),
        (ResponseError("Error running script: @user_script:1: -OOM command not allowed"), "OOM"),
        (ResponseError("MISCONF Redis is configured to save RDB snapshots"), "MISCONF"),
        (ResponseError("The user executing the script can't run this command or subcommand"), "NOPERM"),
        (ResponseError("value is not an integer or out of range"), None),
        (ResponseError("a MISCONFIGURED thing"), None),
    ],
)
def test_a_servers_word_is_found_however_it_is_handed_on(error: ResponseError, word: str | None) -> None:
    """Older servers wrap a script's error into a sentence; other errors are none of the table's."""
    assert word_of(error) == word
