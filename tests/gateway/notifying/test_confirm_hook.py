"""The confirm hook: asked about each certified policy, it may veto the promotion until its deadline."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from gateway.config.api_keys import hash_key
from gateway.learning import confirming
from gateway.proof.recorded import read_log
from gateway.proof.verification import verify
from policy_store.connect import connect
from policy_store.replicas import ReplicaBook, ReplicaRecord
from tests.gateway.building import DECIDES_AT_ONCE, NAME, config_fields, gateway_config
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.notifying.receiver import SECRET, Answer, Receiver, Told, answers, never, receiving
from tests.gateway.process import Served
from tests.gateway.whole import Whole, quick_settings, whole_gateway
from tests.pace import PATIENCE_SECONDS
from tests.servers import RedisServer

PROMPT = "Be warm, and mention no s3cr3t."


def says(decision: str, reason: str | None = "because") -> Answer:
    """A hook's answer."""
    body = {"decision": decision, "reason": reason, "more": 1}
    return lambda _told: web.json_response({name: each for name, each in body.items() if each is not None})


def promoting(receiver: Receiver, **confirm: Any) -> dict[str, Any]:
    """An experiment that decides soon, and asks the receiver."""
    mode = confirm.pop("mode", "automatic")
    hook = {"url": receiver.url, "secret": SECRET, **confirm}
    return {
        "auth": {"keys": {"ops": {"hash": hash_key("ops"), "role": "admin"}}},
        "promotion": {**DECIDES_AT_ONCE, "min_comparisons": 10, "mode": mode, "confirm": hook},
        "epsilon": 0.1,
        "delta": 0.2,
        "traffic": {"share": 1.0, "collect": "side_by_side"},
    }


@pytest.fixture
def running(upstream: FakeUpstream, embedded_url: str) -> Callable[..., Any]:
    """A gateway whose experiment was certified for `warm`, for its admin."""

    @asynccontextmanager
    async def start(
        receiver: Receiver, clock: Callable[[], float] = time.time, **confirm: Any
    ) -> AsyncIterator[Whole]:
        fields = config_fields(api_base=upstream.api_base, **promoting(receiver, **confirm))
        fields["experiments"][NAME]["policies"]["warm"]["system"] = PROMPT
        config = gateway_config().model_validate(fields)
        async with whole_gateway(config, quick_settings(embedded_url), key="ops", clock=clock) as gateway:
            await certified(gateway)
            yield gateway

    return start


async def certified(gateway: Whole) -> None:
    """Users prefer `warm` until the evidence suffices."""
    await gateway.planned()
    for _ in range(300):
        if (await gateway.experiment())["certificate"] is not None:
            return
        answer = (await gateway.compare()).json
        texts = [choice["message"]["content"] for choice in answer["choices"]]
        await gateway.feed(id=answer["id"], preferred=texts.index("I am warm."))
    raise AssertionError("300 users were not enough")


async def stands(gateway: Whole, state: str) -> dict[str, Any]:
    """What the API says once the experiment stands there."""

    async def is_there() -> bool:
        return (await gateway.experiment())["state"] == state

    await gateway.eventually(is_there, f"the experiment to be {state}")
    return await gateway.experiment()


async def test_an_approval_promotes_and_is_on_the_log(running: Callable[..., Any]) -> None:
    """The question is signed and holds no prompt; who approved and why is verified with the rest."""
    async with receiving(says("approve", "  looks fine ")) as hook, running(hook) as gateway:
        found = await stands(gateway, "promoted")
        assert found["incumbent"] == "warm"
        told = found["by_hand"]
        assert (told["kind"], told["detail"]["actor"]) == ("approved", "confirm hook")
        assert (told["detail"]["reason"], told["detail"]["before"]) == ("looks fine", "awaiting_approval")
        verified = verify(read_log((await gateway.get(f"/v1/experiments/{NAME}/log")).body.splitlines()))
        assert verified.differences == ()
        assert [move["actor"] for move in verified.by_hand] == ["confirm hook"]

    (asked,) = hook.told
    question = asked.said["data"]
    assert asked.said["type"] == "promotion.confirm"
    assert (question["experiment"], question["incumbent"]) == (NAME, "plain")
    assert question["certificate"]["champion_name"] == "warm"
    assert question["certificate"]["comparisons"] == found["certificate"]["comparisons"]
    assert question["answer_by"] == found["certificate"]["decided_at"] + 300
    assert "s3cr3t" not in asked.body.decode()


