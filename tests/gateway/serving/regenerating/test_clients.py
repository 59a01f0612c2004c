"""Official clients, unchanged: all they do is to send the conversation again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anthropic
import openai
import pytest

from tests.gateway.api.surfaces.answers import good
from tests.gateway.building import NAME
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.serving.regenerating.conftest import Open
from tests.gateway.serving.regenerating.talks import counted
from tests.gateway.whole import Whole

Say = Callable[[list[dict[str, Any]]], Awaitable[str]]
Client = Callable[..., AbstractAsyncContextManager[Say]]


@asynccontextmanager
async def _chat(gateway: Whole, *, is_streamed: bool) -> AsyncIterator[Say]:
    client = openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0)

    async def say(messages: Any) -> str:
        if not is_streamed:
            whole = await client.chat.completions.create(model=NAME, messages=messages)
            return whole.choices[0].message.content or ""
        stream = await client.chat.completions.create(model=NAME, messages=messages, stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])

    async with client:
        yield say


@asynccontextmanager
async def _responses(gateway: Whole, *, is_streamed: bool) -> AsyncIterator[Say]:
    client = openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0)

    async def say(messages: Any) -> str:
        if not is_streamed:
            return (await client.responses.create(model=NAME, input=messages)).output_text
        stream = await client.responses.create(model=NAME, input=messages, stream=True)
        return "".join([event.delta async for event in stream if event.type == "response.output_text.delta"])

    async with client:
        yield say


@asynccontextmanager
async def _messages(gateway: Whole, *, is_streamed: bool) -> AsyncIterator[Say]:
    client = anthropic.AsyncAnthropic(base_url=gateway.url, api_key="any", max_retries=0)

    async def say(messages: Any) -> str:
        if not is_streamed:
            whole = await client.messages.create(model=NAME, messages=messages, max_tokens=50)
            return "".join(block.text for block in whole.content if block.type == "text")
        async with client.messages.stream(model=NAME, messages=messages, max_tokens=50) as stream:
            return "".join([text async for text in stream.text_stream])

    async with client:
        yield say


@pytest.mark.parametrize("is_streamed", [False, True])
@pytest.mark.parametrize("client", [_chat, _responses, _messages])
async def test_a_conversation_sent_again_is_all_it_takes(
    open_gateway: Open, upstream: FakeUpstream, client: Client, is_streamed: bool
) -> None:
    """On every surface, asking again gets the other policy, and the kept answer is preferred."""
    said = {"plain": "Go where the moss grows thickest.", "warm": 'Follow "message_stop", my friend.'}
    for model, text in said.items():
        upstream.on(model, good(text))
    gateway = await open_gateway()
    async with client(gateway, is_streamed=is_streamed) as say:
        for number in range(3):
            messages = [{"role": "user", "content": f"Which way is north, for the time {number}?"}]
            answers = {await say(messages), await say(messages)}
            assert answers == set(said.values())
            kept = {"role": "assistant", "content": said["warm"]}
            await say([*messages, kept, {"role": "user", "content": "Thanks!"}])
    assert counted(await gateway.experiment()) == (0, 3, 0)
