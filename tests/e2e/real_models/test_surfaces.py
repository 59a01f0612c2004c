"""Every kind of request to a real model server, asked directly and through the gateway: the same bytes.

What differs is listed in `VOLATILE`: ids, times and measurements, made anew for each answer.
"""

from __future__ import annotations

import re
from typing import Any

import anthropic
import httpx
import openai
import pytest

from tests.e2e.real_models.stage import MODEL, Gateway, Models
from tests.e2e.real_models.users import http
from tests.pace import PATIENCE_SECONDS

pytestmark = pytest.mark.real_models

SECONDS = PATIENCE_SECONDS
ANTHROPIC_MODEL = "smollm2-by-anthropic-format"
ASKED = "Name three colours."
SAYS = [{"role": "user", "content": "Name three colours."}]
PARTS = [{"role": "user", "content": [{"type": "text", "text": "Name three colours."}]}]
NOW = {"name": "now", "description": "The time.", "parameters": {"type": "object", "properties": {}}}
TOOL = {"type": "function", "function": NOW}
CALLED = {"id": "call_1", "type": "function", "function": {"name": "now", "arguments": "{}"}}
CHAT = {"messages": SAYS, "max_tokens": 4, "temperature": 0, "seed": 7}
REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat-two-choices": ("chat/completions", {**CHAT, "n": 2}),
    "chat-tools": ("chat/completions", {**CHAT, "tools": [TOOL], "parallel_tool_calls": True}),
    "chat-tool-result": (
        "chat/completions",
        {
            **CHAT,
            "messages": [
                *SAYS,
                {"role": "assistant", "content": None, "tool_calls": [CALLED]},
                {"role": "tool", "tool_call_id": "call_1", "content": "noon"},
            ],
        },
    ),
    "chat-parts": ("chat/completions", {**CHAT, "messages": PARTS}),
    "chat-unknown-field": ("chat/completions", {**CHAT, "sampler_of_tomorrow": 1}),
    "responses": ("responses", {"input": "Name three colours.", "max_output_tokens": 4, "temperature": 0}),
    "responses-instructed": (
        "responses",
        {"input": SAYS, "instructions": "Be brief.", "max_output_tokens": 4, "temperature": 0},
    ),
    "completions": ("completions", {"prompt": "Red, green and", "max_tokens": 4, "temperature": 0}),
    "messages": ("messages", {"messages": SAYS, "max_tokens": 4, "temperature": 0}),
    "messages-system": (
        "messages",
        {"messages": SAYS, "system": "Be brief.", "max_tokens": 4, "temperature": 0},
    ),
}
IMAGE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9"
    "awAAAABJRU5ErkJggg=="
)


def asking_about(part: dict[str, Any]) -> dict[str, Any]:
    """A chat request with a text and one more part."""
    text = {"type": "text", "text": "What is this?"}
    return {**CHAT, "messages": [{"role": "user", "content": [text, part]}]}


NEVER_STREAMED: dict[str, tuple[str, dict[str, Any]]] = {
    "embeddings": ("embeddings", {"input": "Red"}),
    "embeddings-of-several": ("embeddings", {"input": ["Red", "Green"], "encoding_format": "float"}),
    "embeddings-base64": ("embeddings", {"input": ["Red", "Green"], "encoding_format": "base64"}),
}
REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "embeddings-of-nothing": ("embeddings", {"input": ["Red", ""]}),
    "embeddings-encoding": ("embeddings", {"input": "Red", "encoding_format": "morse"}),
    "chat-part-of-no-kind": ("chat/completions", asking_about({"type": "smell", "smell": "of roses"})),
}
# The server says 500 to a picture its model cannot see.
IMAGE_CASE = ("chat/completions", asking_about({"type": "image_url", "image_url": {"url": IMAGE}}))
ALL = {**REQUESTS, **NEVER_STREAMED, **REFUSED, "chat-image": IMAGE_CASE}
VOLATILE = re.compile(
    rb'"(?:id|item_id|encrypted_content)":"[^"]*"'
    rb'|"(?:created|created_at|completed_at)":\d+'
    rb'|"timings":\{[^}]*\}'
)


def both(models: Models, gateway: Gateway, case: str, **fields: Any) -> tuple[httpx.Response, httpx.Response]:
    """The server's own answer, and the gateway's."""
    path, request = ALL[case]
    direct = {"model": MODEL, **request, **fields}
    relayed = {**direct, "model": ANTHROPIC_MODEL if path == "messages" else MODEL}
    url = f"{models.urls[MODEL]}/v1/{path}"
    http().post(url, json=direct)  # the prompt is in the server's cache from now on
    return (
        http().post(url, json=direct),
        http().post(f"{gateway.url}/v1/{path}", json=relayed),
    )


