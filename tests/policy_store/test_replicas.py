"""What replicas tell the store of themselves, and who is forgotten."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest

from policy_store.clients import StoreClient
from policy_store.connect import connect
from policy_store.replicas import LIFETIME_SECONDS, ReplicaBook, ReplicaRecord
from tests.pace import PATIENCE_SECONDS

FIRST = ReplicaRecord("host:1:ab", "c0ffee", 0, 0)
SECOND = ReplicaRecord("host:2:cd", "decaf", 3, 1)


@pytest.fixture
async def redis(store_url: str) -> AsyncIterator[StoreClient]:
    """An empty store, on each kind of server."""
    redis = connect(store_url, timeout_seconds=PATIENCE_SECONDS)
    yield redis
    await redis.aclose()


@pytest.fixture
def book(redis: StoreClient) -> ReplicaBook:
    """Its replicas."""
    return ReplicaBook(redis, timeout_seconds=PATIENCE_SECONDS)


async def test_replicas_see_each_other(book: ReplicaBook) -> None:
    """Each replica sees all fields of the others' latest records."""
    await book.tell(FIRST)
    seen = await book.tell(SECOND)
    assert (seen.asked, seen.replicas) == (0, (FIRST, SECOND))

    seen = await book.tell(ReplicaRecord(FIRST.name, "decaf", 1, 0))
    assert [each.config_hash for each in seen.replicas] == ["decaf", "decaf"]


async def test_a_silent_replica_is_forgotten(book: ReplicaBook, redis: StoreClient) -> None:
    """It is forgotten after its lifetime by the server's clock, or at once if it says that it ends."""
    await book.tell(FIRST)
    replicas = redis.names.replicas[0]
    long_ago = int((time.time() - LIFETIME_SECONDS - 1) * 1e6)
    said = (await redis.hget(replicas, FIRST.name)).partition(" ")[2]
    await redis.hset(replicas, FIRST.name, f"{long_ago} {said}")

    assert (await book.tell(SECOND)).replicas == (SECOND,)
    assert 0 < await redis.pttl(replicas) <= LIFETIME_SECONDS * 1000
    await book.leave(SECOND.name)
    assert (await book.tell(FIRST)).replicas == (FIRST,)


async def test_wishes_to_reload_are_numbered(book: ReplicaBook) -> None:
    """Every process that reports itself sees each number."""
    assert [await book.ask_to_reload() for _ in range(2)] == [1, 2]
    assert (await book.tell(FIRST)).asked == 2


async def test_replicas_of_other_versions_may_say_more(book: ReplicaBook, redis: StoreClient) -> None:
    """Unknown fields of a replica's record are ignored."""
    await book.tell(FIRST)
    at, _, said = (await redis.hget(redis.names.replicas[0], FIRST.name)).partition(" ")
    await redis.hset(redis.names.replicas[0], FIRST.name, f'{at} {said[:-1]},"colour":"red"}}')

    assert (await book.tell(SECOND)).replicas == (FIRST, SECOND)
