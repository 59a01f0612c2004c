"""The official client, unchanged but for `base_url`."""

from __future__ import annotations

from collections.abc import AsyncIterator

import openai
import pytest

from tests.gateway.building import NAME
from tests.gateway.fake_upstream import FakeUpstream, answer, cut, status
from tests.gateway.live import Live


@pytest.fixture
async def client(gateway: Live) -> AsyncIterator[openai.AsyncOpenAI]:
    """As an application has it."""
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0) as client:
        yield client


@pytest.mark.parametrize("model", ["small", NAME])
async def test_completions(client: openai.AsyncOpenAI, gateway: Live, model: str) -> None:
    """Models and experiments answer completions in the same way."""
    answered = await client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "Hello?"}], temperature=0.3
    )
    assert (answered.choices[0].message.content or "").startswith("I am ")
    assert answered.choices[0].finish_reason == "stop"
    assert answered.usage is not None
    assert answered.usage.total_tokens == 12
    assert answered._request_id is not None
    if model == NAME:
        assert answered.model == NAME
        assert gateway.sealer.open(answered.id).experiment == NAME


@pytest.mark.parametrize("model", ["small", NAME])
async def test_streams(client: openai.AsyncOpenAI, gateway: Live, model: str) -> None:
    """Deltas, usage and the end."""
    chunks = [
        chunk
        async for chunk in await client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": "Hello?"}],
            stream=True,
            stream_options={"include_usage": True},
        )
    ]
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert said.startswith("I am ")
    assert chunks[-1].usage is not None
    assert len({chunk.id for chunk in chunks}) == 1


async def test_side_by_side(duel_gateway: Live) -> None:
    """The client reads two choices that are streamed together."""
    said = {0: "", 1: ""}
    async with openai.AsyncOpenAI(base_url=f"{duel_gateway.url}/v1", api_key="any") as client:
        async for chunk in await client.chat.completions.create(
            model=NAME, messages=[{"role": "user", "content": "Hello?"}], stream=True, n=2
        ):
            for choice in chunk.choices:
                said[choice.index] += choice.delta.content or ""
    assert {text.strip() for text in said.values()} == {"I am small.", "I am large."}


async def test_tools_pass_both_ways(
    client: openai.AsyncOpenAI, gateway: Live, upstream: FakeUpstream
) -> None:
    """Tool definitions reach the provider, tool calls the caller."""
    call = {"id": "call_1", "type": "function", "function": {"name": "now", "arguments": '{"id": "x"}'}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    for model in ("small", "large"):
        upstream.on(model, answer("", choices=[choice]))
    answered = await client.chat.completions.create(
        model=NAME,
        messages=[{"role": "user", "content": "What time is it?"}],
        tools=[{"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}}],
        parallel_tool_calls=True,
    )
    (tool_call,) = answered.choices[0].message.tool_calls or []
    assert tool_call.type == "function"
    assert tool_call.function.arguments == '{"id": "x"}'
    assert upstream.seen[0].body["tools"][0]["function"]["name"] == "now"


async def test_errors_raise_what_the_client_has_for_them(
    client: openai.AsyncOpenAI, upstream: FakeUpstream
) -> None:
    """The status and shape are those the client maps to its own exceptions."""

    async def ask(model: str, **fields: object) -> None:
        await client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "x"}], extra_body=fields
        )

    with pytest.raises(openai.NotFoundError):
        await ask("nobody")
    with pytest.raises(openai.BadRequestError, match="api_base"):
        await ask("small", api_base="http://evil")
    upstream.on("small", status(429, retry_after="1"))
    with pytest.raises(openai.RateLimitError):
        await ask("small")
    upstream.on("small", status(500))
    with pytest.raises(openai.InternalServerError):
        await ask("small")


async def test_a_broken_stream_raises(client: openai.AsyncOpenAI, upstream: FakeUpstream) -> None:
    """The client must not take half an answer for a whole one."""
    upstream.on("small", cut(after=2))
    stream = await client.chat.completions.create(
        model="small", messages=[{"role": "user", "content": "x"}], stream=True
    )
    with pytest.raises(openai.APIError, match="broke off"):
        async for _ in stream:
            pass
