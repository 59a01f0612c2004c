"""Whether users' ratings say what the signals say that were found of the same answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from policy_store.found_signals import HeardAnswer
from policy_store.store import PolicyStore
from tests.gateway.building import NAME, gateway_config
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.whole import Whole, quick_settings, whole_gateway

SIGNALS = {
    "thumb": 1,
    "copied": 0.5,
    "continued": {"weight": 0.25, "found": True},
    "reasked": {"weight": -0.5, "found": True},
    "abandoned": {"weight": -0.25, "found": True},
}


@pytest.fixture
async def gateway(upstream: FakeUpstream, embedded_url: str) -> AsyncIterator[Whole]:
    """Answers count when they are a second old."""
    config = gateway_config(
        api_base=upstream.api_base,
        feedback={"hold": "1s", "signals": SIGNALS},
        promotion={"min_comparisons": 10_000},
    )
    async with whole_gateway(config, quick_settings(embedded_url)) as gateway:
        await gateway.planned()
        yield gateway


async def _answered(gateway: Whole, question: str, then: str | None, **report: Any) -> None:
    asked = [{"role": "user", "content": question}]
    reply = await gateway.ask(messages=asked)
    if then is not None:
        kept = {"role": "assistant", "content": reply.text}
        await gateway.ask(messages=[*asked, kept, {"role": "user", "content": then}])
    said = await gateway.feed(id=reply.json["id"], **report)
    assert said.status == 200


async def test_ratings_are_compared_with_what_was_found(gateway: Whole) -> None:
    """Whichever came first and which of both counts; only what users say is a rating."""
    question = "Which way is north from {}?"
    await _answered(gateway, question.format("here"), "Thanks!", signal="thumb", value=True)
    await _answered(gateway, question.format("home"), "Which way is north?", signal="thumb", value=False)
    await _answered(gateway, question.format("town"), None, signal="thumb", value=True)
    await _answered(gateway, question.format("camp"), None, signal="copied")

    async def is_counted() -> bool:
        return sum(each["rated"] for each in (await gateway.experiment())["signals"]) == 3

    await gateway.eventually(is_counted, "three ratings once their answers count")
    shown = {each["signal"]: each for each in (await gateway.experiment())["signals"]}
    assert {name: (each["rated"], each["agreed"]) for name, each in shown.items()} == {
        "continued": (1, 1),
        "reasked": (1, 1),
        "abandoned": (1, 0),
    }
    assert shown["continued"]["chance"] == pytest.approx(2 / 3)
    labels = {"experiment": NAME, "signal": "reasked"}
    assert await gateway.metric("llmpo_experiment_signal_ratings", **labels) == 1
    chance = await gateway.metric("llmpo_experiment_signal_agreement", bound="chance", **labels)
    assert chance == pytest.approx(1 / 3)


async def test_a_signal_below_chance_is_warned_about(gateway: Whole, embedded_store: PolicyStore) -> None:
    """By name, with the figures and the remedy."""
    now = (await embedded_store.counts(NAME, 1)).now
    for number in range(60):
        found, is_good = ("reasked", number % 10 > 0) if number % 2 else ("continued", number % 4 > 0)
        digest, answer = f"d{number}", HeardAnswer(f"r{number}", "", "", "")
        await embedded_store.hear_answer(NAME, 1, f"t{number}", answer, digest, 60)
        await embedded_store.notice(NAME, 1, digest, found)
        await embedded_store.rate_answer(NAME, 1, digest, now - 1, is_good=is_good)

    async def are_counted() -> bool:
        shown = (await gateway.experiment())["signals"]
        return [each["rated"] for each in shown] == [30, 30, 0]

    await gateway.eventually(are_counted, "all ratings counted")
    reading = await gateway.experiment()
    (warning,) = [each for each in reading["warnings"] if "The signal reasked" in each]
    assert "they rated 0 of 30 such answers bad, and 25% of all answers" in warning
    below = {each["signal"]: each["below_chance"] for each in reading["signals"]}
    assert below == {"continued": True, "reasked": True, "abandoned": False}
