"""Side by side: two answers under one id, and nothing that tells them apart."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.experiments.response_ids import Assignment, Unassigned
from gateway.serving.dueling import DuelLabel, DuelStream
from tests.gateway.building import NAME
from tests.gateway.fake_upstream import FakeUpstream, answer, cut, hang_up, malformed, stall, status
from tests.gateway.live import Live
from tests.gateway.whole import eventually

MODELS = ("small", "large")


def shown_first(gateway: Live, response_id: str) -> int:
    """Index of the policy that became choice 0."""
    assignment = gateway.sealer.open(response_id)
    assert isinstance(assignment, Assignment)
    assert assignment.collect == "side_by_side"
    return (assignment.first, assignment.second)[assignment.side]


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_both_answers_come_as_choices_in_the_sealed_order(
    duel_gateway: Live, upstream: FakeUpstream, is_streamed: bool
) -> None:
    """Choice 0 is the policy the id says, choice 1 the other; over some requests both orders occur."""
    orders = set()
    for _ in range(12):
        reply = await duel_gateway.compare(stream=is_streamed)
        if is_streamed:
            response_id, said = reply.events[0]["id"], (reply.said(0), reply.said(1))
            assert reply.is_done
        else:
            choices = reply.json["choices"]
            assert [choice["index"] for choice in choices] == [0, 1]
            response_id, said = reply.json["id"], tuple(choice["message"]["content"] for choice in choices)
        first = shown_first(duel_gateway, response_id)
        assert tuple(text.strip() for text in said) == (
            f"I am {MODELS[first]}.",
            f"I am {MODELS[1 - first]}.",
        )
        orders.add(first)
    assert orders == {0, 1}


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_nothing_betrays_the_models(
    duel_gateway: Live, upstream: FakeUpstream, is_streamed: bool
) -> None:
    """One id, one model, one time; the providers' other fields are gone."""
    for model in MODELS:
        upstream.on(model, answer("Same.", system_fingerprint=f"fp_{model}", provider=model))
    reply = await duel_gateway.compare(stream=is_streamed)
    assert b"small" not in reply.body
    assert b"large" not in reply.body
    events = reply.events if is_streamed else [reply.json]
    assert len({(event["id"], event["model"], event["created"]) for event in events}) == 1
    assert events[0]["model"] == NAME


async def test_usage_is_added_up(duel_gateway: Live) -> None:
    """The sum is in a whole answer, and in a stream's last chunk if the caller asks for it."""
    total = {"prompt_tokens": 10, "completion_tokens": 14, "total_tokens": 24}
    assert (await duel_gateway.compare()).json["usage"] == total
    reply = await duel_gateway.compare(stream=True, stream_options={"include_usage": True})
    assert [event["usage"] for event in reply.events if "usage" in event] == [total]
    assert reply.events[-1]["choices"] == []
    assert "usage" not in str((await duel_gateway.compare(stream=True)).events)


async def test_usage_nobody_asked_for_is_not_shown(duel_gateway: Live, upstream: FakeUpstream) -> None:
    """Some providers end every stream with it; a last event without choices would surprise this caller."""
    for model in MODELS:
        upstream.on(model, answer("Same.", always_usage=True))
    for options in ({}, {"stream_options": {"include_usage": False}}):
        reply = await duel_gateway.compare(stream=True, **options)
        assert reply.is_done
        assert "usage" not in str(reply.events)
        assert all(event["choices"] for event in reply.events)
    reply = await duel_gateway.compare(stream=True, stream_options={"include_usage": True})
    assert reply.events[-1]["usage"]["total_tokens"] == 24


async def test_the_two_streams_are_interleaved(duel_gateway: Live, upstream: FakeUpstream) -> None:
    """A fast answer does not wait for the slow one to end."""
    upstream.on("small", answer("a b c d", pause_seconds=0.05))
    upstream.on("large", answer("a b"))
    reply = await duel_gateway.compare(stream=True)
    order = [choice["index"] for event in reply.events for choice in event["choices"]]
    slow = 0 if shown_first(duel_gateway, reply.events[0]["id"]) == 0 else 1
    fast = 1 - slow
    assert order[-1] == slow
    last_of_fast = len(order) - 1 - order[::-1].index(fast)
    assert order.index(slow) < last_of_fast < len(order) - 2


@pytest.mark.parametrize("is_streamed", [False, True])
@pytest.mark.parametrize("failing", MODELS)
async def test_if_one_fails_the_other_answers_alone(
    duel_gateway: Live, upstream: FakeUpstream, failing: str, is_streamed: bool
) -> None:
    """The caller gets an ordinary answer with one choice, which belongs to no comparison."""
    upstream.on(failing, status(500))
    reply = await duel_gateway.compare(stream=is_streamed)
    (left,) = {*MODELS} - {failing}
    assert (reply.said() if is_streamed else reply.text).strip() == f"I am {left}."
    response_id = reply.events[0]["id"] if is_streamed else reply.json["id"]
    assert duel_gateway.sealer.open(response_id) == Unassigned(NAME)
    assert duel_gateway.observer.fallbacks == [(NAME, "status_5xx")]
    assert upstream.calls_of(left) == 1


async def test_if_both_fail_the_caller_is_told(duel_gateway: Live, upstream: FakeUpstream) -> None:
    """The incumbent is one of them and is not asked twice."""
    upstream.on("small", status(429, retry_after="9"))
    upstream.on("large", hang_up())
    reply = await duel_gateway.compare()
    assert (reply.status, reply.headers["retry-after"]) == (429, "9")
    assert upstream.calls_of("small") == 1
    assert sorted(failed[1:] for failed in duel_gateway.observer.failed) == [
        ("alpha", "rate_limited"),
        ("beta", "connect"),
    ]


