"""What the store holds of conversations, for how long, and what happens without the store."""

from __future__ import annotations

import random
import string
from typing import Any

import pytest

from policy_store.connect import connect
from tests.gateway.building import NAME, gateway_config
from tests.gateway.fake_upstream import FakeUpstream, answer
from tests.gateway.serving.regenerating.conftest import Open
from tests.gateway.serving.regenerating.talks import BOTH, Talk, counted
from tests.gateway.stored import everything
from tests.gateway.whole import Whole, quick_settings, whole_gateway
from tests.pace import impatient
from tests.servers import EmbeddedServer

OLD, NEW = "o" * 32, "n" * 32


def _words(count: int, seed: int) -> str:
    rng = random.Random(seed)
    return " ".join("".join(rng.choices(string.ascii_lowercase, k=9)) for _ in range(count))


async def test_no_word_of_a_conversation_is_in_the_store(
    open_gateway: Open, upstream: FakeUpstream, embedded_url: str
) -> None:
    """Neither of questions nor of answers, callers or idempotency keys, in any key or value."""
    texts = {"plain": _words(40, 1), "warm": _words(40, 2)}
    for model, text in texts.items():
        upstream.on(model, answer(text))
    gateway = await open_gateway()
    question, caller, attempt = _words(30, 3), _words(1, 4), _words(1, 5)
    talk = Talk(gateway, fields={"user": caller})
    await talk.ask(question, idempotency_key=attempt)
    await talk.again()
    await talk.keep(texts["warm"])
    assert counted(await gateway.experiment()) == (0, 1, 0)

    kept = await everything(embedded_url)
    assert any(b":turn:" in key for key in kept)
    said = " ".join([question, caller, attempt, *texts.values()]).split()
    assert [word for word in said if any(word.encode() in one for pair in kept.items() for one in pair)] == []


async def test_a_question_is_forgotten_after_the_time_the_file_says(
    open_gateway: Open, embedded_url: str
) -> None:
    """Soon while it was asked once; once it was asked again, when its conversation no longer counts."""
    gateway = await open_gateway(feedback={"window": "2h", "regenerate": {"within": "5m"}})
    talk = Talk(gateway)
    await talk.ask("Which way is north?")
    redis = connect(embedded_url)
    try:
        (key,) = [key for key in await redis.keys("*") if ":turn:" in str(key)]
        assert 290 <= await redis.ttl(key) <= 300
        await talk.again()
        assert 7190 <= await redis.ttl(key) <= 7200
        await talk.again()
        assert 7190 <= await redis.ttl(key) <= 7200
    finally:
        await redis.aclose()


async def test_a_question_takes_little_room_however_long_it_is(
    open_gateway: Open, upstream: FakeUpstream, embedded_url: str
) -> None:
    """A question with two answers of 5,000 words takes less than two and a half kilobytes."""
    for seed, model in enumerate(("plain", "warm")):
        upstream.on(model, answer(_words(5_000, seed)))
    gateway = await open_gateway()
    await Talk(gateway).two(_words(5_000, 9))
    redis = connect(embedded_url)
    try:
        (key,) = [key for key in await redis.keys("*") if ":turn:" in str(key)]
        assert await redis.memory_usage(key) < 2_500
    finally:
        await redis.aclose()


async def test_other_ways_ask_the_store_nothing(upstream: FakeUpstream, embedded_url: str) -> None:
    """What this way keeps is for its own experiments."""
    config = gateway_config(api_base=upstream.api_base, promotion={"min_comparisons": 10_000})
    async with whole_gateway(config, quick_settings(embedded_url)) as gateway:
        await gateway.planned()
        talk = Talk(gateway)
        await talk.keep((await talk.two())[1])
        assert not [key for key in await everything(embedded_url) if b":turn:" in key]


async def test_questions_asked_before_a_rotation_are_known_after_it(open_gateway: Open) -> None:
    """Old questions are known as long as the previous secret is set."""
    before = await open_gateway({"token_secret": OLD})
    talk = Talk(before)
    first = await talk.ask("Which way is north?")
    talk.gateway = await open_gateway({"token_secret": NEW, "previous_token_secret": OLD})
    second = await talk.again()
    assert {first, second} == BOTH
    await talk.keep(second)
    assert (await talk.gateway.experiment())["comparisons"] == 1


async def test_two_replicas_know_the_same_questions(open_gateway: Open) -> None:
    """Successive requests of a conversation may reach different processes."""
    one, other = await open_gateway(), await open_gateway()
    for number in range(4):
        talk = Talk(one)
        first = await talk.ask(f"Question {number}?")
        talk.gateway = other
        second = await talk.again()
        assert {first, second} == BOTH
        talk.gateway = one
        await talk.keep(second)
    assert (await other.experiment())["comparisons"] == 4


@pytest.mark.parametrize("fault", ["kill", "freeze"])
async def test_a_store_that_is_away_costs_the_comparison_and_no_answer(
    upstream: FakeUpstream, tmp_path: Any, fault: str
) -> None:
    """Questions are answered as if each were new; with the store back they are known again."""
    server = EmbeddedServer(tmp_path)
    server.start()
    try:
        config = gateway_config(
            api_base=upstream.api_base,
            traffic={"share": 1.0, "collect": "regenerate"},
            promotion={"min_comparisons": 10_000},
        )
        settings = quick_settings(server.url, store_timeout_seconds=impatient(0.3))
        async with whole_gateway(config, settings) as gateway:
            await gateway.planned()
            talk = Talk(gateway)
            await talk.two()
            getattr(server, fault)()
            await talk.keep("I am warm.")
            assert set(await Talk(gateway).two("And without the store?")) <= BOTH
            assert await _skipped(gateway) >= 1
            server.start() if fault == "kill" else server.thaw()
            await gateway.eventually(lambda: _compares_again(gateway), "questions known again")
    finally:
        server.stop()


async def _skipped(gateway: Whole) -> float:
    return await gateway.metric("llmpo_sticky_skipped_total", experiment=NAME)


async def _compares_again(gateway: Whole) -> bool:
    return set(await Talk(gateway).two(_words(4, random.randrange(10**9)))) == BOTH
