"""Moves by hand, over HTTP: approve, pause, promote and roll back, on every replica."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.cli import main
from gateway.config.api_keys import hash_key
from gateway.proof.recorded import read_log
from gateway.proof.verification import verify
from tests.gateway.building import DECIDES_AT_ONCE, NAME, config_fields, gateway_config
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.process import Served
from tests.gateway.whole import Whole, eventually, quick_settings, whole_gateway
from tests.pace import impatient
from tests.servers import RedisServer

KEYS = {
    "keys": {
        "ops": {"hash": hash_key("ops"), "role": "admin"},
        "web": {"hash": hash_key("web"), "role": "client"},
    }
}
APPROVAL = {**DECIDES_AT_ONCE, "min_comparisons": 10, "mode": "approval"}
ASKED: dict[str, Any] = {
    "auth": KEYS,
    "promotion": APPROVAL,
    "epsilon": 0.1,
    "delta": 0.2,
    "traffic": {"share": 1.0, "collect": "side_by_side"},
}
DEFAULT_REFRESH = "0.25"


async def like_warm(gateway: Whole, times: int = 1) -> None:
    """Users who see both answers prefer `warm`."""
    for _ in range(times):
        answer = (await gateway.compare()).json
        texts = [choice["message"]["content"] for choice in answer["choices"]]
        reply = await gateway.feed(id=answer["id"], preferred=texts.index("I am warm."))
        assert reply.status == 200, reply.body


async def until(gateway: Whole, state: str) -> dict[str, Any]:
    """Users prefer `warm` until the experiment stands there; what the API says of it then."""
    for _ in range(300):
        found = await gateway.experiment()
        if found["state"] == state:
            return found
        await like_warm(gateway)
    raise AssertionError(f"300 users were not enough for {state}")


async def says(gateway: Whole, text: str) -> bool:
    """Whether that is what an ordinary answer says."""
    return (await gateway.ask()).text == text


async def llmpo(gateway: Whole, verb: str, *options: str) -> int:
    """`llmpo experiments VERB`, with the admin key."""
    where = ("--url", gateway.url, "--api-key", str(gateway.key))
    return await asyncio.to_thread(main, ["experiments", verb, NAME, *options, *where])


@pytest.fixture
async def replicas(upstream: FakeUpstream, tmp_path: Path) -> AsyncIterator[tuple[Whole, Whole]]:
    """Two gateway processes on a Redis, which look for changes as often as they do by default."""
    redis = RedisServer(tmp_path / "redis")
    redis.start()
    servers: list[Served] = []
    try:
        async with aiohttp.ClientSession(headers={"content-type": "application/json"}) as session:
            found = []
            for name in ("one", "other"):
                (tmp_path / name).mkdir()
                fields = config_fields(api_base=upstream.api_base, **ASKED)
                servers.append(Served(tmp_path / name, fields, session))
                whole = await servers[-1].start(
                    LLMPO_REDIS_URL=redis.url, LLMPO_REFRESH_SECONDS=DEFAULT_REFRESH
                )
                whole.key = "ops"
                found.append(whole)
            yield found[0], found[1]
    finally:
        for server in servers:
            server.clean_up()
        redis.stop()


async def test_approval_and_rollback_reach_every_replica(replicas: tuple[Whole, Whole]) -> None:
    """An approval or rollback on one replica reaches the other within a second."""
    one, other = replicas
    await one.planned()
    waiting = await until(one, "awaiting_approval")
    assert (waiting["incumbent"], waiting["certificate"]["champion_name"]) == ("plain", "warm")
    assert await says(other, "I am plain.")

    assert await llmpo(one, "approve", "--reason", "looks right", "--policy", "warm") == 0
    for replica in replicas:
        await eventually(partial(says, replica, "I am warm."), "warm serving", seconds=impatient(1))

    assert await llmpo(other, "rollback", "--reason", "refunds rose") == 0
    for replica in replicas:
        await eventually(partial(says, replica, "I am plain."), "plain serving again", seconds=impatient(1))

    for replica in replicas:
        found = await replica.experiment()
        assert (found["state"], found["incumbent"], found["may"]) == ("rolled_back", "plain", ["promote"])
        told = found["by_hand"]["detail"]
        assert (told["actor"], told["reason"]) == ("ops", "refunds rose")
        assert (told["incumbent_before"], told["incumbent"]) == ("warm", "plain")
        state = {"experiment": NAME, "state": "rolled_back"}
        assert await replica.metric("llmpo_experiment_state", **state) == 1
    log = (await one.get(f"/v1/experiments/{NAME}/log")).body.splitlines()
    verified = verify(read_log(log))
    assert verified.differences == ()
    assert [move["reason"] for move in verified.by_hand] == ["looks right", "refunds rose"]


@pytest.fixture
def running(upstream: FakeUpstream, embedded_url: str) -> Callable[..., Any]:
    """A gateway of this process, for its admin."""

    def start(**changes: Any) -> Any:
        config = gateway_config(api_base=upstream.api_base, **{**ASKED, **changes})
        return whole_gateway(config, quick_settings(embedded_url), key="ops")

    return start


async def move(gateway: Whole, verb: str, reason: str = "because", **said: Any) -> Any:
    """A move over the API."""
    return await gateway.call("POST", f"/v1/experiments/{NAME}/{verb}", {"reason": reason, **said})


async def test_what_is_rejected_leaves_the_incumbent(running: Callable[..., Any]) -> None:
    """A rejection from the command line keeps the incumbent, and the page shows the reason."""
    async with running() as gateway:
        await gateway.planned()
        await until(gateway, "awaiting_approval")
        assert await llmpo(gateway, "reject", "--reason", "too friendly") == 0
        found = await gateway.experiment()
        assert (found["state"], found["incumbent"]) == ("rejected", "plain")
        assert found["by_hand"]["detail"]["reason"] == "too friendly"


async def test_a_pause_takes_conversations_back_and_counts_what_was_given_before(
    running: Callable[..., Any],
) -> None:
    """The incumbent answers sessions that a candidate began; an answer of before is still worth its thumb."""
    traffic = {"share": 1.0, "collect": "matched", "unit": "session"}
    async with running(traffic=traffic) as gateway:
        await gateway.planned()
        sessions = {
            str(number): (await gateway.ask(headers={"x-session-id": str(number)})).json
            for number in range(20)
        }
        begun = {
            name: answer
            for name, answer in sessions.items()
            if answer["choices"][0]["message"]["content"] == "I am warm."
        }
        assert 0 < len(begun) < 20
        assert (await move(gateway, "pause")).json["state"] == "paused"

        async def taken_back() -> bool:
            texts = [(await gateway.ask(headers={"x-session-id": name})).text for name in begun]
            return set(texts) == {"I am plain."}

        await eventually(taken_back, "the incumbent answering everything")
        receipts = [
            (await gateway.feed(id=answer["id"], signal="thumb", value=True)).json["status"]
            for answer in sessions.values()
        ]
        assert set(receipts) == {"counted", "pending"}


async def test_only_admins_move_experiments_and_say_why(running: Callable[..., Any]) -> None:
    """A client's key is refused, and so is a move without a reason, with a long one, or an unknown field."""
    async with running() as gateway:
        gateway.key = "web"
        assert (await move(gateway, "pause")).status == 403
        gateway.key = "ops"
        for body in (
            {},
            {"reason": "  "},
            {"reason": "x" * 1_001},
            {"reason": "x", "who": "me"},
            {"reason": 1},
        ):
            reply = await gateway.call("POST", f"/v1/experiments/{NAME}/pause", body)
            assert (reply.status, reply.code) == (400, "invalid_value"), body
        assert (await gateway.call("POST", "/v1/experiments/none/pause", {"reason": "x"})).status == 404
        reply = await move(gateway, "approve")
        assert (reply.status, reply.code) == (409, "conflict")
        assert "is running" in reply.error["message"]
        assert (await gateway.experiment())["state"] == "running"


async def test_a_policy_promoted_by_hand_serves_and_says_so(running: Callable[..., Any]) -> None:
    """API, events and the record tell the person and the reason; nothing is claimed."""
    async with running() as gateway:
        await gateway.planned()
        await like_warm(gateway, 3)
        assert (await move(gateway, "promote", "launch day", policy="warm")).json == {
            "name": NAME,
            "generation": 1,
            "state": "promoted",
            "incumbent": "warm",
        }
        await eventually(partial(says, gateway, "I am warm."), "warm serving")
        certificate = (await gateway.experiment())["certificate"]
        assert (certificate["outcome"], certificate["guarantee"]) == ("by_hand", "none")
        assert (certificate["decided_by"], certificate["reason"]) == ("ops", "launch day")
        events = (await gateway.get(f"/v1/experiments/{NAME}/events?limit=1")).json["data"]
        assert [(event["kind"], event["detail"]["actor"]) for event in events] == [
            ("promoted_by_hand", "ops")
        ]
        assert (await gateway.get(f"/v1/experiments/{NAME}/events?limit=0")).status == 400
        assert await gateway.metric("llmpo_experiment_champion", experiment=NAME) == 0
