"""The official clients of both formats, unchanged but for their address."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anthropic
import openai
import pytest

from tests.gateway.api.surfaces.answers import TEXT, broken_off
from tests.gateway.api.surfaces.asking import MESSAGES
from tests.gateway.fake_upstream import FakeUpstream, status
from tests.gateway.live import Live


@pytest.fixture
async def client(gateway: Live) -> AsyncIterator[openai.AsyncOpenAI]:
    """OpenAI's."""
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture
async def claude(gateway: Live) -> AsyncIterator[anthropic.AsyncAnthropic]:
    """Anthropic's."""
    async with anthropic.AsyncAnthropic(base_url=gateway.url, api_key="any", max_retries=0) as client:
        yield client


@pytest.mark.parametrize("model", ["small", "support"])
async def test_responses(client: openai.AsyncOpenAI, model: str) -> None:
    """The client reads whole responses, and streamed ones through its own accumulation."""
    answered = await client.responses.create(model=model, input="Hello?")
    assert (answered.output_text, answered.status, answered.model) == (TEXT, "completed", model)
    assert answered._request_id is not None
    async with client.responses.stream(model=model, input="Hello?") as stream:
        said = "".join([event.delta async for event in stream if event.type == "response.output_text.delta"])
        final = await stream.get_final_response()
    assert said == final.output_text == TEXT
    assert final.usage is not None
    assert final.usage.total_tokens == 12


@pytest.mark.parametrize("model", ["claude-small", "claude"])
async def test_messages(claude: anthropic.AsyncAnthropic, model: str) -> None:
    """The client reads whole messages, and streamed ones through its own accumulation."""
    answered = await claude.messages.create(model=model, max_tokens=9, messages=MESSAGES)  # type: ignore[arg-type]
    assert (answered.content[0].text, answered.model) == (TEXT, model)  # type: ignore[union-attr]
    assert answered._request_id is not None
    async with claude.messages.stream(model=model, max_tokens=9, messages=MESSAGES) as stream:  # type: ignore[arg-type]
        said = "".join([text async for text in stream.text_stream])
        final = await stream.get_final_message()
    assert said == TEXT
    assert (final.model, final.usage.output_tokens, final.stop_reason) == (model, 7, "end_turn")


async def test_embeddings_and_text_completions(client: openai.AsyncOpenAI) -> None:
    """The client asks for base64 where the caller names no encoding; either is relayed."""
    embedded = await client.embeddings.create(model="small", input="Hello")
    assert embedded.data[0].embedding == [0.25, -1.0]
    completed = await client.completions.create(model="small", prompt="Hello")
    assert completed.choices[0].text == TEXT
    chunks = await client.completions.create(model="small", prompt="Hello", stream=True)
    assert "".join([chunk.choices[0].text async for chunk in chunks]) == TEXT


async def test_errors_raise_what_each_client_has_for_them(
    client: openai.AsyncOpenAI, claude: anthropic.AsyncAnthropic, upstream: FakeUpstream
) -> None:
    """Clients raise their own exceptions by status and type."""
    with pytest.raises(openai.NotFoundError):
        await client.responses.create(model="nobody", input="x")
    with pytest.raises(anthropic.NotFoundError):
        await claude.messages.create(model="nobody", max_tokens=9, messages=MESSAGES)  # type: ignore[arg-type]
    with pytest.raises(openai.BadRequestError, match="api_base"):
        await client.embeddings.create(model="small", input="x", extra_body={"api_base": "http://evil"})
    upstream.on("claude-small", status(429))
    with pytest.raises(anthropic.RateLimitError):
        await claude.messages.create(model="claude-small", max_tokens=9, messages=MESSAGES)  # type: ignore[arg-type]


async def test_broken_streams_raise(
    client: openai.AsyncOpenAI, claude: anthropic.AsyncAnthropic, upstream: FakeUpstream
) -> None:
    """No client takes half an answer for a whole one."""
    upstream.on("small", broken_off())
    events = [event async for event in await client.responses.create(model="small", input="x", stream=True)]
    assert events[-1].type == "error"
    upstream.on("claude-small", broken_off(4))
    with pytest.raises(anthropic.APIStatusError, match="broke off"):
        async with claude.messages.stream(model="claude-small", max_tokens=9, messages=MESSAGES) as stream:  # type: ignore[arg-type]
            await stream.get_final_message()
