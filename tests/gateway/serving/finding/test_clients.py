"""Official clients, unchanged, on every kind of request: all they do is to send the conversation again."""

from __future__ import annotations

import openai
import pytest

from tests.gateway.api.surfaces.answers import good
from tests.gateway.building import NAME
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.serving.finding.conftest import found
from tests.gateway.serving.regenerating.test_clients import Client, _chat, _messages, _responses
from tests.gateway.whole import Whole

SAID = "Go where the moss grows thickest, and follow the pole star."


@pytest.mark.parametrize("is_streamed", [False, True])
@pytest.mark.parametrize("client", [_chat, _responses, _messages])
async def test_a_conversation_sent_again_shows_what_became_of_answers(
    gateway: Whole, upstream: FakeUpstream, client: Client, is_streamed: bool
) -> None:
    """Kept and edited answers, and questions asked again."""
    for model in ("plain", "warm"):
        upstream.on(model, good(SAID))
    async with client(gateway, is_streamed=is_streamed) as say:
        for kept, then in (
            (SAID, "Thanks!"),
            (SAID, "Which way is north, please?"),
            (SAID.replace("thickest", "well"), "Thanks!"),
        ):
            messages = [{"role": "user", "content": "Which way is north?"}]
            await say(messages)
            await say([*messages, {"role": "assistant", "content": kept}, {"role": "user", "content": then}])
    assert await found(gateway) == {"continued": 1, "reasked": 1, "corrected": 1}


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_a_response_that_names_the_one_before_shows_it(
    gateway: Whole, upstream: FakeUpstream, is_streamed: bool
) -> None:
    """The provider keeps the conversation, and the name says which answer it goes on from."""
    for model in ("plain", "warm"):
        upstream.on(model, good(SAID))
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0) as client:

        async def ask(text: str, after: str | None = None) -> str:
            if not is_streamed:
                made = await client.responses.create(model=NAME, input=text, previous_response_id=after)
                return made.id
            stream = await client.responses.create(
                model=NAME, input=text, previous_response_id=after, stream=True
            )
            (ended,) = [event async for event in stream if event.type == "response.completed"]
            return ended.response.id

        first = await ask("Which way is north?")
        second = await ask("Which way is south, if I may ask?", first)
        third = await ask("Which way is the south, if I may ask?", second)
        await ask("Thanks!", third)
    assert upstream.seen[-1].body["previous_response_id"].startswith("resp_")
    assert await found(gateway) == {"continued": 2, "reasked": 1}


async def test_the_same_words_after_other_answers_are_no_question_asked_again(
    gateway: Whole, upstream: FakeUpstream
) -> None:
    """What comes before a question is not in the request, so the name of the answer stands for it."""
    for model in ("plain", "warm"):
        upstream.on(model, good(SAID))
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0) as client:
        for number in range(2):
            asked = f"Which way is north, number {number}?"
            first = await client.responses.create(model=NAME, input=asked, user="ann")
            await client.responses.create(
                model=NAME, input="Tell me more.", previous_response_id=first.id, user="ann"
            )
    assert await found(gateway) == {"continued": 2}