@pytest.mark.parametrize("behaviour", [cut(after=2), malformed(after=2)], ids=["cut", "malformed"])
async def test_if_one_breaks_after_the_first_byte_the_stream_says_so(
    duel_gateway: Live, upstream: FakeUpstream, behaviour: object
) -> None:
    """Both choices end without [DONE], and the other provider is freed."""
    upstream.on("small", behaviour)
    upstream.on("large", stall(after=1))
    reply = await duel_gateway.compare(stream=True)
    assert reply.events[-1]["error"]["type"] == "server_error"
    assert not reply.is_done
    await eventually(lambda: upstream.in_flight == 0, "both providers free")


async def test_closing_that_is_cut_short_closes_both_sides() -> None:
    """The caller may leave while one side still ends its read."""

    class Silent:
        headers = ()
        is_closed = False

        async def read(self) -> bytes:
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
            return b""

        async def aclose(self) -> None:
            self.is_closed = True

    sides = Silent(), Silent()
    stream = DuelStream(sides, DuelLabel("id", NAME, 0), shows_usage=False)
    reading = asyncio.create_task(stream.read())
    await asyncio.sleep(0)
    reading.cancel()
    closing = asyncio.create_task(stream.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    assert await asyncio.gather(reading, closing, return_exceptions=True)
    assert [side.is_closed for side in sides] == [True, True]


# Only for callers that ask for two


@pytest.mark.parametrize("is_streamed", [False, True])
@pytest.mark.parametrize("fields", [{}, {"n": None}, {"n": 1}, {"metadata": {"llmpo_choices": "1"}}])
async def test_a_caller_who_does_not_ask_for_two_gets_the_incumbents_one_answer(
    duel_gateway: Live, upstream: FakeUpstream, fields: dict[str, Any], is_streamed: bool
) -> None:
    """Most clients would run two choices together; the answer belongs to no comparison."""
    for _ in range(4):
        reply = await duel_gateway.ask(stream=is_streamed, **fields)
        events = reply.events if is_streamed else [reply.json]
        assert {choice["index"] for event in events for choice in event["choices"]} == {0}
        assert (reply.said() if is_streamed else reply.text).strip() == "I am small."
        assert duel_gateway.sealer.open(events[0]["id"]) == Unassigned(NAME)
    assert upstream.calls_of("large") == 0


@pytest.mark.parametrize(
    "asking",
    [
        {"n": 2},
        {"headers": {"x-llmpo-choices": "2"}},
        {"metadata": {"llmpo_choices": "2"}},
        {"n": 1, "headers": {"x-llmpo-choices": "2"}},
    ],
)
async def test_two_can_be_asked_for_in_three_ways(
    duel_gateway: Live, upstream: FakeUpstream, asking: dict[str, Any]
) -> None:
    """Callers may use `n`, a header or metadata, and each policy is asked for one answer."""
    reply = await duel_gateway.ask(**asking)
    assert {choice["message"]["content"] for choice in reply.json["choices"]} == {
        "I am small.",
        "I am large.",
    }
    assert all("n" not in seen.body for seen in upstream.seen)


async def test_whoever_is_outside_of_the_share_gets_one_of_the_two_asked_for(
    duel_gateway: Live, upstream: FakeUpstream
) -> None:
    """The incumbent is asked for one answer, not for two of its own, which nothing would compare."""
    duel_gateway.change(share=0.0)
    reply = await duel_gateway.compare()
    assert [choice["message"]["content"] for choice in reply.json["choices"]] == ["I am small."]
    assert "n" not in upstream.seen[0].body


async def test_a_session_is_not_assigned_by_a_request_for_one_choice(duel_gateway: Live) -> None:
    """A session that asks for one answer first may still compare later."""
    duel_gateway.change(unit="session")
    session = {"headers": {"x-session-id": "ada"}}
    assert len((await duel_gateway.ask(**session)).json["choices"]) == 1
    assert duel_gateway.observer.skipped == []  # the store, of which there is none, was not asked
    assert len((await duel_gateway.compare(**session)).json["choices"]) == 2


@pytest.mark.parametrize(
    ("asking", "param"),
    [
        ({"n": 3}, "n"),
        ({"n": 128}, "n"),
        ({"n": 0}, "n"),
        ({"headers": {"x-llmpo-choices": "3"}}, "x-llmpo-choices"),
        ({"headers": {"x-llmpo-choices": "two"}}, "x-llmpo-choices"),
        ({"metadata": {"llmpo_choices": 2}}, "metadata.llmpo_choices"),
        ({"metadata": {"llmpo_choices": ["2"]}}, "metadata.llmpo_choices"),
        ({"n": 2, "metadata": {"llmpo_choices": "3"}}, "metadata.llmpo_choices"),
    ],
)
async def test_another_number_of_choices_is_refused(
    duel_gateway: Live, upstream: FakeUpstream, asking: dict[str, Any], param: str
) -> None:
    """The error names the field at fault before any provider is asked."""
    reply = await duel_gateway.ask(**asking)
    assert (reply.status, reply.error["param"], reply.error["code"]) == (400, param, "invalid_value")
    assert upstream.seen == []


async def test_tool_calls_keep_their_own_indices(duel_gateway: Live, upstream: FakeUpstream) -> None:
    """Only the choice's index is rewritten."""
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    for model in MODELS:
        upstream.on(model, answer("x", choices=[{"index": 0, "delta": {"tool_calls": [call]}}]))
    reply = await duel_gateway.compare(stream=True)
    calls = [choice["delta"]["tool_calls"][0] for event in reply.events for choice in event["choices"]]
    assert calls == [call] * len(calls)
    assert {choice["index"] for event in reply.events for choice in event["choices"]} == {0, 1}