@pytest.mark.parametrize("mode", ["automatic", "approval"])
async def test_a_veto_rejects_once(running: Callable[..., Any], mode: str) -> None:
    """A veto rejects in either mode; the log has the reason, and the certificate stays."""
    async with receiving(says("veto", "launch freeze")) as hook, running(hook, mode=mode) as gateway:
        found = await stands(gateway, "rejected")
        assert (found["incumbent"], found["certificate"]["champion_name"]) == ("plain", "warm")
        events = (await gateway.get(f"/v1/experiments/{NAME}/events")).json["data"]
        assert [event["detail"]["reason"] for event in events if event["kind"] == "rejected"] == [
            "launch freeze"
        ]
        verified = verify(read_log((await gateway.get(f"/v1/experiments/{NAME}/log")).body.splitlines()))
        assert verified.differences == ()
    assert len(hook.told) == 1


async def test_an_approval_waits_until_replicas_agree(running: Callable[..., Any], embedded_url: str) -> None:
    """If replicas come to differ before the hook answers, nothing is promoted; it is asked again later."""
    other = ReplicaRecord("other:1:1", "another configuration", asked=0, faults=0)
    may_answer = asyncio.Event()

    async def slowly(_told: Told) -> web.StreamResponse:
        await may_answer.wait()
        return web.json_response({"decision": "approve"})

    redis = connect(embedded_url)
    book = ReplicaBook(redis, timeout_seconds=PATIENCE_SECONDS)
    async with receiving(slowly, says("approve")) as hook, running(hook) as gateway:
        await gateway.eventually(lambda: hook.told, "the hook to be asked")

        async def differs() -> bool:
            await book.tell(other)
            return "config_detail" in (await gateway.get("/readyz")).json

        async def is_held() -> bool:
            return await differs() and any(line["event"] == "confirm_hook_overtaken" for line in lines)

        assert await _awaits(gateway, "awaits the answer of the confirm hook for another")
        with capture_logs() as lines:
            await gateway.eventually(differs, "the difference to be seen")
            may_answer.set()
            await gateway.eventually(is_held, "the approval to be held")
        assert await _hears(gateway, "awaiting_approval")

        await book.leave(other.name)
        await stands(gateway, "promoted")
    await redis.aclose()
    assert len(hook.told) == 2


async def test_with_approval_a_person_decides_after_the_hook(running: Callable[..., Any]) -> None:
    """The hook's approval promotes nothing, and it is not asked again."""
    async with receiving(says("approve", None)) as hook, running(hook, mode="approval") as gateway:
        await gateway.eventually(lambda: hook.told, "the hook to be asked")
        await gateway.eventually(lambda: _hears(gateway, "awaiting_approval"), "it to await a person")
        assert await _awaits(gateway, "awaits a person's approval; the confirm hook may veto it for another")
        reply = await gateway.call("POST", f"/v1/experiments/{NAME}/approve", {"reason": "agreed"})
        assert reply.json["state"] == "promoted"
        assert (await gateway.experiment())["by_hand"]["detail"]["actor"] == "ops"
    assert len(hook.told) == 1


async def _awaits(gateway: Whole, whom: str) -> bool:
    found = await gateway.experiment()
    return any(f"warm is certified and {whom}" in reason for reason in found["held"])


async def _hears(gateway: Whole, state: str) -> bool:
    return (await gateway.experiment())["state"] == state


