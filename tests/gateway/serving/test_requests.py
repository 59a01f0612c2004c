"""What a caller may send: anything else is refused with an error that says what is wrong."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import orjson
import pytest
from openai.types.chat import completion_create_params

from gateway.api import controls as steering
from gateway.api.fields import KNOWN_FIELDS
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.live import Live, entry, experiment, live_gateway
from tests.gateway.whole import QUESTION

USER = {"role": "user", "content": "x"}
MALFORMED = [b"", b"{", b"nope", b'{"model": "small", "messages": [}', b"\xff\xfe", b'{"model":"\\ud800"}']
WRONG_TYPES: list[tuple[str, dict[str, Any]]] = [
    ("model", {"model": 3}),
    ("model", {"model": ""}),
    ("model", {"model": None}),
    ("messages", {"messages": "hello"}),
    ("messages", {"messages": []}),
    ("messages", {"messages": None}),
    ("messages[1]", {"messages": [USER, "hello"]}),
    ("messages[0].role", {"messages": [{"content": "x"}]}),
    ("messages[0].role", {"messages": [{"role": 1}]}),
    ("stream", {"stream": "yes"}),
    ("stream", {"stream": 1}),
    ("n", {"n": "1"}),
    ("n", {"n": True}),
    ("n", {"n": 0}),
    ("n", {"n": 1.5}),
    ("metadata", {"metadata": "x"}),
    ("metadata", {"metadata": []}),
    ("metadata.session_id", {"metadata": {"session_id": 3}}),
    ("stream_options", {"stream_options": True}),
    ("store", {"store": 1}),
]
CONTROLS = [
    "api_base", "api_key", "base_url", "api_version", "custom_llm_provider", "litellm_params",
    "litellm_metadata",
    "extra_headers", "extra_body", "headers", "fallbacks", "mock_response", "num_retries", "timeout",
    "model_list", "organization", "caching", "drop_params", "allowed_openai_params", "aws_region_name",
    "vertex_project", "input_cost_per_token", "tags", "guardrails", "chat_template",
]  # fmt: skip


async def test_what_is_not_json_is_refused(gateway: Live, upstream: FakeUpstream) -> None:
    """400 in OpenAI's shape, and no provider is asked."""
    for body in MALFORMED:
        reply = await gateway.post(body)
        assert (reply.status, reply.error["code"]) == (400, "invalid_json"), body
    assert upstream.seen == []


async def test_what_is_not_an_object_is_refused(gateway: Live) -> None:
    """JSON alone is not a request."""
    for body in (b"[]", b'"x"', b"3", b"null"):
        reply = await gateway.post(body)
        assert (reply.status, reply.error["type"]) == (400, "invalid_request_error"), body


async def test_wrong_types_are_named(gateway: Live, upstream: FakeUpstream) -> None:
    """The field at fault is in `param`, what it must be in the message."""
    for param, fields in WRONG_TYPES:
        reply = await gateway.post(orjson.dumps({"model": "small", **QUESTION, **fields}))
        assert (reply.status, reply.error["param"]) == (400, param), fields
        assert "must be" in reply.error["message"]
    assert upstream.seen == []


@pytest.mark.parametrize("field", ["model", "messages"])
async def test_missing_fields_are_named(gateway: Live, field: str) -> None:
    """Absent is as wrong as null."""
    fields = {"model": "small", **QUESTION}
    del fields[field]
    reply = await gateway.post(orjson.dumps(fields))
    assert (reply.status, reply.error["param"]) == (400, field)


@pytest.mark.parametrize("model", ["small", "support"])
async def test_a_caller_cannot_steer_the_gateway(gateway: Live, upstream: FakeUpstream, model: str) -> None:
    """Addresses, keys and litellm's controls are refused by name, for experiments and plain models."""
    for field in CONTROLS:
        reply = await gateway.post(orjson.dumps({"model": model, **QUESTION, field: "http://evil"}))
        assert (reply.status, reply.error["code"], reply.error["param"]) == (400, "unknown_parameter", field)
    assert upstream.seen == []


async def test_many_unknown_fields_make_no_long_error(gateway: Live) -> None:
    """A hostile body is not echoed back."""
    reply = await gateway.ask("small", **dict.fromkeys(sorted(steering.CONTROLS)[:100], "x" * 100))
    assert reply.status == 400
    assert len(reply.body) < 2000


async def test_an_unknown_model_is_not_found(gateway: Live) -> None:
    """The reply is a 404 with OpenAI's code."""
    reply = await gateway.ask("nobody")
    assert (reply.status, reply.error["code"], reply.error["param"]) == (404, "model_not_found", "model")


@pytest.mark.parametrize("has_length", [True, False], ids=["announced", "chunked"])
async def test_a_body_over_the_limit_is_refused(
    gateway: Live, upstream: FakeUpstream, has_length: bool
) -> None:
    """The body is refused whether its size is announced or found only while reading."""

    async def parts() -> Any:
        for _ in range(11):
            yield b"x" * 10_000

    data = b"x" * 110_000 if has_length else parts()
    async with gateway.session.post(f"{gateway.url}/v1/chat/completions", data=data) as response:
        assert response.status == 413
        assert (await response.json())["error"]["code"] == "request_too_large"


async def test_a_body_that_never_arrives_is_nobodys_failure(gateway: Live) -> None:
    """A caller who hangs up half-way through the body is counted as gone."""
    host, port = gateway.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{")
    await writer.drain()
    writer.close()
    await gateway.eventually(lambda: gateway.observer.finished, "the request accounted for")
    assert gateway.observer.finished == [("/v1/chat/completions", 499)]


def test_every_field_of_the_openai_client_is_known() -> None:
    """Nothing the official client can send is refused as unknown."""
    params = inspect.get_annotations(completion_create_params.CompletionCreateParamsBase)
    assert params.keys() | {"stream"} <= KNOWN_FIELDS["chat"]


async def test_other_methods_are_refused(gateway: Live) -> None:
    """The refusal has OpenAI's shape."""
    async with gateway.session.get(f"{gateway.url}/v1/chat/completions") as response:
        assert response.status == 405
        assert (await response.json())["error"]["type"] == "invalid_request_error"


async def test_keys_are_asked_for_where_configured(upstream: FakeUpstream) -> None:
    """A request without a valid key is not read or answered, and only an admin sees the policy's name."""
    base = upstream.api_base
    async with live_gateway(
        [experiment(base, share=0.0)],
        [entry("small", base)],
        client_keys=["client-key"],
        admin_keys=["admin-key"],
    ) as gateway:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "client-key"}):
            reply = await gateway.ask(headers=headers)
            assert (reply.status, reply.error["code"]) == (401, "invalid_api_key")
        assert upstream.seen == []
        reply = await gateway.ask(headers={"Authorization": "Bearer client-key"})
        assert reply.status == 200
        assert "x-llmpo-policy" not in reply.headers
        reply = await gateway.ask(headers={"Authorization": "Bearer admin-key"})
        assert reply.headers["x-llmpo-policy"] == "alpha"
