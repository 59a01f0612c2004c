"""Asking again: who answers, and what the conversation that goes on comes to."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.config.api_keys import hash_key
from tests.gateway.building import NAME
from tests.gateway.fake_upstream import FakeUpstream, answer, status
from tests.gateway.serving.regenerating.conftest import Open
from tests.gateway.serving.regenerating.talks import BOTH, Talk, counted
from tests.gateway.whole import Whole

LONG = "Follow the needle of a compass, or the shadow of a stick at noon, or the pole star when it is dark."
OTHER = "Ask the sun: it rises in the east, so at dawn the north lies to the left of where it comes up."


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("is_streamed", [False, True])
async def test_what_a_conversation_goes_on_from_is_preferred(
    gateway: Whole, is_streamed: bool, place: int
) -> None:
    """The other policy answers who asks again; the answer that is sent back wins, first or second."""
    talk = Talk(gateway, fields={"stream": is_streamed})
    answers = await talk.two()
    assert set(answers) == BOTH
    await talk.keep(answers[place])
    assert counted(await gateway.experiment()) == (
        (1, 0, 0) if answers[place] == "I am plain." else (0, 1, 0)
    )
    labels = {"experiment": "support", "source": "regenerate"}
    assert await gateway.metric("llmpo_experiment_source_comparisons", **labels) == 1


async def test_the_coin_decides_who_answers_first(gateway: Whole) -> None:
    """Over many questions either policy comes first about equally often."""
    first = [await Talk(gateway).ask(f"Question {number}?") for number in range(60)]
    assert 15 <= first.count("I am plain.") <= 45


async def test_one_answer_is_no_comparison(gateway: Whole) -> None:
    """Who goes on without asking again compares nothing."""
    talk = Talk(gateway)
    await talk.keep(await talk.ask("Which way is north?"))
    assert (await gateway.experiment())["comparisons"] == 0


async def test_a_turn_is_counted_once(gateway: Whole) -> None:
    """A conversation that is sent again is not counted again, and its first continuation stands."""
    talk = Talk(gateway)
    first, second = await talk.two()
    await talk.keep(second)
    await talk.again()
    await Talk(gateway, talk.messages[:1]).keep(first, "Or the other one?")
    found = await gateway.experiment()
    assert found["comparisons"] == 1
    assert await gateway.metric("llmpo_feedback_total", signal="kept", status="duplicate") == 2
    assert counted(found)[0 if second == "I am plain." else 1] == 1


async def test_each_turn_of_a_conversation_is_a_comparison_of_its_own(gateway: Whole) -> None:
    """A later question may be asked again as well."""
    talk = Talk(gateway)
    for number in range(3):
        await talk.keep((await talk.two(f"Question {number}?"))[0])
        talk.messages.append({"role": "assistant", "content": "Well."})
    assert (await gateway.experiment())["comparisons"] == 3


async def test_a_third_answer_compares_nothing(gateway: Whole, upstream: FakeUpstream) -> None:
    """The policies go on in turn, and to keep the third answer is to keep neither of the first two."""
    for model in ("plain", "warm"):
        upstream.on(model, *(answer(f"{model.upper()} {said}") for said in ("says this.", "has no idea.")))
    talk = Talk(gateway)
    first, second = await talk.two()
    third = await talk.again()
    assert third.split()[0] == first.split()[0] != second.split()[0]
    assert await talk.again() != third
    await talk.keep(third)
    assert counted(await gateway.experiment()) == (0, 0, 1)


async def test_an_edited_answer_counts_as_the_one_it_is_most_of(
    gateway: Whole, upstream: FakeUpstream
) -> None:
    """An edited answer counts for the original if enough of it is left."""
    upstream.on("plain", answer(LONG))
    upstream.on("warm", answer(OTHER))
    talk = Talk(gateway)
    await talk.two()
    await talk.keep(LONG.replace("pole star", "polar star"))
    assert counted(await gateway.experiment()) == (1, 0, 0)


@pytest.mark.parametrize(("rule", "ties"), [("tie", 1), ("ignore", 0)])
async def test_neither_answer_kept_is_what_the_file_says(
    open_gateway: Open, upstream: FakeUpstream, rule: str, ties: int
) -> None:
    """A turn that keeps neither answer is a tie or counts for nothing."""
    gateway = await open_gateway(feedback={"regenerate": {"neither": rule}})
    talk = Talk(gateway)
    await talk.two()
    await talk.keep("Something that the caller wrote instead of both of them.")
    assert counted(await gateway.experiment()) == (0, 0, ties)


@pytest.mark.parametrize(("rule", "ties"), [("tie", 1), ("ignore", 0)])
async def test_the_same_answer_twice_is_what_the_file_says(
    open_gateway: Open, upstream: FakeUpstream, rule: str, ties: int
) -> None:
    """A tie, or nothing: two policies may well say the same."""
    for model in ("plain", "warm"):
        upstream.on(model, answer("North is up."))
    gateway = await open_gateway(feedback={"regenerate": {"identical": rule}})
    talk = Talk(gateway)
    await talk.two()
    await talk.keep("North is up.")
    assert counted(await gateway.experiment()) == (0, 0, ties)


async def test_a_higher_similarity_takes_no_edits(open_gateway: Open, upstream: FakeUpstream) -> None:
    """The threshold is the file's."""
    upstream.on("plain", answer(LONG))
    upstream.on("warm", answer(OTHER))
    gateway = await open_gateway(feedback={"regenerate": {"similarity": 1.0}})
    talk = Talk(gateway)
    await talk.two()
    await talk.keep(LONG.replace("pole star", "polar star"))
    assert counted(await gateway.experiment()) == (0, 0, 1)


