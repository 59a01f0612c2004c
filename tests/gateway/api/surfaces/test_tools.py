"""Requests with tools to providers of the other format."""

from __future__ import annotations

from typing import Any

import pytest

from tests.gateway.api.surfaces.answers import good
from tests.gateway.api.surfaces.asking import ask
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.live import Live

# litellm's own models make pydantic warn when they are first used.
pytestmark = pytest.mark.filterwarnings("ignore:.*ReadOnly.*:UserWarning")

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
ANTHROPIC = {"name": "add", "input_schema": SCHEMA}
OPENAI = {"type": "function", "function": {"name": "add", "parameters": SCHEMA}}
RESPONSES = {"type": "function", "name": "add", "parameters": SCHEMA}
# The kind of request, a model whose provider does not speak it, a tool, and one call of it with its result.
CASES: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    (
        "messages",
        "small",
        ANTHROPIC,
        {
            "messages": [
                {"role": "user", "content": "Add."},
                {
                    "role": "assistant",
                    "content": [{"type": "tool_use", "id": "t1", "name": "add", "input": {"a": 1}}],
                },
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "7"}]},
            ]
        },
    ),
    (
        "chat/completions",
        "claude-small",
        OPENAI,
        {
            "messages": [
                {"role": "user", "content": "Add."},
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {"id": "t1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
                    ],
                },
                {"role": "tool", "tool_call_id": "t1", "content": "7"},
            ]
        },
    ),
    (
        "responses",
        "claude-small",
        RESPONSES,
        {
            "input": [
                {"role": "user", "content": "Add."},
                {"type": "function_call", "call_id": "t1", "name": "add", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "t1", "output": "7"},
            ]
        },
    ),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("kind", "model", "tool", "turns"), CASES)
async def test_tools_are_translated(
    gateway: Live,
    upstream: FakeUpstream,
    kind: str,
    model: str,
    tool: dict[str, Any],
    turns: dict[str, Any],
    stream: bool,
) -> None:
    """Tools are offered, called and answered in one translated conversation."""
    upstream.on(model, good("It is 7."))
    reply = await ask(gateway, kind, model, stream=stream, tools=[tool], **turns)
    assert reply.status == 200, reply.body
    (seen,) = upstream.seen[-1].body["tools"]
    assert (seen.get("function") or seen)["name"] == "add"


@pytest.mark.parametrize(("kind", "model"), [("messages", "small"), ("responses", "claude-small")])
async def test_a_caller_cannot_have_tool_servers_asked(
    gateway: Live, upstream: FakeUpstream, kind: str, model: str
) -> None:
    """LiteLLM's proxy would look for them: nothing but the provider is asked, if anything."""
    tool = {"type": "mcp", "server_label": "x", "server_url": "litellm_proxy", "require_approval": "never"}
    reply = await ask(gateway, kind, model, tools=[tool])
    assert reply.status in {200, 400}
    assert len(upstream.seen) <= 1
