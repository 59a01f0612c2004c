"""What an experiment's response repeats of its request, as the official client reads it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from openai import AsyncOpenAI
from openai.types.responses import Response, ResponseCompletedEvent, ResponseCreatedEvent

from gateway.config.gateway_file import ModelEntry
from gateway.upstream.repeated import repeated
from tests.gateway.api.surfaces.answers import event, good
from tests.gateway.fake_upstream import Exchange, FakeUpstream
from tests.gateway.live import Live, entry, experiment, live_gateway

# litellm's own models make pydantic warn when they are first used.
pytestmark = pytest.mark.filterwarnings("ignore:.*ReadOnly.*:UserWarning")

SAID = "I am here."
# What the API itself says of a request that says nothing.
DEFAULTS: dict[str, Any] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
TOOL = {"type": "function", "name": "add", "parameters": {"type": "object", "properties": {}}}
SENT: dict[str, Any] = {
    "instructions": "Be brief.",
    "max_output_tokens": 500,
    "metadata": {"product": "kettle"},
    "reasoning": {"effort": "low"},
    "store": False,
    "temperature": 0.5,
    "text": {"verbosity": "low"},
    "tools": [TOOL],
    "user": "u",
}
POLICIES = {
    "alpha": {"model": "{}-a", "system": "You are alpha.", "params": {"temperature": 0.25}},
    "beta": {"model": "{}-b", "system": "You are beta.", "params": {"max_tokens": 77, "top_p": 0.75}},
}
# A server that speaks responses and repeats nothing, one that repeats nulls, and two that are translated.
SERVERS = ("bare", "null", "chatty", "claude")


def bare(exchange: Exchange, status: str, **fields: Any) -> dict[str, Any]:
    """A response with no more than an answer."""
    content = [{"type": "output_text", "text": SAID, "annotations": []}]
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": status, "content": content}
    usage = {
        "input_tokens": 5,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 12,
    }
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_700_000_000,
        "status": status,
        "model": exchange.model,
        "output": [item] if status == "completed" else [],
        "usage": usage if status == "completed" else None,
        **fields,
    }


async def behave(exchange: Exchange) -> None:
    """One that repeats nothing, or null."""
    fields = dict.fromkeys(DEFAULTS) if exchange.model.startswith("null") else {}
    if not exchange.is_stream:
        await exchange.whole(Response.construct(**bare(exchange, "completed", **fields)).to_json().encode())
        return
    await exchange.begin()
    for number, (kind, status) in enumerate((("created", "in_progress"), ("completed", "completed"))):
        response = bare(exchange, status, **fields)
        await exchange.send(event(f"response.{kind}", sequence_number=number, response=response))
    await exchange.end()


def entries(upstream: FakeUpstream) -> list[ModelEntry]:
    """Two models of each server."""
    base, root = upstream.api_base, f"http://127.0.0.1:{upstream.port}"
    found = []
    for each in "ab":
        found += [entry(f"{server}-{each}", base) for server in ("bare", "null")]
        found.append(entry(f"claude-{each}", root, provider="anthropic"))
        params = {"model": f"deepseek/chatty-{each}", "api_key": "k", "api_base": base}
        found.append(ModelEntry.model_validate({"model_name": f"chatty-{each}", "litellm_params": params}))
    for one in found:
        is_native = one.model_name.startswith(("bare", "null"))
        upstream.on(one.model_name, behave if is_native else good(SAID))
    return found


@pytest.fixture
async def gateway(upstream: FakeUpstream) -> AsyncIterator[Live]:
    """An experiment for each server, named after it."""
    experiments = [
        experiment(
            upstream.api_base,
            {name: {**spec, "model": spec["model"].format(server)} for name, spec in POLICIES.items()},
            name=server,
        )
        for server in SERVERS
    ]
    async with live_gateway(experiments, entries(upstream)) as gateway:
        yield gateway


async def responses(gateway: Live, model: str, *, is_streamed: bool, **fields: Any) -> list[Response]:
    """The response, or each that a stream's events hold, held to the official client's types."""
    async with AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="k", max_retries=0) as client:
        if not is_streamed:
            whole = await client.responses.create(model=model, input="Hello?", **fields)
            return [Response.model_validate(whole.to_dict())]
        stream = await client.responses.create(model=model, input="Hello?", stream=True, **fields)
        return [
            Response.model_validate(each.response.to_dict())
            async for each in stream
            if isinstance(each, ResponseCreatedEvent | ResponseCompletedEvent)
        ]


@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("model", SERVERS)
async def test_what_was_not_sent_has_the_apis_defaults(
    gateway: Live, upstream: FakeUpstream, model: str, is_streamed: bool
) -> None:
    """Both policies show the same defaults in every event, whatever they set and their servers repeat."""
    asked = set()
    while len(asked) < 2:
        found = await responses(gateway, model, is_streamed=is_streamed)
        asked.add(upstream.seen[-1].body["model"])
        assert len(found) == (2 if is_streamed else 1)
        for response in found:
            told = response.to_dict()
            assert {name: told[name] for name in DEFAULTS} == DEFAULTS


@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("model", SERVERS)
async def test_what_was_sent_is_repeated_as_it_was(
    gateway: Live, upstream: FakeUpstream, model: str, is_streamed: bool
) -> None:
    """The caller's value is repeated even if a policy sent another, and missing fields have defaults."""
    expected = {
        **DEFAULTS,
        **SENT,
        "reasoning": {"effort": "low", "summary": None},
        "text": {"format": {"type": "text"}, "verbosity": "low"},
        "tools": [{**TOOL, "description": None, "strict": True}],
    }
    asked = set()
    while len(asked) < 2:
        for response in await responses(gateway, model, is_streamed=is_streamed, **SENT):
            told = response.to_dict()
            assert {name: told[name] for name in DEFAULTS} == expected
        asked.add(upstream.seen[-1].body["model"])


async def test_what_a_server_says_of_other_fields_stays(gateway: Live, upstream: FakeUpstream) -> None:
    """The server knows what happened to a tool; its word never counts for fields that a policy may set."""
    tools = [{"type": "web_search", "search_context_size": "medium"}]

    async def telling(exchange: Exchange) -> None:
        fields = {"tools": tools, "truncation": "auto", "temperature": 0.25, "top_k": 5}
        await exchange.whole(Response.construct(**bare(exchange, "completed", **fields)).to_json().encode())

    for model in ("bare-a", "bare-b"):
        upstream.on(model, telling)
    (found,) = await responses(gateway, "bare", is_streamed=False, tools=[{"type": "web_search"}])

    told = found.to_dict()
    assert {name: told[name] for name in ("tools", "truncation", "temperature", "top_k")} == {
        "tools": tools,
        "truncation": "auto",
        "temperature": 1.0,
        "top_k": None,
    }


async def test_a_plain_models_translated_response_repeats_its_request(gateway: Live) -> None:
    """LiteLLM would repeat nulls."""
    for is_streamed in (False, True):
        for response in await responses(gateway, "claude-a", is_streamed=is_streamed, store=False):
            told = response.to_dict()
            assert {name: told[name] for name in DEFAULTS} == {**DEFAULTS, "store": False}


@pytest.mark.parametrize("odd", [None, 5, "x", [], {}, [None], [{"type": []}]])
def test_any_value_can_be_repeated(odd: Any) -> None:
    """The value comes from a caller, and the provider decides whether it is valid."""
    assert set(repeated(dict.fromkeys(repeated({}), odd))) == set(repeated({}))
