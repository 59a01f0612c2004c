"""What the next request of a conversation shows of the answer before it."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.config.found_signals import FoundSignal
from tests.gateway.building import NAME
from tests.gateway.fake_upstream import Behaviour, FakeUpstream, answer, status
from tests.gateway.serving.finding.conftest import Open, found, listed
from tests.gateway.serving.regenerating.talks import Talk
from tests.gateway.whole import Whole

QUESTION = "How do I descale my Luna 2?"
LONG = (
    "Fill the tank with water and citric acid, press both buttons, and wait until the light stops blinking."
)


CALL = {"id": "c1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL]}


def _let_all(upstream: FakeUpstream, behaviour: Behaviour) -> None:
    for model in ("plain", "warm"):
        upstream.on(model, behaviour)


def _tool_call() -> Behaviour:
    """An answer of which nothing is kept, because it is more than a text."""
    return answer("", choices=[{"index": 0, "message": CALLING, "finish_reason": "tool_calls"}])


@pytest.fixture
async def talk(gateway: Whole, upstream: FakeUpstream) -> Talk:
    """A conversation whose first question was answered."""
    _let_all(upstream, answer(LONG))
    talk = Talk(gateway)
    await talk.ask(QUESTION)
    return talk


@pytest.mark.parametrize("signal", sorted(FoundSignal))
async def test_what_the_gateway_finds_takes_no_report(gateway: Whole, signal: str) -> None:
    """No client can pretend that the gateway saw it, neither with a report nor by a link."""
    answer = (await gateway.ask()).json["id"]
    reported = await gateway.feed(id=answer, signal=signal, value=True)
    linked = await gateway.call("POST", "/v1/feedback/links", {"id": answer, "signal": signal, "value": True})
    for refused in (reported, linked):
        assert (refused.status, refused.code, refused.error["param"]) == (422, "found_signal", "signal")
        assert "finds" in refused.error["message"]
    assert await gateway.metric("llmpo_feedback_discarded_total", reason="found_signal") == 2
    assert (await gateway.feed(id=answer, signal="thumb", value=True)).status == 200


async def test_an_application_reports_what_is_not_found(open_gateway: Open) -> None:
    """A name alone finds nothing, so such a signal is the application's."""
    feedback = {"hold": "1h", "signals": {"thumb": 1, "continued": 0.25}}
    gateway = await open_gateway(feedback=feedback)
    answer = (await gateway.ask()).json["id"]
    assert (await gateway.feed(id=answer, signal="continued", value=True)).status == 200


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_going_on_from_an_answer_is_found(gateway: Whole, is_streamed: bool) -> None:
    """The next turn holds the answer unchanged, and asks something else."""
    talk = Talk(gateway, fields={"stream": is_streamed})
    await talk.keep(await talk.ask(QUESTION))
    assert await found(gateway) == {"continued": 1}


@pytest.mark.parametrize(
    "same",
    [
        QUESTION,
        "how do i descale my luna 2",
        "How do I descale my Luna 2, please?",
        "How do I descale the Luna 2?",
    ],
)
async def test_the_same_question_in_other_words_is_found(talk: Talk, same: str) -> None:
    """Most words of the question come again."""
    await talk.keep(LONG, same)
    assert await found(talk.gateway) == {"reasked": 1}


@pytest.mark.parametrize("other", ["Thanks!", "Where do I get citric acid?", "And how do I clean it?"])
async def test_another_question_goes_on(talk: Talk, other: str) -> None:
    """Few words of the question come again."""
    await talk.keep(LONG, other)
    assert await found(talk.gateway) == {"continued": 1}


async def test_a_word_said_again_and_again_is_no_question_asked_again(gateway: Whole) -> None:
    """Users say "Go on" many times, and like every answer."""
    talk = Talk(gateway)
    await talk.keep(await talk.ask("Go on."), "Go on.")
    assert await found(gateway) == {"continued": 1}


@pytest.mark.parametrize("edited", [LONG.replace("both buttons", "one button"), f"{LONG} Then rinse it."])
async def test_an_edited_answer_is_found(talk: Talk, edited: str) -> None:
    """Most of the answer is left."""
    await talk.keep(edited)
    assert await found(talk.gateway) == {"corrected": 1}


