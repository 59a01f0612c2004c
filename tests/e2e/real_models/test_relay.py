"""What goes through the gateway to a real model server and back: nothing changes but what must."""

from __future__ import annotations

import re
from typing import Any

import httpx
import openai
import pytest

from tests.e2e.real_models.stage import MODEL, Gateway, Models
from tests.e2e.real_models.users import ask, connect, http

pytestmark = pytest.mark.real_models

REQUEST = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Name three colours."}],
    "temperature": 0,
    "max_tokens": 5,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "with-log-probabilities": {"logprobs": True, "top_logprobs": 2, "seed": 7},
    "as-json-schema": {
        "response_format": {
            "type": "json_schema",
            "json_schema": {
                "name": "c",
                "schema": {"type": "object", "properties": {"c": {"type": "string"}}},
            },
        }
    },
    "stopped": {"stop": ["red", "\n"], "frequency_penalty": 0.5},
}
# What the server itself writes differently each time.
VOLATILE = re.compile(rb'"id":"[^"]*"|"created":\d+|"timings":\{[^}]*\}')


def _post(url: str, body: dict[str, Any]) -> httpx.Response:
    return http().post(f"{url}/v1/chat/completions", json=body)


def _media_type(response: httpx.Response) -> str:
    return response.headers["content-type"].partition(";")[0]


def _bodies(models: Models, real_gateway: Gateway, body: dict[str, Any]) -> tuple[bytes, bytes]:
    """The server's own answer and the gateway's, without what varies by nature."""
    _post(models.urls[MODEL], body)  # the second time the prompt is in the server's cache, which it reports
    direct, relayed = _post(models.urls[MODEL], body), _post(real_gateway.url, body)
    assert direct.status_code == relayed.status_code
    assert _media_type(direct) == _media_type(relayed)
    return VOLATILE.sub(b"", direct.content), VOLATILE.sub(b"", relayed.content)


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_answer_passes_byte_for_byte(models: Models, real_gateway: Gateway, variant: str) -> None:
    """The body through the gateway is the server's own."""
    direct, relayed = _bodies(models, real_gateway, {**REQUEST, **VARIANTS[variant]})
    assert b'"content":' in direct
    assert relayed == direct


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_stream_passes_byte_for_byte(models: Models, real_gateway: Gateway, variant: str) -> None:
    """The events of a stream are the provider's bytes, including usage and end."""
    body = {**REQUEST, **VARIANTS[variant], "stream": True, "stream_options": {"include_usage": True}}
    direct, relayed = _bodies(models, real_gateway, body)
    assert direct.endswith(b"data: [DONE]\n\n")
    assert b'"usage":' in direct
    assert relayed == direct


def test_the_servers_refusal_reaches_the_caller(models: Models, real_gateway: Gateway) -> None:
    """A prompt longer than the model's context is refused with the server's own words."""
    body = {**REQUEST, "messages": [{"role": "user", "content": "word " * 2000}]}
    direct, relayed = _post(models.urls[MODEL], body), _post(real_gateway.url, body)
    assert (direct.status_code, relayed.status_code) == (400, 400)
    assert relayed.json()["error"]["message"] == direct.json()["error"]["message"]


@pytest.mark.parametrize("stream", [False, True])
async def test_another_providers_format_is_translated(real_gateway: Gateway, stream: bool) -> None:
    """A translated request gets the same answer as the server's OpenAI endpoint gives."""
    async with connect(real_gateway.url) as client:
        options = {"temperature": 0, "max_tokens": 5}
        _, expected = await ask(client, MODEL, "Name three colours.", stream=stream, **options)
        _, translated = await ask(
            client, "smollm2-by-anthropic-format", "Name three colours.", stream=stream, **options
        )
    assert expected[0]
    assert translated == expected


async def test_models_and_experiments_are_listed(real_gateway: Gateway) -> None:
    """The official client finds every name it may send."""
    async with openai.AsyncOpenAI(base_url=f"{real_gateway.url}/v1", api_key="none-needed") as client:
        names = {model.id async for model in client.models.list()}
    assert {"add-two-numbers", "second-letter", MODEL, "smollm2-by-anthropic-format"} <= names