@pytest.mark.parametrize(
    ("no_answer", "state"), [("promote", "promoted"), ("reject", "rejected"), ("wait", "awaiting_approval")]
)
@pytest.mark.parametrize("answered", [never, answers(500)], ids=["silent", "failing"])
async def test_without_an_answer_the_file_decides(
    running: Callable[..., Any], answered: Answer, no_answer: str, state: str
) -> None:
    """After the deadline the actor is the hook, and the reason says that it did not answer."""
    async with (
        receiving(answered) as hook,
        running(hook, deadline="0.3s", no_answer=no_answer) as gateway,
    ):
        found = await stands(gateway, state)
        if no_answer == "wait":
            await gateway.eventually(partial(_awaits, gateway, "awaits a person"), "it to be said")
            found = await gateway.experiment()
            assert found["held"] == found["warnings"]
            assert "gave no answer within 0.3 s. Approve or reject it" in found["held"][0]
            reply = await gateway.call("POST", f"/v1/experiments/{NAME}/reject", {"reason": "no"})
            assert reply.json["state"] == "rejected"
        else:
            assert found["by_hand"]["detail"]["actor"] == "confirm hook"
            assert found["by_hand"]["detail"]["reason"] == (
                f"No answer within 0.3 s; no_answer is {no_answer}."
            )


async def test_a_clock_that_jumps_ends_no_deadline(
    running: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deadline is measured by the store: an hour in which nothing passed decides nothing."""
    ahead, left = 0.0, []
    timed = confirming.HookQuestion.timed

    def noted(question: confirming.HookQuestion, *told: Any) -> confirming.HookQuestion:
        found = timed(question, *told)
        left.append(found.left_seconds)
        return found

    monkeypatch.setattr(confirming, "_WAITS_SECONDS", (0.02,))
    monkeypatch.setattr(confirming.HookQuestion, "timed", noted)
    async with (
        receiving(answers(500)) as hook,
        running(hook, lambda: time.time() + ahead, deadline="10m", no_answer="promote") as gateway,
    ):
        await stands(gateway, "awaiting_approval")
        ahead, before = 3600.0, len(left)
        await gateway.eventually(lambda: len(left) > before + 3, "the hook to be asked again")
        assert (await gateway.experiment())["state"] == "awaiting_approval"
        assert min(left) > 0


async def test_what_is_no_decision_is_asked_again_alike(
    running: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The question is repeated under the same id, whatever the receiver sent instead of a decision."""
    monkeypatch.setattr(confirming, "_WAITS_SECONDS", (0.0,))
    odd = [
        answers(503),
        answers(202),
        says("later"),
        lambda _told: web.Response(body=b"\xff" * 100_000),
        lambda _told: web.json_response(["approve"]),
        lambda _told: web.json_response({"decision": "approve", "reason": 7}),
    ]
    async with receiving(*odd, says("approve")) as hook, running(hook) as gateway:
        await stands(gateway, "promoted")
    assert len(hook.told) == 7
    assert len({(asked.id, asked.body) for asked in hook.told}) == 1


async def test_a_person_need_not_wait_for_the_hook(running: Callable[..., Any]) -> None:
    """The hook's answer has no effect once a person has decided."""
    async with receiving(never) as hook, running(hook) as gateway:
        await gateway.eventually(lambda: hook.told, "the hook to be asked")
        reply = await gateway.call("POST", f"/v1/experiments/{NAME}/reject", {"reason": "no"})
        assert reply.json["state"] == "rejected"
        assert (await gateway.experiment())["by_hand"]["detail"]["actor"] == "ops"


async def test_a_planner_killed_while_it_asks_is_followed_by_the_same_question(
    tmp_path: Path, upstream: FakeUpstream
) -> None:
    """The one that takes over asks under the same id, and does what is answered."""
    redis = RedisServer(tmp_path / "redis")
    redis.start()
    run = {"LLMPO_REDIS_URL": redis.url, "LLMPO_LEASE_SECONDS": "1"}
    async with receiving(never, says("approve")) as hook, aiohttp.ClientSession() as session:
        session.headers["content-type"] = "application/json"
        served = Served(tmp_path, config_fields(api_base=upstream.api_base, **promoting(hook)), session)
        try:
            gateway = await served.start(**run)
            gateway.key = "ops"
            await certified(gateway)
            await gateway.eventually(lambda: hook.told, "the hook to be asked")
            await served.kill()
            gateway = await served.start(**run)
            gateway.key = "ops"
            await stands(gateway, "promoted")
        finally:
            served.clean_up()
            redis.stop()
    assert len(hook.told) == 2
    assert json.loads(hook.told[0].body) == json.loads(hook.told[1].body)
    assert hook.told[0].id == hook.told[1].id