@pytest.mark.parametrize("shown", [f"**{LONG}**", LONG.upper(), LONG.replace(",", " -")])
async def test_other_marks_are_no_correction(talk: Talk, shown: str) -> None:
    """Clients show answers as they like; only other words are an edit."""
    await talk.keep(shown)
    assert await found(talk.gateway) == {"continued": 1}


async def test_an_answer_that_is_not_recognised_shows_nothing(talk: Talk, upstream: FakeUpstream) -> None:
    """The conversation went on, so the answer is not abandoned either."""
    gateway = talk.gateway
    await gateway.eventually(lambda: _held(gateway, 1), "the answer would be abandoned")
    _let_all(upstream, _tool_call())
    talk.messages.append({"role": "assistant", "content": "I never said that."})
    await gateway.ask(messages=[*talk.messages, {"role": "user", "content": "Thanks!"}])
    assert await found(gateway) == {}
    assert await _held(gateway, 0)


async def _held(gateway: Whole, number: int) -> bool:
    return bool((await gateway.experiment())["reports_held"] == number)


async def test_without_a_next_request_an_answer_is_abandoned(gateway: Whole) -> None:
    """That is held from the answer on, and what is found takes its place."""
    talk = Talk(gateway)
    first = await talk.ask(QUESTION)
    await gateway.eventually(lambda: _held(gateway, 1), "the answer would be abandoned")
    await talk.keep(first)
    await gateway.eventually(lambda: _held(gateway, 2), "one outcome for each of two answers")
    assert await found(gateway) == {"continued": 1}


async def test_the_first_next_request_stands(talk: Talk) -> None:
    """A user who goes back and says something else changes nothing."""
    await talk.keep(LONG)
    await Talk(talk.gateway, talk.messages[:1]).keep(LONG, QUESTION)
    assert await found(talk.gateway) == {"continued": 1}
    assert await found(talk.gateway, "duplicate") == {"reasked": 1}


async def test_what_users_report_stands(gateway: Whole) -> None:
    """One outcome counts for an answer: a thumb before is not replaced, and one after comes too late."""
    before, after = Talk(gateway), Talk(gateway)
    rated = await gateway.ask(messages=[{"role": "user", "content": QUESTION}])
    await gateway.feed(id=rated.json["id"], signal="thumb", value=True)
    before.messages.append({"role": "user", "content": QUESTION})
    await before.keep(rated.text)
    assert await found(gateway, "duplicate") == {"continued": 1}

    again = await gateway.ask(messages=[{"role": "user", "content": "And a Luna 3?"}])
    after.messages.append({"role": "user", "content": "And a Luna 3?"})
    await after.keep(again.text)
    late = await gateway.feed(id=again.json["id"], signal="thumb", value=False)
    assert late.json["status"] == "duplicate"


async def test_a_later_report_corrects_what_was_found_where_users_may_change_their_minds(
    open_gateway: Open,
) -> None:
    """But nothing that is found ever replaces what a user said."""
    gateway = await open_gateway(feedback=listed("continued", changed_mind="replace"))
    answered = await gateway.ask(messages=[{"role": "user", "content": QUESTION}])
    talk = Talk(gateway, [{"role": "user", "content": QUESTION}])
    await talk.keep(answered.text)
    late = await gateway.feed(id=answered.json["id"], signal="thumb", value=False)
    assert late.json["status"] == "replaced"
    await talk.again()
    assert await found(gateway, "replaced") == {}


async def test_the_same_request_again_asks_again(talk: Talk) -> None:
    """In a conversation, or of a caller that names its user; others may just begin with the same words."""
    await talk.again()
    assert await found(talk.gateway) == {}
    named = Talk(talk.gateway, fields={"user": "ann"})
    await named.ask(QUESTION)
    await named.again()
    assert await found(talk.gateway) == {"reasked": 1}
    await talk.keep(LONG, "Thanks!")
    await talk.again()
    assert await found(talk.gateway) == {"reasked": 2, "continued": 1}


