"""A promotion step by step over HTTP: who gets which answer, approvals on the command line, conversations."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest

from gateway.cli import main
from gateway.proof.recorded import read_log
from gateway.proof.verification import verify
from tests.gateway.building import DECIDES_AT_ONCE, NAME, gateway_config
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.whole import Whole, quick_settings, whole_gateway

STEPS = [{"share": "40%", "approval": True}, {"share": "60%", "approval": True}, "100%"]
ASKED: dict[str, Any] = {
    "promotion": {**DECIDES_AT_ONCE, "min_comparisons": 10, "mode": "staged", "steps": STEPS},
    "epsilon": 0.1,
    "delta": 0.2,
    "traffic": {"share": 1.0, "collect": "side_by_side", "unit": "session"},
}
SESSIONS = [f"session-{number}" for number in range(24)]


async def until_staged(gateway: Whole) -> None:
    """Users who see both answers prefer `warm` until it is certified."""
    await gateway.planned()
    for _ in range(300):
        if (await gateway.experiment())["state"] == "staged":
            return
        answer = (await gateway.compare()).json
        texts = [choice["message"]["content"] for choice in answer["choices"]]
        await gateway.feed(id=answer["id"], preferred=texts.index("I am warm."))
    raise AssertionError("300 users were not enough")


async def told(gateway: Whole) -> dict[str, str]:
    """What ordinary callers are told, who do not ask for two answers, by their session."""
    return {name: (await gateway.ask(headers={"x-session-id": name})).text for name in SESSIONS}


async def llmpo(gateway: Whole, verb: str, *options: str) -> int:
    """`llmpo experiments VERB`."""
    return await asyncio.to_thread(main, ["experiments", verb, NAME, *options, "--url", gateway.url])


async def _is(gateway: Whole, state: str, share: float | None) -> bool:
    """Whether the gateway serves so."""
    assert gateway.app is not None
    found = await gateway.experiment()
    stage = found["stage"] or {"shares": [None], "step": 1}
    return bool(found["state"] == state and stage["shares"][stage["step"] - 1] == share)


async def test_a_share_of_ordinary_traffic_moves_with_each_approval(
    upstream: FakeUpstream, embedded_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Conversations keep their policy from step to step, and new ones follow the share."""
    config = gateway_config(api_base=upstream.api_base, **ASKED)
    async with whole_gateway(config, quick_settings(embedded_url)) as gateway:
        await until_staged(gateway)
        await gateway.eventually(partial(_some, gateway, "I am warm."), "a share for warm")
        first = await told(gateway)
        warm = {name for name, text in first.items() if text == "I am warm."}
        assert 3 < len(warm) < 17
        labels = {"experiment": NAME, "policy": "warm", "waits_for": "approval"}
        assert await gateway.metric("llmpo_experiment_staged_share", **labels) == 0.4
        assert await llmpo(gateway, "show") == 0
        assert "Step 1 of 3: warm answers 0.4 of ordinary traffic, until a person's approval." in (
            capsys.readouterr().out
        )

        assert await llmpo(gateway, "approve", "--reason", "calm", "--policy", "warm") == 0
        await gateway.eventually(partial(_is, gateway, "staged", 0.6), "the second step")
        assert await told(gateway) == first

        assert await llmpo(gateway, "approve", "--reason", "still calm") == 0
        await gateway.eventually(partial(_some, gateway, "I am warm.", every=True), "warm for new sessions")
        found = await gateway.experiment()
        assert (found["state"], found["incumbent"], found["stage"]) == ("promoted", "warm", None)
        assert set((await told(gateway)).values()) == {"I am warm."}
        log = (await gateway.get(f"/v1/experiments/{NAME}/log")).body.splitlines()
        verified = verify(read_log(log))
        assert verified.differences == ()
        assert [move["reason"] for move in verified.by_hand] == ["calm", "still calm"]


async def _some(gateway: Whole, text: str, *, every: bool = False) -> bool:
    """Whether new callers without a session get that answer, some of them or every one."""
    texts = [(await gateway.ask()).text for _ in range(12)]
    return all(each == text for each in texts) if every else text in texts
