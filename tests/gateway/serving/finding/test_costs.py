"""What finding signals costs: nothing elsewhere, and never an answer."""

from __future__ import annotations

import random
from typing import Any

import pytest

from gateway.serving import finding
from policy_store.errors import StoreUnavailableError
from policy_store.found_signals import FoundSignalStore
from tests.gateway.api.surfaces.answers import good
from tests.gateway.building import NAME
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.serving.finding.conftest import Open, found, listed
from tests.gateway.serving.regenerating.talks import Talk
from tests.gateway.whole import Whole

QUESTION = "How do I descale my Luna 2?"
USER, ASSISTANT = "user", "assistant"
HISTORY = [{"role": USER, "content": QUESTION}, {"role": ASSISTANT, "content": "I am plain."}]


def _forbid(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note every call with which signals are found; the list stays empty without any."""
    called: list[str] = []

    def noting(name: str) -> Any:
        async def call(*_arguments: Any, **_named: Any) -> Any:
            called.append(name)
            return []

        return call

    for name in (
        "hear_answer",
        "heard_answers",
        "forget_answer",
        "notice",
        "rate_answer",
        "withdraw_missing",
    ):
        monkeypatch.setattr(FoundSignalStore, name, noting(name))
    real = finding.turns_of
    monkeypatch.setattr(finding, "turns_of", lambda *asked: called.append("turns_of") or real(*asked))
    return called


@pytest.mark.parametrize("model", [NAME, "plain"])
async def test_requests_outside_pay_nothing(
    open_gateway: Open, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    """An experiment that lists no found signal, and a plain model, hash nothing and ask nothing."""
    gateway = await open_gateway(
        feedback={"signals": {"thumb": 1, "continued": 0.5, "abandoned": -1}, "hold": "1h"}
    )
    called = _forbid(monkeypatch)
    reply = await gateway.ask(model, messages=[*HISTORY, {"role": USER, "content": "Thanks!"}], user="ann")
    if model == NAME:
        assert (await gateway.feed(id=reply.json["id"], signal="thumb", value=True)).status == 200
    assert reply.status == 200
    assert called == []


async def test_a_request_that_takes_no_part_asks_the_store_for_its_history_alone(
    open_gateway: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own answer is not kept; without a history before it there is nothing to ask for."""
    gateway = await open_gateway(traffic={"share": 0.0})
    called = _forbid(monkeypatch)
    assert (await gateway.ask(messages=HISTORY[:1])).status == 200
    assert called == ["turns_of"]


@pytest.mark.parametrize("failing", ["heard_answers", "hear_answer", "notice"])
async def test_a_store_that_is_away_costs_the_signal(
    gateway: Whole, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """Every answer arrives, streamed or not."""

    async def fail(*_arguments: Any, **_named: Any) -> Any:
        raise StoreUnavailableError("Away.")

    monkeypatch.setattr(FoundSignalStore, failing, fail)
    for is_streamed in (False, True):
        talk = Talk(gateway, fields={"stream": is_streamed})
        assert await talk.ask(QUESTION) in {"I am plain.", "I am warm."}
        await talk.keep("I am plain.")
    assert await found(gateway) == {}


async def test_a_rating_counts_without_what_is_noted_beside_it(
    gateway: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is only shown never costs a report."""

    async def fail(*_arguments: Any, **_named: Any) -> Any:
        raise StoreUnavailableError("Away.")

    monkeypatch.setattr(FoundSignalStore, "rate_answer", fail)
    assert (await gateway.thumb(good=True)).json["status"] == "held"


ODD: list[Any] = [
    *(None, 0, True, -1.5, "", " ", "\ud800", "\x00", "a" * 30_000, "日本語" * 50, QUESTION, "I am plain."),
    *([], {}, [None], [[]], ["x", 3], [{"type": "text"}], [{"type": "text", "text": None}]),
    *([{"type": "text", "text": ["x"]}], [{"type": "refusal", "refusal": "No."}], {"text": "x"}),
    *([{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "image"}]}], [{"type": 7}]),
    *([{"type": "thinking", "thinking": "x"}], [{"type": "input_text", "text": "x"}], {"a": {"b": [1]}}),
    *({"type": {}}, [{"type": ["text"], "text": "x"}]),
]
ROLES: list[Any] = [USER, ASSISTANT, "system", "tool", "developer", "function", "", None, 3, [], "USER"]


def _odd_item(rng: random.Random) -> Any:
    if rng.random() < 0.1:
        return rng.choice(ODD)
    item = {"role": rng.choice(ROLES), "content": rng.choice(ODD)}
    for name in ("tool_calls", "function_call", "id", "type", "output", "name", "status", "summary"):
        if rng.random() < 0.15:
            item[name] = rng.choice(ODD)
    return item


def _odd_history(rng: random.Random) -> list[Any]:
    """A conversation that may begin like one that was answered, and goes on in any way."""
    kept = HISTORY[: rng.randrange(3)]
    odd = [_odd_item(rng) for _ in range(rng.randrange(5))]
    asked = [{"role": USER, "content": rng.choice([QUESTION, "Thanks!", *ODD])}]
    return [*kept, *odd, *(asked if rng.random() < 0.7 else [])]


@pytest.mark.parametrize(
    ("path", "holder", "number"),
    # Messages are translated for this provider, which takes longer.
    [
        ("/v1/chat/completions", "messages", 250),
        ("/v1/messages", "messages", 60),
        ("/v1/responses", "input", 200),
    ],
)
async def test_no_history_breaks_an_answer(
    open_gateway: Open, upstream: FakeUpstream, path: str, holder: str, number: int
) -> None:
    """Any JSON in place of a conversation: an answer or a clear refusal, and never a fault."""
    gateway = await open_gateway(feedback=listed("continued", "reasked", "corrected", "abandoned"))
    for model in ("plain", "warm"):
        upstream.on(model, good("I am plain."))
    rng = random.Random(holder + path)
    statuses = set()
    for place in range(number):
        more: dict[str, Any] = {"max_tokens": 50} if path.endswith("messages") else {}
        if path.endswith("responses") and place % 3 == 0:
            more["previous_response_id"] = rng.choice(["resp_x", "", "resp_" + "A" * 136, None])
        body = {"model": NAME, holder: _odd_history(rng), "user": rng.choice(["ann", None, ""]), **more}
        reply = await gateway.call(
            "POST", path, {name: each for name, each in body.items() if each is not None}
        )
        statuses.add(reply.status)
        assert reply.status < 500, (body, reply.body)
    assert 200 in statuses
    assert sum((await found(gateway)).values()) > 0
