"""The simulated provider speaks OpenAI's wire format, as OpenAI's own client understands it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import openai
import pytest
from aiohttp.test_utils import TestServer

from gateway.demo.provider import provider_app

QUESTION = [
    {"role": "system", "content": "Answer in numbered steps."},
    {"role": "user", "content": "How do I descale my Luna 2?"},
]


@pytest.fixture
async def client() -> AsyncIterator[openai.AsyncOpenAI]:
    """The official client on a provider of its own."""
    async with (
        TestServer(provider_app(seed=1)) as server,
        openai.AsyncOpenAI(base_url=str(server.make_url("/v1")), api_key="any", max_retries=0) as client,
    ):
        yield client


async def test_a_completion_is_whole_and_readable(client: openai.AsyncOpenAI) -> None:
    """The official client parses the answer, its usage included."""
    reply = await client.chat.completions.create(model="sim-small", messages=QUESTION)
    assert reply.choices[0].finish_reason == "stop"
    assert "descaler" in (reply.choices[0].message.content or "")
    assert reply.usage is not None
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens


async def test_a_stream_carries_the_same_text(client: openai.AsyncOpenAI) -> None:
    """Streamed or not, the same prompt gets the same text; usage comes last when asked for."""
    whole = await client.chat.completions.create(model="sim-large", messages=QUESTION)
    stream = await client.chat.completions.create(
        model="sim-large", messages=QUESTION, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage


async def test_models_are_listed(client: openai.AsyncOpenAI) -> None:
    """The client's model list works."""
    assert [model.id async for model in client.models.list()] == ["sim-small", "sim-large"]


async def test_an_unknown_model_is_refused_in_openais_words(client: openai.AsyncOpenAI) -> None:
    """The client raises its own typed error and names the parameter."""
    with pytest.raises(openai.NotFoundError) as refusal:
        await client.chat.completions.create(model="gpt-9", messages=QUESTION)
    assert refusal.value.param == "model"


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b'{"model": "sim-small"}', b'{"model": "sim-small", "messages": ["hello"]}'],
    ids=["not-json", "not-an-object", "no-messages", "message-is-text"],
)
async def test_a_malformed_request_is_refused(client: openai.AsyncOpenAI, body: bytes) -> None:
    """Bad bodies get a 400 with an error object, never a stack trace."""
    with pytest.raises(openai.BadRequestError):
        await client.post(
            "/chat/completions", cast_to=object, content=body, options={"headers": {"content-type": "x"}}
        )
