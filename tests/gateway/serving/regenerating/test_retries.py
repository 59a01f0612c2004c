"""A question sent again because its answer got lost is not asked again."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.gateway.building import NAME
from tests.gateway.fake_upstream import FakeUpstream, answer, cut, stall, status
from tests.gateway.serving.regenerating.talks import BOTH, Talk
from tests.gateway.whole import CHAT, Whole

QUESTION = "Which way is north?"


async def test_a_request_of_the_same_idempotency_key_is_a_retry(gateway: Whole) -> None:
    """The same policy answers; another key, or none, asks again."""
    talk = Talk(gateway)
    first = await talk.ask(QUESTION, idempotency_key="one")
    assert await talk.again(idempotency_key="one") == first
    assert {first, await talk.again(idempotency_key="two")} == BOTH


async def test_a_library_that_says_it_retries_is_believed(gateway: Whole) -> None:
    """The official libraries count their attempts in a header."""
    talk = Talk(gateway)
    first = await talk.ask(QUESTION, x_stainless_retry_count="0")
    assert await talk.again(x_stainless_retry_count="1") == first
    second = await talk.again(x_stainless_retry_count="0")
    assert {first, second} == BOTH
    assert await talk.again(x_stainless_retry_count="1") == second


async def test_the_same_question_at_the_same_time_is_one_question(
    gateway: Whole, upstream: FakeUpstream
) -> None:
    """No user can have disliked an answer before it has ended."""
    for model in ("plain", "warm"):
        upstream.on(model, answer(pause_seconds=0.3))
    said = await asyncio.gather(*(Talk(gateway).ask(QUESTION) for _ in range(4)))
    assert len(set(said)) == 1


async def test_a_broken_stream_was_no_answer(gateway: Whole, upstream: FakeUpstream) -> None:
    """The same policy is asked once more, and only what it says then can be disliked."""
    for model in ("plain", "warm"):
        upstream.on(model, cut(after=2))
    talk = Talk(gateway, fields={"stream": True})
    await talk.ask(QUESTION)
    for model in ("plain", "warm"):
        upstream.on(model, answer())
    first = await talk.again()
    calls = [upstream.calls_of(model) for model in ("plain", "warm")]
    assert sorted(calls) == [0, 2]
    assert {first, await talk.again()} == BOTH


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_a_caller_who_left_before_the_end_asks_for_the_first_time(
    gateway: Whole, upstream: FakeUpstream, is_streamed: bool
) -> None:
    """A caller who timed out before the end also asks for the first time."""
    for model in ("plain", "warm"):
        upstream.on(model, stall(after=2))
    body = {"model": NAME, "messages": [{"role": "user", "content": QUESTION}], "stream": is_streamed}
    with pytest.raises(TimeoutError):
        async with (
            asyncio.timeout(0.3),
            gateway.session.post(gateway.url + CHAT, data=json.dumps(body)) as reply,
        ):
            await reply.read()
    await gateway.eventually(lambda: upstream.in_flight == 0, "the provider's connection closed")
    for model in ("plain", "warm"):
        upstream.on(model, answer())
    talk = Talk(gateway)
    first = await talk.ask(QUESTION)
    assert sorted(upstream.calls_of(model) for model in ("plain", "warm")) == [0, 2]
    assert {first, await talk.again()} == BOTH


async def test_a_question_that_got_an_error_was_not_answered(gateway: Whole, upstream: FakeUpstream) -> None:
    """The first answer is the one that the caller's retry gets, from the same policy."""
    for model in ("plain", "warm"):
        upstream.on(model, status(500))
    question = [{"role": "user", "content": QUESTION}]
    assert (await gateway.ask(messages=question)).status == 502
    tried_first = upstream.seen[0].body["model"]
    for model in ("plain", "warm"):
        upstream.on(model, answer())
    talk = Talk(gateway, question)
    assert await talk.again() == f"I am {tried_first}."
    await talk.keep(await talk.again())
    assert (await gateway.experiment())["comparisons"] == 1
