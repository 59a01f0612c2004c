"""A watched promotion over HTTP: from users who change their minds to every replica serving as before."""

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
from tests.gateway.whole import Whole, eventually, quick_settings, whole_gateway
from tests.pace import impatient

WATCH = {"share": 0.5, "for": "1h", "comparisons": 400, "level": 0.3, "margin": 0.0}
ASKED: dict[str, Any] = {
    "promotion": {**DECIDES_AT_ONCE, "min_comparisons": 10, "watch": WATCH},
    "epsilon": 0.1,
    "delta": 0.2,
    "traffic": {"share": 1.0, "collect": "side_by_side"},
}
DEFAULT_REFRESH_SECONDS = 0.25


async def prefer(gateway: Whole, text: str) -> None:
    """A user who sees both answers prefers one of them; users who see one say nothing."""
    answer = (await gateway.compare()).json
    texts = [choice["message"]["content"] for choice in answer["choices"]]
    if len(texts) > 1:
        await gateway.feed(id=answer["id"], preferred=texts.index(text))


async def until(gateway: Whole, state: str, text: str) -> dict[str, Any]:
    """Users prefer an answer until the experiment stands there; what the API says of it then."""
    for _ in range(400):
        found = await gateway.experiment()
        if found["state"] == state:
            return found
        await prefer(gateway, text)
    raise AssertionError(f"400 users were not enough for {state}")


async def says(gateway: Whole, text: str) -> bool:
    """Whether that is what an ordinary answer says."""
    return (await gateway.ask()).text == text


async def test_users_who_change_their_minds_get_the_policy_before_back(
    upstream: FakeUpstream, embedded_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Promoted, watched, taken back by the gateway; both replicas serve the old policy within a second."""
    config = gateway_config(api_base=upstream.api_base, **ASKED)
    settings = quick_settings(embedded_url, refresh_seconds=DEFAULT_REFRESH_SECONDS)
    async with whole_gateway(config, settings) as one, whole_gateway(config, settings, seed=8) as other:
        await one.planned()
        await until(one, "watching", "I am warm.")
        for replica in (one, other):
            await eventually(partial(says, replica, "I am warm."), "warm serving")
        await prefer(one, "I am warm.")
        shown = (await one.experiment())["watch"]
        assert (shown["is_open"], shown["champion"], shown["previous"]) == (True, "warm", "plain")
        assert (shown["share"], shown["level"], shown["margin"]) == (0.5, 0.3, 0.0)
        assert shown["nats"] < shown["needed"]
        assert await one.metric("llmpo_watch_evidence_needed_nats", experiment=NAME) == shown["needed"]
        assert await asyncio.to_thread(main, ["experiments", "show", NAME, "--url", one.url]) == 0
        assert "Watch, going on: warm was preferred" in capsys.readouterr().out

        found = await until(one, "rolled_back", "I am plain.")
        for replica in (one, other):
            await eventually(
                partial(says, replica, "I am plain."), "plain serving again", seconds=impatient(1)
            )
        told = found["by_hand"]["detail"]
        assert (told["actor"], told["incumbent_before"], told["incumbent"]) == ("gateway", "warm", "plain")
        assert "plain turned out to be preferred to warm" in told["reason"]
        assert (await one.experiment())["watch"]["is_open"] is False
        kinds = [event["kind"] for event in found["events"]]
        assert kinds[-3:] == ["promoted", "watch_started", "rolled_back"]
        assert await other.metric("llmpo_experiment_state", experiment=NAME, state="rolled_back") == 1

        log = (await other.get(f"/v1/experiments/{NAME}/log")).body.splitlines()
        verified = verify(read_log(log))
        assert verified.differences == ()
        assert verified.watch is not None
        assert verified.watch["outcome"] == "worse"
        assert await asyncio.to_thread(main, ["verify", NAME, "--url", one.url]) == 0
        assert "evidence against the promotion" in capsys.readouterr().out


async def test_sessions_begun_before_a_promotion_take_no_part_in_its_watch(
    upstream: FakeUpstream, embedded_url: str
) -> None:
    """Earlier sessions keep their policy; sessions begun in the watch are drawn for it and counted."""
    traffic = {"share": 1.0, "collect": "matched", "unit": "session"}
    asked = {**ASKED, "traffic": traffic, "promotion": {**ASKED["promotion"], "watch": {"share": 1.0}}}
    config = gateway_config(api_base=upstream.api_base, **asked)
    async with whole_gateway(config, quick_settings(embedded_url)) as gateway:
        await gateway.planned()
        before = {
            name: (await gateway.ask(headers={"x-session-id": name})).json
            for name in (f"early-{number}" for number in range(12))
        }
        reply = await gateway.call(
            "POST", f"/v1/experiments/{NAME}/promote", {"reason": "launch day", "policy": "warm"}
        )
        assert reply.status == 200
        await gateway.eventually(partial(_is_watching, gateway), "a watch")
        await gateway.eventually(partial(says, gateway, "I am warm."), "warm serving")

        for name, answer in before.items():
            again = (await gateway.ask(headers={"x-session-id": name})).json
            assert again["choices"][0]["message"] == answer["choices"][0]["message"]
            told = (await gateway.feed(id=again["id"], signal="thumb", value=True)).json
            assert told["status"] == "not_counted"
        statuses = []
        for number in range(12):
            answer = (await gateway.ask(headers={"x-session-id": f"late-{number}"})).json
            statuses.append((await gateway.feed(id=answer["id"], signal="thumb", value=True)).json["status"])
        assert set(statuses) == {"counted", "pending"}
        found = await gateway.experiment()
        assert found["comparisons"] == 0
        assert found["watch"]["comparisons"] == statuses.count("counted")


async def _is_watching(gateway: Whole) -> bool:
    return bool((await gateway.experiment())["state"] == "watching")