@pytest.mark.parametrize("header", [{"idempotency-key": "one"}, {"x-stainless-retry-count": "1"}])
async def test_a_retry_asks_nothing_again(
    gateway: Whole, upstream: FakeUpstream, header: dict[str, str]
) -> None:
    """The first answer got lost: it is neither disliked nor abandoned."""
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": QUESTION}], "user": "ann"}
    await gateway.ask(**asked, headers=header)
    await gateway.eventually(lambda: _held(gateway, 1), "the answer would be abandoned")
    _let_all(upstream, _tool_call())
    await gateway.ask(**asked, headers=header)
    assert await found(gateway) == {}
    assert await _held(gateway, 0)


async def test_nothing_is_found_across_callers(gateway: Whole) -> None:
    """A conversation of another user is another one, whatever it says."""
    ann, bob = (Talk(gateway, fields={"user": name}) for name in ("ann", "bob"))
    first = await ann.ask(QUESTION)
    bob.messages.append({"role": "user", "content": QUESTION})
    await bob.keep(first)
    assert await found(gateway) == {}


async def test_only_listed_signals_are_found(open_gateway: Open) -> None:
    """What is not listed is taken for what is, or for nothing."""
    gateway = await open_gateway(feedback=listed("reasked"))
    talk = Talk(gateway)
    answer = await talk.keep(await talk.ask(QUESTION), "Oh, thanks so much!")
    assert await found(gateway) == {}
    await talk.keep(answer, "Oh, thanks so much, friend!")
    assert await found(gateway) == {"reasked": 1}


async def test_an_answer_with_tools_shows_nothing(gateway: Whole, upstream: FakeUpstream) -> None:
    """What calls a tool is more than a text, and so is what is said after its result."""
    _let_all(upstream, _tool_call())
    talk = Talk(gateway, [{"role": "user", "content": QUESTION}])
    await gateway.ask(messages=talk.messages)
    talk.messages += [CALLING, {"role": "tool", "tool_call_id": "c1", "content": "11 pm"}]
    _let_all(upstream, answer("It is late."))
    await talk.keep(await talk.again())
    assert await found(gateway) == {}


async def test_the_incumbent_in_place_of_a_failed_policy_shows_nothing(
    gateway: Whole, upstream: FakeUpstream
) -> None:
    """Its answer is none of the pair's."""
    upstream.on("warm", status(500))
    for number in range(8):
        talk = Talk(gateway)
        await talk.keep(await talk.ask(f"{QUESTION} ({number})"))
    answered = upstream.calls_of("plain") - upstream.calls_of("warm")
    assert 0 < (await found(gateway))["continued"] <= answered


async def test_a_session_has_one_outcome(open_gateway: Open) -> None:
    """The first signal of a session stands, because all its answers come from one policy."""
    gateway = await open_gateway(traffic={"share": 1.0, "unit": "session"})
    talk = Talk(gateway, headers={"x-session-id": "s"})
    await talk.keep(await talk.ask(QUESTION))
    await talk.keep(await talk.again(), "Thanks again.")
    assert await found(gateway) == {"continued": 1}


async def test_the_store_holds_no_text(gateway: Whole, embedded_store: Any) -> None:
    """Keyed hashes only: no word of the question or the answer is in any key or value."""
    talk = Talk(gateway, fields={"user": "ann-of-the-mountains"})
    await talk.keep(await talk.ask("Where do zebras sleep in winter?"), "Do zebras sleep at all, in winter?")
    redis = embedded_store._redis
    for key in [key async for key in redis.scan_iter("*")]:
        held = f"{key} {await _all(redis, key)}"
        assert not any(word in held for word in ("zebra", "winter", "I am", "ann-of"))
    kept = [key async for key in redis.scan_iter("*:heard:*")]
    assert kept
    assert all([0 < await redis.pttl(key) <= 3_600_000 for key in kept])


async def _all(redis: Any, key: str) -> Any:
    kind = await redis.type(key)
    match kind:
        case "string":
            return await redis.get(key)
        case "hash":
            return await redis.hgetall(key)
        case "zset":
            return await redis.zrange(key, 0, -1)
        case _:
            return ""


async def test_reading_shows_it(gateway: Whole) -> None:
    """The API lists the signals with their weights, before anything was rated."""
    shown = (await gateway.experiment(NAME))["signals"]
    assert [(each["signal"], each["weight"], each["rated"]) for each in shown] == [
        ("continued", 0.25, 0),
        ("reasked", -0.5, 0),
        ("corrected", -0.75, 0),
        ("abandoned", -0.25, 0),
    ]