def steady(response: httpx.Response) -> bytes:
    """An answer without what varies by nature."""
    return VOLATILE.sub(b"", response.content)


@pytest.mark.parametrize("case", [*REQUESTS, *NEVER_STREAMED])
def test_an_answer_passes_byte_for_byte(models: Models, real_gateway: Gateway, case: str) -> None:
    """The body through the gateway is the server's own."""
    direct, relayed = both(models, real_gateway, case)
    assert direct.status_code == relayed.status_code == 200, relayed.text
    assert steady(relayed) == steady(direct)


@pytest.mark.parametrize("case", REQUESTS)
def test_a_stream_passes_byte_for_byte(models: Models, real_gateway: Gateway, case: str) -> None:
    """The events of a stream are the provider's bytes, to the last one."""
    direct, relayed = both(models, real_gateway, case, stream=True)
    assert direct.status_code == relayed.status_code == 200, relayed.text
    assert steady(relayed) == steady(direct)


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_says_what_the_server_said(models: Models, real_gateway: Gateway, case: str) -> None:
    """Status and words are the server's own, in OpenAI's shape: the caller can mend what they read."""
    direct, relayed = both(models, real_gateway, case)
    assert direct.status_code == relayed.status_code == 400
    assert relayed.json()["error"] == {"param": None, **direct.json()["error"]}


@pytest.mark.parametrize("is_streamed", [False, True])
def test_a_picture_the_model_cannot_see_is_a_bad_gateway(
    models: Models, real_gateway: Gateway, is_streamed: bool
) -> None:
    """What the server calls its own fault is one to the gateway, too: 502, without the server's words."""
    direct, relayed = both(models, real_gateway, "chat-image", stream=is_streamed)
    assert (direct.status_code, relayed.status_code) == (500, 502)
    assert "image input is not supported" in direct.json()["error"]["message"]
    assert relayed.json()["error"]["code"] == "upstream_status_5xx"
    assert relayed.headers["content-type"] == "application/json"


async def test_the_official_clients_read_the_same(models: Models, real_gateway: Gateway) -> None:
    """What their own types make of direct and relayed answers is equal."""
    said: list[list[str]] = []
    for url, claude in ((models.urls[MODEL], MODEL), (real_gateway.url, ANTHROPIC_MODEL)):
        async with (
            openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="x", timeout=SECONDS) as client,
            anthropic.AsyncAnthropic(base_url=url, api_key="x", timeout=SECONDS) as other,
        ):
            options: dict[str, Any] = {"model": MODEL, "temperature": 0}
            response = await client.responses.create(input=ASKED, max_output_tokens=4, **options)
            # The server's events lack indices that the client's own accumulation needs.
            events = await client.responses.create(input=ASKED, max_output_tokens=4, stream=True, **options)
            deltas = [event.delta async for event in events if event.type == "response.output_text.delta"]
            vectors = await client.embeddings.create(model=MODEL, input=["Red", "Green"])
            completed = await client.completions.create(prompt="Red, green and", max_tokens=4, **options)
            async with other.messages.stream(
                model=claude,
                extra_body={"temperature": 0},
                max_tokens=4,
                messages=SAYS,  # type: ignore[arg-type]
            ) as streamed:
                message = await streamed.get_final_message()
            said.append(
                [
                    response.output_text,
                    "".join(deltas),
                    completed.choices[0].text,
                    message.content[0].text,  # type: ignore[union-attr]
                    str([one.embedding for one in vectors.data]),
                ]
            )
    assert all(said[0])
    assert said[0] == said[1]


@pytest.mark.parametrize("path", ["responses", "chat/completions", "messages"])
def test_a_real_experiment_answers_in_every_format(real_gateway: Gateway, path: str) -> None:
    """Relayed or translated, under the experiment's name and without the model's."""
    messages = [{"role": "user", "content": "2 + 2"}]
    asked: dict[str, dict[str, Any]] = {
        "responses": {"input": "2 + 2"},
        "chat/completions": {"messages": messages},
        "messages": {"messages": messages, "max_tokens": 16},
    }
    body = {"model": "add-two-numbers", **asked[path]}
    answer = http().post(f"{real_gateway.url}/v1/{path}", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["model"] == "add-two-numbers"
    assert MODEL not in answer.text
