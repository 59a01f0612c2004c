"""The story that docs/promotion-story.md tells, played: two gateway processes, one Redis, real HTTP."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from gateway.cli import main
from gateway.proof.recorded import read_log
from gateway.proof.verification import verify
from tests.gateway.building import NAME, config_fields
from tests.gateway.fake_upstream import FakeUpstream, answer, status
from tests.gateway.process import Served
from tests.gateway.whole import JSON, Whole, eventually
from tests.pace import impatient
from tests.servers import RedisServer

PAGE = (Path(__file__).parents[3] / "docs" / "promotion-story.md").read_text(encoding="utf-8")
FILE: dict[str, Any] = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[0])
COMMANDS: list[str] = re.findall(r"`(llmpo [^`]*?)`", " ".join(PAGE.split()))
EVENTS: list[str] = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
LIKED = {"I am plain.": 0.2, "I am warm.": 0.95}


@pytest.fixture
async def gateways(tmp_path: Path, upstream: FakeUpstream) -> AsyncIterator[tuple[Whole, Whole]]:
    """Two processes of the page's file on one Redis."""
    redis = RedisServer(tmp_path / "redis")
    redis.start()
    fields = {**config_fields(api_base=upstream.api_base), **FILE}
    next(each for each in fields["model_list"] if each["model_name"] == "warm")["fallbacks"] = ["plain"]
    async with aiohttp.ClientSession(headers=JSON) as session:
        folders = [tmp_path / name for name in ("one", "other")]
        for folder in folders:
            folder.mkdir()
        processes = [Served(folder, fields, session) for folder in folders]
        try:
            one, other = [await each.start(LLMPO_REDIS_URL=redis.url) for each in processes]
            yield one, other
        finally:
            for each in processes:
                each.clean_up()
            redis.stop()


class Users:
    """They ask both gateways in turn and say what they think, and always get an answer."""

    def __init__(self, gateways: tuple[Whole, Whole]) -> None:
        self._gateways = gateways
        self._rng = random.Random(5)
        self._asked = 0

    async def until(self, state: str) -> dict[str, Any]:
        """Users come until the experiment is in a state; what the API says of it then."""
        for _ in range(1_500):
            self._asked += 1
            gateway = self._gateways[self._asked % 2]
            reply = await gateway.ask()
            assert reply.status == 200, reply.body
            liked = self._rng.random() < LIKED[reply.text]
            await gateway.feed(id=reply.json["id"], signal="thumb", value=liked)
            if self._asked % 5 == 0 and (found := await gateway.experiment())["state"] == state:
                return found
        raise AssertionError(f"1,500 users were not enough for {state}")


async def run(command: str, gateway: Whole) -> int:
    """A command as the page has it, against a gateway; its status."""
    words = [word.strip('"') for word in re.findall(r'"[^"]*"|\S+', command)][1:]
    return await asyncio.to_thread(main, [*words, "--url", gateway.url])


async def serves(gateway: Whole, policy: str) -> bool:
    """Whether a policy serves ordinary traffic."""
    return (await gateway.experiment())["incumbent"] == policy


async def test_the_story_of_a_promotion(
    gateways: tuple[Whole, Whole], upstream: FakeUpstream, capsys: pytest.CaptureFixture[str]
) -> None:
    """Approval, steps, promotion, a regression, the rollback, proof, and the way back."""
    one, other = gateways
    approve, verify_it, readmit = COMMANDS
    users = Users(gateways)
    await one.planned()

    staged = await users.until("staged")
    assert (staged["stage"]["policy"], staged["stage"]["shares"][0]) == ("warm", 0.2)
    assert await run(approve, other) == 0
    await users.until("watching")
    for gateway in gateways:
        await eventually(partial(serves, gateway, "warm"), "warm serving")

    upstream.on("warm", *[each for _ in range(1_500) for each in (status(500), answer())])
    found = await users.until("rolled_back")
    for gateway in gateways:
        await eventually(partial(serves, gateway, "plain"), "plain serving again", seconds=impatient(1))
    reason = found["by_hand"]["detail"]["reason"]
    assert reason.startswith("error_rate: warm is worse than plain")
    assert found["guardrails"][0]["guardrail"] == "error_rate"

    assert await run(verify_it, one) == 0
    log = (await other.get(f"/v1/experiments/{NAME}/log")).body
    verified = verify(read_log(log.splitlines()))
    assert (verified.differences, verified.champion) == ((), "warm")
    assert [move["actor"] for move in verified.by_hand] == ["open", "guardrail"]
    tampered = re.sub(rb'"needed_nats":5\.\d+', b'"needed_nats":0.5', log)
    assert tampered != log
    assert verify(read_log(tampered.splitlines())).differences[0].startswith("guardrail error_rate")

    promote = {"reason": "users like it", "policy": "warm"}
    refused = await one.call("POST", f"/v1/experiments/{NAME}/promote", promote)
    assert (refused.status, refused.code) == (409, "conflict")
    assert "readmit" in refused.error["message"]
    assert await run(readmit, other) == 0
    capsys.readouterr()
    events = (await one.get(f"/v1/experiments/{NAME}/events?order=asc")).json["data"]
    assert [event["kind"] for event in events] == EVENTS
