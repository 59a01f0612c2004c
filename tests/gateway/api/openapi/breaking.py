"""Rich requests, broken in a few places: what a schema's own bounds do not lead to.

Conversations with tools, images, thinking and structured answers are valid as they stand here. Breaking
leaves parts of them out and puts nonsense in the place of others, at any depth.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from tests.gateway.api.openapi.fuzzing import CHAT, MESSAGES, RESPONSES

Place = tuple[str | int, ...]

_SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
_PIXEL = "data:image/png;base64,aGk="
RICH: dict[str, dict[str, Any]] = {
    CHAT: {
        "messages": [
            {"role": "system", "content": "Add."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What does it say?"},
                    {"type": "image_url", "image_url": {"url": _PIXEL, "detail": "low"}},
                ],
            },
            {
                "role": "assistant",
                "content": None,
                "thinking_blocks": [{"type": "thinking", "thinking": "Seven.", "signature": "s"}],
                "provider_specific_fields": {"thought_signatures": ["s"]},
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "7"},
        ],
        "tools": [{"type": "function", "function": {"name": "add", "parameters": _SCHEMA}}],
        "tool_choice": {"type": "function", "function": {"name": "add"}},
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "sum", "schema": _SCHEMA, "strict": True},
        },
        "stop": ["."],
        "max_tokens": 9,
        "metadata": {"product": "kettle"},
        "user": "u",
        "reasoning_effort": "low",
        "logit_bias": {"5": 1},
    },
    MESSAGES: {
        "max_tokens": 9,
        "system": [{"type": "text", "text": "Add.", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What does it say?"},
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": "aGk="},
                    },
                    {
                        "type": "document",
                        "source": {"type": "text", "media_type": "text/plain", "data": "7"},
                    },
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Seven.", "signature": "s"},
                    {"type": "tool_use", "id": "t1", "name": "add", "input": {"a": 1}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "t1",
                        "content": [{"type": "text", "text": "7"}],
                        "is_error": False,
                    }
                ],
            },
        ],
        "tools": [{"name": "add", "description": "Adds.", "input_schema": _SCHEMA}],
        "tool_choice": {"type": "tool", "name": "add", "disable_parallel_tool_use": True},
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "stop_sequences": ["."],
        "metadata": {"user_id": "u"},
    },
    RESPONSES: {
        "input": [
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "What does it say?"},
                    {"type": "input_image", "image_url": _PIXEL, "detail": "low"},
                ],
            },
            {"type": "function_call", "call_id": "c1", "name": "add", "arguments": '{"a": 1}', "id": "f1"},
            {"type": "function_call_output", "call_id": "c1", "output": "7"},
            {
                "type": "reasoning",
                "id": "r1",
                "summary": [{"type": "summary_text", "text": "Seven."}],
                "encrypted_content": "s",
            },
        ],
        "instructions": "Add.",
        "tools": [{"type": "function", "name": "add", "parameters": _SCHEMA, "strict": True}],
        "tool_choice": {"type": "function", "name": "add"},
        "text": {"format": {"type": "json_schema", "name": "sum", "schema": _SCHEMA}, "verbosity": "low"},
        "reasoning": {"effort": "low", "summary": "auto"},
        "max_output_tokens": 9,
        "metadata": {"product": "kettle"},
        "store": False,
    },
}
# Each kind relayed, translated, and asked of experiments of both sorts.
ASKED = tuple(
    (path, model)
    for path, models in (
        (CHAT, ("plain", "claude-plain", "support", "claude", "both")),
        (MESSAGES, ("plain", "claude-plain", "support", "claude")),
        (RESPONSES, ("plain", "claude-plain", "support", "claude")),
    )
    for model in models
)
_NONSENSE: tuple[Any, ...] = (
    *(None, True, 0, -1, 1.5, 10**18, "", "x", "\0", "{", "two words", "data:,", "http://127.0.0.1:9/x"),
    *([], [[]], [None], [7], ["x"], [{}], [{"type": "x"}], {}, {"x": 1}, {"type": "x"}),
)
_KEPT = ("messages", "input", "max_tokens")


@dataclass(frozen=True)
class Broken:
    """A request that may be wrong in some places."""

    path: str
    body: dict[str, Any]


def broken_requests(count: int, seed: int) -> Iterator[Broken]:
    """So many of them, the same for the same seed."""
    rng = random.Random(seed)
    for _ in range(count):
        path, model = rng.choice(ASKED)
        body = {name: value for name, value in RICH[path].items() if name in _KEPT or rng.random() < 0.5}
        body = deepcopy(body)
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            _break(body, rng)
        body["model"] = model
        if rng.random() < 0.4:
            body["stream"] = True
        yield Broken(path, body)


def _break(body: dict[str, Any], rng: random.Random) -> None:
    """Leave one part out, put nonsense in its place, or nonsense before it."""
    places = [place for place in _places(body) if place]
    if not places:
        return
    place = rng.choice(places)
    around: Any = body
    for step in place[:-1]:
        around = around[step]
    how = rng.random()
    if how < 0.25:
        del around[place[-1]]
    elif how < 0.35 and isinstance(around, list):
        around.insert(place[-1], deepcopy(rng.choice(_NONSENSE)))
    else:
        around[place[-1]] = deepcopy(rng.choice(_NONSENSE))


def _places(part: Any, above: Place = ()) -> Iterator[Place]:
    yield above
    inner = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    for step, value in inner:
        yield from _places(value, (*above, step))