@pytest.mark.parametrize(
    "same",
    [
        [{"type": "text", "text": "Which way"}, {"type": "text", "text": " is north?"}],
        "  Which way\n is north? ",
    ],
)
async def test_another_spelling_of_the_same_is_the_same_question(gateway: Whole, same: Any) -> None:
    """Clients write a text as one string or in parts, and trim it."""
    first = await Talk(gateway).ask("Which way is north?")
    assert {first, await Talk(gateway).ask(same)} == BOTH


async def test_other_instructions_are_another_question(gateway: Whole) -> None:
    """All that was said counts, so two features of an application do not answer for each other."""
    told = [{"role": "system", "content": "Be brief."}]
    for number in range(8):
        await Talk(gateway).ask(f"Question {number}?")
        await Talk(gateway, [*told]).ask(f"Question {number}?")
    assert await gateway.metric("llmpo_asked_again_total") == 0


@pytest.mark.parametrize("named", ["key", "user", "session"])
async def test_nothing_is_compared_across_callers(
    open_gateway: Open, upstream: FakeUpstream, named: str
) -> None:
    """Two API keys, users or sessions that say the same each ask for the first time."""
    keys = ("one-key", "other-key")
    hashes = {"client_keys": tuple(map(hash_key, keys)), "admin_keys": (hash_key("admin-key"),)}
    gateway = await open_gateway(hashes if named == "key" else None, key="admin-key")
    headers = [{"authorization": f"Bearer {key}"} for key in keys]
    for number in range(8):
        for caller in (0, 1):
            talk = Talk(gateway)
            if named == "key":
                talk.headers = headers[caller]
            elif named == "user":
                talk.fields = {"user": f"user-{caller}"}
            else:
                talk.headers = {"x-session-id": f"session-{caller}"}
            await talk.ask(f"Question {number}?")
    asked = await gateway.metric("llmpo_policy_requests_total", experiment="support")
    assert (asked, await gateway.metric("llmpo_asked_again_total")) == (16, 0)


async def test_a_policy_that_fails_compares_nothing(gateway: Whole, upstream: FakeUpstream) -> None:
    """The incumbent's answer in its place is none of the pair's."""
    upstream.on("warm", status(500))
    for number in range(4):
        talk = Talk(gateway)
        await talk.keep((await talk.two(f"Question {number}?"))[1])
    assert (await gateway.experiment())["comparisons"] == 0


async def test_a_share_of_the_questions_takes_part_and_stays_the_same_when_asked_again(
    open_gateway: Open,
) -> None:
    """A question that the incumbent answered is answered by the incumbent again."""
    gateway = await open_gateway(traffic={"share": 0.5})
    pairs = [await Talk(gateway).two(f"Question {number}?") for number in range(40)]
    alone = [pair for pair in pairs if pair[0] == pair[1]]
    assert {said for pair in alone for said in pair} == {"I am plain."}
    assert 8 <= len(alone) <= 32


async def test_several_choices_are_the_incumbents(gateway: Whole) -> None:
    """The incumbent answers, because the next turn would not show which of several choices it continues."""
    replies = [await Talk(gateway, fields={"n": 2}).ask(f"Question {number}?") for number in range(6)]
    assert set(replies) == {"I am plain."}


async def test_reports_are_refused_by_name(gateway: Whole) -> None:
    """An application that reports on such an answer gets an error that says why."""
    answered = await gateway.ask()
    reply = await gateway.feed(id=answered.json["id"], signal="thumb", value=True)
    assert (reply.status, reply.code) == (422, "wrong_kind")
    assert "goes on from" in reply.error["message"]


@pytest.mark.parametrize("cap", ["voter_cap", "voter_cap_per_experiment"])
async def test_a_user_has_one_vote(open_gateway: Open, cap: str) -> None:
    """The limits hold as in other ways of collecting, because one person's votes are not independent."""
    gateway = await open_gateway(feedback={cap: 1})
    for number in range(3):
        talk = Talk(gateway, fields={"user": "ann"})
        await talk.keep((await talk.two(f"Question {number}?"))[0])
    assert (await gateway.experiment())["comparisons"] == 1
    assert await gateway.metric("llmpo_feedback_discarded_total", reason=cap) == 2


async def test_a_watch_compares_as_its_experiment_does(open_gateway: Open) -> None:
    """During a watch, asking again gets the other one of the two watched policies."""
    gateway = await open_gateway(promotion={"watch": {"share": 1.0}})
    path = "/v1/experiments/support/promote"
    assert (await gateway.call("POST", path, {"reason": "launch day", "policy": "warm"})).status == 200

    async def is_watched() -> bool:
        talk = Talk(gateway)
        answers = await talk.two()
        await talk.keep(answers[0])
        watch = (await gateway.experiment())["watch"]
        return bool(set(answers) == BOTH and watch and watch["comparisons"])

    await gateway.eventually(is_watched, "a comparison in the watch")
    assert (await gateway.experiment())["certificate"]["comparisons"] == (await gateway.experiment())[
        "comparisons"
    ]


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_the_log_says_who_answered_first_and_which_builds_served(
    gateway: Whole, upstream: FakeUpstream, is_streamed: bool
) -> None:
    """The comparison's id is older than both answers; their builds are kept beside the sketches."""
    upstream.on("warm", answer(system_fingerprint=None))
    talk = Talk(gateway, fields={"stream": is_streamed})
    first, second = await talk.two()
    await talk.keep(second)

    log = await gateway.call("GET", f"/v1/experiments/{NAME}/log")
    lines = map(json.loads, log.body.splitlines())
    (compared,) = (line for line in lines if line["type"] == "comparison")
    assert compared["position"] == (0 if first == "I am plain." else 1)
    assert tuple(map(len, compared["served"])) == (12, 6)
