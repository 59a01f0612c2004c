"""A judge decides an experiment whose callers see only the incumbent, on replicas that may die."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.proof.recorded import read_log
from gateway.proof.verification import verify
from tests.gateway.building import NAME
from tests.gateway.fake_upstream import FakeUpstream, answer
from tests.gateway.judging.judges import judged_fields, likes
from tests.gateway.process import Served
from tests.gateway.whole import Whole
from tests.servers import RedisServer

PROMOTION = {"min_comparisons": 20, "min_duration": "0s", "min_voters": 0}


@pytest.fixture
def redis(tmp_path: Path) -> Any:
    """A Redis server of the test's own."""
    server = RedisServer(tmp_path / "redis")
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def judged(
    tmp_path: Path, upstream: FakeUpstream, session: aiohttp.ClientSession
) -> AsyncIterator[Callable[..., Served]]:
    """Makes gateways with a judge."""
    made: list[Served] = []

    def make(**changes: Any) -> Served:
        folder = tmp_path / f"judged{len(made)}"
        folder.mkdir()
        fields = judged_fields(api_base=upstream.api_base, **{"promotion": PROMOTION, **changes})
        made.append(Served(folder, fields, session))
        return made[-1]

    yield make
    for served in made:
        served.clean_up()


async def _settled(gateway: Whole, asked: int) -> bool:
    judge = (await gateway.experiment())["judge"]
    return bool(judge["asked"] + judge["dropped"] >= asked)


async def test_a_judge_decides_while_callers_see_only_the_incumbent(
    judged: Callable[..., Served], upstream: FakeUpstream, redis: RedisServer
) -> None:
    """Two processes on one Redis, one of them killed on the way; nobody gives feedback.

    The certificate says who preferred the champion, and the log gives the same decision.
    """
    upstream.on("plain", answer("Thither."))
    upstream.on("warm", answer("Gladly: thither."))
    upstream.on("judge", likes("Gladly"))
    settings = {"LLMPO_REDIS_URL": redis.url, "LLMPO_STORE_TIMEOUT_SECONDS": "20"}
    made = [judged(delta=0.1, epsilon=0.1) for _ in range(2)]
    one, other = [await each.start(**settings) for each in made]
    await one.planned()
    for number in range(8):
        reply = await (one, other)[number % 2].ask()
        assert reply.text == "Thither."
    await one.eventually(lambda: _settled(one, 8), "eight verdicts")
    await made[0].kill()
    assert (await other.experiment())["comparisons"] == 8
    while (found := await other.experiment())["certificate"] is None:
        assert (await other.ask()).text in ("Thither.", "Gladly: thither.")

    assert found["incumbent"] == found["certificate"]["champion_name"] == "warm"
    assert found["certificate"]["judge"]["model"] == "openai/judge"
    assert found["wins"][0][1] == 0
    log = await other.get(f"/v1/experiments/{NAME}/log")
    verification = verify(read_log(log.body.splitlines()))
    assert (verification.differences, verification.champion) == ((), "warm")
    assert await other.metric("llmpo_policy_requests_total", policy="warm", role="candidate") == 0


async def test_the_daily_limit_holds_over_all_processes(
    judged: Callable[..., Served], upstream: FakeUpstream, redis: RedisServer
) -> None:
    """Two processes spend what one may, and each says why it judges no more."""
    upstream.on("judge", likes("warm"))
    prices = {"input_cost_per_token": 0.0, "output_cost_per_token": 0.001}
    # Each comparison is one answer and two verdicts of 7 tokens each, and sets 21 tokens aside.
    limits = {"spend_per_day": 0.1, "params": {"max_tokens": 7}}
    made = [judged(judge=limits, params={"max_tokens": 7}, prices=prices) for _ in range(2)]
    gateways = [await each.start(LLMPO_REDIS_URL=redis.url) for each in made]
    for number in range(12):
        await gateways[number % 2].ask()

    async def has_ended() -> bool:
        dropped = [await each.metric("llmpo_judge_dropped_total", reason="spent") for each in gateways]
        return sum(dropped) == 8

    await gateways[0].eventually(has_ended, "four comparisons for 0.084 USD, and eight refused")
    await gateways[0].eventually(lambda: _settled(gateways[0], 4), "what they cost")
    judge = (await gateways[0].experiment())["judge"]
    assert judge["usd"] == judge["usd_today"] == pytest.approx(0.084)


async def test_what_waits_is_compared_before_the_process_ends(
    judged: Callable[..., Served], upstream: FakeUpstream, redis: RedisServer
) -> None:
    """SIGTERM lets requests that wait be judged within a bound, and counts those that were not."""
    upstream.on("judge", answer("TIE", pause_seconds=0.3))
    served = judged(judge={"concurrency": 2})
    gateway = await served.start(LLMPO_REDIS_URL=redis.url, LLMPO_JUDGE_DRAIN_SECONDS="30")
    for _ in range(6):
        await gateway.ask()
    assert await served.end(signal.SIGTERM) == 0

    upstream.on("judge", answer("TIE", pause_seconds=60))
    again = await served.start(LLMPO_REDIS_URL=redis.url, LLMPO_JUDGE_DRAIN_SECONDS="0.2")
    assert (await again.experiment())["comparisons"] == 6
    await again.ask()
    assert await served.end(signal.SIGTERM) == 0
