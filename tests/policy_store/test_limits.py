"""Limits in the store: never more than allowed in a minute, for all processes together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from policy_store.connect import connect
from policy_store.limits import Account, Lease, LimitStore, Returned, Wanted
from policy_store.names import Names
from tests.pace import PATIENCE_SECONDS


@pytest.fixture
async def redis(store_url: str) -> AsyncIterator[Redis]:
    """An empty store, on each kind of server."""
    redis = connect(store_url, timeout_seconds=PATIENCE_SECONDS)
    yield redis
    await redis.aclose()


@pytest.fixture
def limits(redis: Redis) -> LimitStore:
    """The limits in it."""
    return LimitStore(redis, timeout_seconds=PATIENCE_SECONDS)


async def requests(
    limits: LimitStore, limit: int, now: int, *, ahead: int = 0, least: int = 1, **more: Any
) -> Lease:
    """Lease so many requests."""
    account = Account("app", "one", requests=Wanted(limit, least, now, ahead), **more)
    return (await limits.lease(account)).requests


async def move_back(redis: Redis, seconds: int, which: int = 0) -> None:
    """Let everything used so far have happened earlier."""
    key = Names().limits("app")[which]
    used = await redis.hgetall(key)
    await redis.delete(key)
    await redis.hset(key, mapping={str(int(at) - seconds): amount for at, amount in used.items()})


async def test_no_more_than_the_limit_is_leased(limits: LimitStore) -> None:
    """The rest is leased, and after that nothing."""
    assert (await requests(limits, 10, 7)).amount == 7
    rest = await requests(limits, 10, 7)
    assert (rest.amount, rest.left) == (3, 0)
    assert (await requests(limits, 10, 1)).amount == 0


async def test_many_at_once_get_no_more_than_the_limit(limits: LimitStore) -> None:
    """Two hundred processes ask for three each; a thousandth too many would show."""
    leases = await asyncio.gather(*(requests(limits, 500, 3, least=3) for _ in range(200)))
    assert sum(lease.amount for lease in leases) == 498  # two are left, which is less than anyone wants


async def test_usage_counts_for_a_minute(limits: LimitStore, redis: Redis) -> None:
    """A lease taken 61 seconds ago counts, for it may have been used 60 seconds ago; one of 62 does not."""
    await requests(limits, 10, 10)
    await move_back(redis, 60)
    assert (await requests(limits, 10, 1)).amount == 0
    await move_back(redis, 2)
    assert (await requests(limits, 10, 1)).amount == 1


async def test_who_is_refused_hears_when_it_fits(limits: LimitStore, redis: Redis) -> None:
    """The oldest usage that has to go decides, not the newest."""
    await requests(limits, 10, 4)
    await move_back(redis, 30)
    await requests(limits, 10, 6)

    few, many = await requests(limits, 10, 3, least=3), await requests(limits, 10, 5, least=5)

    assert few.amount == many.amount == 0
    assert 30 < few.wait_seconds <= 32
    assert 60 < many.wait_seconds <= 62
    assert 60 < few.reset_seconds <= 62


async def test_who_gets_a_part_hears_when_the_rest_fits(limits: LimitStore) -> None:
    """What was leased a moment ago has to go as well."""
    lease = await requests(limits, 10, 12)
    assert lease.amount == 10
    assert 60 < lease.wait_seconds <= 62


async def test_ahead_is_given_only_while_plenty_is_left(limits: LimitStore) -> None:
    """A lease is at most an eighth of the rest, so a process holds little while another is refused."""
    assert (await requests(limits, 100, 4, ahead=50)).amount == 4 + 12
    await requests(limits, 100, 80)
    assert (await requests(limits, 100, 2, ahead=50)).amount == 2


async def test_what_is_returned_can_be_leased_again(limits: LimitStore) -> None:
    """Returned tokens are taken from the second of their lease, and no account goes below zero."""
    granted = await limits.lease(Account("app", "one", requests=Wanted(10, 1, 10)))
    returned = (Returned("requests", granted.second, 4),)
    assert (await requests(limits, 10, 9, returned=returned)).amount == 4

    free = (Returned("requests", granted.second, 1000), Returned("requests", granted.second - 5, 1000))
    assert (await requests(limits, 10, 99, returned=free)).amount <= 10


async def test_tokens_used_beyond_a_lease_count(limits: LimitStore) -> None:
    """Tokens count even beyond the limit, and nothing is leased until they have expired."""
    await limits.lease(Account("app", "one", tokens=Wanted(1000, 100, 100), owed=1500))
    granted = await limits.lease(Account("app", "two", tokens=Wanted(1000, 1, 1)))
    assert (granted.tokens.amount, granted.tokens.left) == (0, 0)
    assert granted.tokens.wait_seconds > 60


async def test_requests_under_way_are_shared_between_processes(limits: LimitStore) -> None:
    """One gets what the others leave, and what one lets go of another can have."""

    async def hold(holder: str, wanted: int) -> int:
        return (await limits.lease(Account("app", holder, concurrent=(5, wanted)))).concurrent

    assert await hold("one", 3) == 3
    assert await hold("two", 4) == 2
    assert await hold("one", 1) == 1
    assert await hold("two", 4) == 4
    assert await hold("one", 0) == 0
    assert await hold("two", 9) == 5


async def test_a_process_that_died_holds_nothing_for_long(limits: LimitStore, redis: Redis) -> None:
    """What it had under way is free once it did not ask again in time."""
    holders = Names().limits("app")[2]
    await redis.hset(holders, "dead", "5 1000")
    granted = await limits.lease(Account("app", "one", concurrent=(5, 4)))
    assert granted.concurrent == 4
    assert await redis.hexists(holders, "dead") == 0


async def test_keys_do_not_share_limits_and_leave_nothing_behind(limits: LimitStore, redis: Redis) -> None:
    """Each key has accounts of its own, and all of them expire."""
    await requests(limits, 5, 5)
    other = await limits.lease(Account("other", "one", Wanted(5, 1, 5), Wanted(5, 1, 5), concurrent=(5, 5)))
    assert (other.requests.amount, other.tokens.amount, other.concurrent) == (5, 5, 5)
    assert [0 < await redis.ttl(key) <= 63 for key in Names().limits("other")] == [True] * 3
