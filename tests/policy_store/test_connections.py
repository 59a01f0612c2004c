"""Calls share a bounded number of connections, and none reads a reply that was meant for another."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from redis.exceptions import ConnectionError as NoConnectionError
from redis.exceptions import ResponseError

from policy_store.clients import ServerClient, SingleClient
from policy_store.connect import connect
from tests.pace import PATIENCE_SECONDS
from tests.servers import GROUPS, SERVERS

CONNECTIONS = 2
HASH = "llmpo:{a}:hash"
TEXT = "llmpo:{a}:text"

# The clients of clusters have no such pool, and pipelines to a cluster do not wait.
not_a_cluster = pytest.mark.parametrize(
    "store_server", sorted({*SERVERS, *GROUPS} - {"cluster"}), indirect=True
)


@pytest.fixture
async def client(store_url: str) -> AsyncIterator[ServerClient]:
    """A client with few connections, on each kind of server."""
    client = connect(store_url, timeout_seconds=PATIENCE_SECONDS, max_connections=CONNECTIONS)
    yield client
    await client.aclose()


async def test_commands_that_are_sent_at_once_have_their_replies_in_order(client: ServerClient) -> None:
    """As each would have alone: made into records where the driver does so, errors in their places."""
    pipeline = client.pipeline(transaction=False)
    pipeline.hset(HASH, mapping={"a": "1", "b": "ü"})
    pipeline.hgetall(HASH)
    pipeline.execute_command("GET", HASH)
    pipeline.execute_command("SET", TEXT, 7)
    pipeline.execute_command("GET", TEXT)
    added, found, refused, is_set, text = await pipeline.execute(raise_on_error=False)
    assert (added, found, is_set, text) == (2, {"a": "1", "b": "ü"}, True, "7")
    assert isinstance(refused, ResponseError)


async def test_an_error_is_raised_after_all_replies_were_read(client: ServerClient) -> None:
    """Otherwise the next call would read what is left."""
    for _ in range(2 * CONNECTIONS):
        pipeline = client.pipeline(transaction=False)
        pipeline.execute_command("SET", TEXT, "x")
        pipeline.execute_command("INCR", TEXT)
        pipeline.execute_command("GET", TEXT)
        with pytest.raises(ResponseError):
            await pipeline.execute()
        assert await client.get(TEXT) == "x"


@not_a_cluster
async def test_calls_beyond_the_connections_wait_for_one(client: ServerClient) -> None:
    """Many at once are all answered, each with its own reply, over no more connections than allowed."""
    assert isinstance(client, SingleClient)

    async def echo(number: int) -> list[str]:
        pipeline = client.pipeline(transaction=False)
        for part in range(3):
            pipeline.execute_command("SET", f"{TEXT}:{number}:{part}", f"{number} {part}")
            pipeline.execute_command("GET", f"{TEXT}:{number}:{part}")
        return [str(reply) for reply in await pipeline.execute()][1::2]

    found = await asyncio.gather(*map(echo, range(50)))
    assert found == [[f"{number} {part}" for part in range(3)] for number in range(50)]
    assert client.connection_pool.can_get_connection()
    assert len(client.connection_pool._available_connections) <= CONNECTIONS


@not_a_cluster
async def test_calls_get_connections_in_their_order(client: ServerClient) -> None:
    """A caller that asks again and again does not keep the others waiting."""
    done: Counter[int] = Counter()
    lead = 0

    async def repeatedly(caller: int) -> None:
        nonlocal lead
        for _ in range(5):
            await client.ping()
            done[caller] += 1
            lead = max(lead, done[caller] - min(done[each] for each in range(4 * CONNECTIONS)))

    await asyncio.gather(*map(repeatedly, range(4 * CONNECTIONS)))
    assert lead <= 2, lead


@not_a_cluster
async def test_a_caller_that_leaves_gives_its_turn_to_the_next(client: ServerClient) -> None:
    """Also if it leaves just when its turn has come."""
    assert isinstance(client, SingleClient)
    pool = client.connection_pool
    held = [await pool.get_connection() for _ in range(CONNECTIONS)]
    first, second = (asyncio.create_task(pool.get_connection()) for _ in range(2))
    await asyncio.sleep(0)
    await pool.release(held[0])
    first.cancel()
    async with asyncio.timeout(PATIENCE_SECONDS / 2):
        taken = await second
    assert first.cancelled()
    for connection in (taken, *held[1:]):
        await pool.release(connection)


async def test_a_caller_that_leaves_leaves_no_reply_behind(client: ServerClient) -> None:
    """Its connection is closed, so that the call after it has a reply of its own."""
    await client.set(TEXT, "own")
    for pause in range(8):
        pipeline = client.pipeline(transaction=False)
        for _ in range(200):
            pipeline.execute_command("INCR", f"{TEXT}:other")
        call = asyncio.create_task(pipeline.execute())
        for _ in range(pause):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        assert await asyncio.gather(*(client.get(TEXT) for _ in range(CONNECTIONS))) == ["own"] * CONNECTIONS


@not_a_cluster
async def test_a_call_waits_no_longer_than_it_may(store_url: str) -> None:
    """All connections stay in use, so it gives up; when one is given back, the next call takes it."""
    client = connect(store_url, timeout_seconds=0.05, max_connections=1)
    assert isinstance(client, SingleClient)
    try:
        pool = client.connection_pool
        connection = await pool.get_connection()
        with pytest.raises(NoConnectionError):
            await client.get(TEXT)
        waiting = asyncio.create_task(client.get(TEXT))
        await asyncio.sleep(0)
        await pool.release(connection)
        assert await waiting is None
    finally:
        await client.aclose()


async def test_a_transaction_stays_one(client: ServerClient) -> None:
    """Only commands that are sent one by one take the short way."""
    async with client.pipeline(transaction=True) as pipeline:
        pipeline.execute_command("SET", TEXT, "1")
        pipeline.execute_command("INCR", TEXT)
        assert [int(reply) for reply in await pipeline.execute()] == [1, 2]


async def test_a_new_connection_reads_no_file(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver would look its own version up on the disk, while everything else waits."""

    def version(name: str) -> str:
        raise AssertionError(name)

    monkeypatch.setattr("redis.utils.metadata.version", version)
    client = connect(store_url, timeout_seconds=PATIENCE_SECONDS)
    assert await client.get(TEXT) is None
    await client.aclose()
