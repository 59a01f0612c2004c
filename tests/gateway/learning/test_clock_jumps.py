"""A gateway whose clock jumps loses no feedback, counts none twice, and decides nothing early."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from policy_store.connect import connect
from tests.gateway.building import NAME, gateway_config
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.whole import Whole, quick_settings, whole_gateway

HOUR = 3600.0
WINDOW = 24 * HOUR


class Clock:
    """A clock that may be set."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture
def clock() -> Clock:
    """The gateway's clock."""
    return Clock()


@pytest.fixture
async def redis(embedded_url: str) -> AsyncIterator[Redis]:
    """A client of the store."""
    client = connect(embedded_url, timeout_seconds=5)
    yield client
    await client.aclose()


@pytest.fixture
async def gateway(upstream: FakeUpstream, embedded_url: str, clock: Clock) -> AsyncIterator[Whole]:
    """A gateway whose experiment may be decided after an hour, of which its budget needs far less."""
    config = gateway_config(
        api_base=upstream.api_base,
        traffic={"share": 1.0, "collect": "side_by_side"},
        max_comparisons=6,
        promotion={"min_comparisons": 0, "min_duration": "1h"},
    )
    async with whole_gateway(config, quick_settings(embedded_url), clock=clock) as gateway:
        await gateway.planned()
        yield gateway


@pytest.mark.parametrize("ahead", [HOUR, -HOUR, 20 * HOUR, -20 * HOUR])
async def test_feedback_counts_once_whatever_the_clock_says_in_between(
    gateway: Whole, clock: Clock, redis: Redis, ahead: float
) -> None:
    """The answer is given, reported on and reported on again at times that the clock tells differently."""
    before = (await gateway.compare()).json["id"]
    clock.ahead = ahead
    during = (await gateway.compare()).json["id"]
    assert (await gateway.feed(id=before, preferred=0)).json["status"] == "counted"
    clock.ahead = 0.0
    assert (await gateway.feed(id=during, preferred=0)).json["status"] == "counted"
    for each in (before, during):
        assert (await gateway.feed(id=each, preferred=0)).json["status"] == "duplicate"
    marks = [key async for key in redis.scan_iter(match=f"*{NAME}*:unit:*")]
    assert len(marks) == 2
    for mark in marks:  # as long as the id can be valid by a clock that is right
        assert await redis.ttl(mark) >= WINDOW + HOUR - 60


async def test_a_decision_waits_for_the_time_that_passed_in_the_store(gateway: Whole, clock: Clock) -> None:
    """`min_duration` is measured by the store, so a gateway's clock that runs ahead ends nothing early."""
    clock.ahead = 2 * HOUR
    for _ in range(6):
        sent = time.monotonic()
        assert (await gateway.feed(id=(await gateway.compare()).json["id"], preferred="tie")).status == 200

    async def is_planned_since() -> bool:
        return bool((await gateway.experiment())["plan"]["age_seconds"] < time.monotonic() - sent)

    await gateway.eventually(is_planned_since, "a look at everything counted")
    shown = await gateway.experiment()
    assert (shown["state"], shown["certificate"], shown["comparisons"]) == ("running", None, 6)


@pytest.mark.parametrize("ahead", [5 * HOUR, -5 * HOUR])
async def test_a_certificate_has_the_stores_time(gateway: Whole, clock: Clock, ahead: float) -> None:
    """Like the events beside it: a page would otherwise show a decision hours away from its promotion."""
    clock.ahead = ahead
    said = {"policy": "warm", "reason": "shown to a customer"}
    assert (await gateway.call("POST", f"/v1/experiments/{NAME}/promote", said)).status == 200
    shown = await gateway.experiment()
    promoted = shown["events"][-1]
    assert promoted["kind"] == "promoted_by_hand"
    assert abs(shown["certificate"]["decided_at"] - promoted["at"]) < HOUR
    assert abs(promoted["at"] - time.time()) < HOUR


async def test_planning_goes_on_after_a_jump_back(gateway: Whole, clock: Clock) -> None:
    """The lease and the age of plans are measured by the store."""
    clock.ahead = -2 * HOUR
    version = (await gateway.experiment())["plan"]["version"]
    assert (await gateway.feed(id=(await gateway.compare()).json["id"], preferred=0)).status == 200

    async def is_planned_again() -> bool:
        return bool((await gateway.experiment())["plan"]["version"] > version)

    await gateway.eventually(is_planned_again, "a plan after the jump")
    assert 0 <= (await gateway.experiment())["plan"]["age_seconds"] < HOUR
