"""The OpenAPI document, and the running gateway held against it by made-up requests."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.gateway.api.openapi.fuzzing import (
    CHAT,
    COMPLETIONS,
    CONVERSATIONS,
    EMBEDDINGS,
    MESSAGES,
    MODELS,
    RESPONSES,
    Run,
    answered,
    broken_answers,
    fuzz,
)
from tests.gateway.whole import Whole

pytestmark = pytest.mark.asyncio(loop_scope="package")

_log = logging.getLogger(__name__)  # `--log-cli-level INFO` shows the numbers

EVERYTHING = Run(phases="examples,coverage,fuzzing", examples=10)
QUICK = (Run(phases="examples,coverage", one_in=7),)
# Each way through the gateway once: relayed, translated, drawn for an experiment, merged.
SHORT = (
    EVERYTHING,
    Run("plain", is_streamed=True),
    Run("support", paths=CONVERSATIONS),
    Run("support", is_streamed=True, paths=CONVERSATIONS),
    Run("both", paths=(CHAT,)),
    Run("both", is_streamed=True, paths=(CHAT,)),
    Run("claude-plain", paths=(CHAT,), is_translated=True),
    Run("claude-plain", is_streamed=True, paths=(RESPONSES,), is_translated=True),
    Run("plain", paths=(MESSAGES,), is_translated=True),
)
TRANSLATED = (
    ("claude-plain", (CHAT, RESPONSES, COMPLETIONS)),
    ("plain", (MESSAGES,)),
    ("support", (MESSAGES,)),
)
LONG = (
    *(
        Run(model, is_streamed, paths, is_translated=True)
        for model, paths in TRANSLATED
        for is_streamed in (False, True)
    ),
    *(Run(model) for model in MODELS),
    *(Run(model, is_streamed=True) for model in MODELS if model != "nobody"),
    Run(phases="examples,coverage,fuzzing,stateful", examples=300),
)


async def document(gateway: Whole) -> dict[str, Any]:
    """As the gateway gives it."""
    found: dict[str, Any] = (await gateway.get("/openapi.json")).json
    return found


async def hold(gateway: Whole, folder: Path, runs: tuple[Run, ...], least: int) -> None:
    """No server error and no undescribed answer to so many requests, all of which reached the gateway."""
    before = await answered(gateway)
    found = await fuzz(gateway, folder, runs)
    counted = await answered(gateway) - before
    _log.info("%s generated, answered by status: %s", found.generated, counted)
    assert not found.faults, "\n\n".join(found.faults)
    assert sum(counted.values()) >= least
    assert not [code for code in counted if code >= "500"]
    assert await broken_answers(gateway) == 0


async def test_every_route_is_described(gateway: Whole) -> None:
    """What can be asked for under `/v1` and by operators, whether FastAPI knows it or not."""
    described = await document(gateway)
    jsonschema.validate(described, {"required": ["openapi", "paths"], "type": "object"})
    for path in ("chat/completions", "responses", "completions", "embeddings", "messages", "feedback"):
        assert "post" in described["paths"][f"/v1/{path}"]
    for path in ("/v1/models", "/v1/models/{name}", "/v1/experiments", "/healthz", "/readyz", "/metrics"):
        assert "get" in described["paths"][path]


async def test_every_status_is_described_by_itself(gateway: Whole) -> None:
    """This finds statuses that were not thought of; errors in the shape of the path, readiness in its own."""
    described = await document(gateway)
    for path, operations in described["paths"].items():
        for operation in operations.values():
            assert "default" not in operation["responses"], path
            assert {"200", "400", "401", "404", "500", "503"} <= operation["responses"].keys(), path
    asking = described["paths"][CHAT]["post"]["responses"]
    assert {"408", "413", "415", "422", "429", "502", "504"} <= asking.keys()
    assert _references(described["paths"][MESSAGES]["post"]["responses"]) == {"AnthropicError"}
    assert not _references(described["paths"]["/readyz"]["get"]["responses"]["503"])


async def test_every_shape_that_is_named_is_there(gateway: Whole) -> None:
    """References lead to a schema, and every schema is a valid one."""
    described = await document(gateway)
    shapes = described["components"]["schemas"]
    for name, shape in shapes.items():
        jsonschema.Draft202012Validator.check_schema(shape)
        assert _references(shape) <= shapes.keys(), name
    assert _references(described["paths"]) <= shapes.keys()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (
            CHAT,
            {
                "messages": [
                    {"role": "system", "content": "Be kind."},
                    {"role": "user", "content": [{"type": "text", "text": "Hello?"}]},
                    {"role": "assistant", "content": None, "tool_calls": []},
                    {"role": "tool", "tool_call_id": "call_1", "content": "7"},
                ],
                "tools": [{"type": "function", "function": {"name": "add", "parameters": {}}}],
                "tool_choice": "auto",
                "response_format": {"type": "json_object"},
                "stop": ["\n"],
                "temperature": None,
            },
        ),
        (RESPONSES, {"input": [{"role": "user", "content": "Hello?"}], "reasoning": {"effort": "low"}}),
        (EMBEDDINGS, {"input": ["Hello?"], "encoding_format": "float"}),
    ],
)
async def test_ordinary_requests_are_as_described(gateway: Whole, path: str, body: dict[str, Any]) -> None:
    """What clients send is valid by the document, and what is wrong in it is not."""
    described = await document(gateway)
    schema = described["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    validator = jsonschema.Draft202012Validator({**schema, "components": described["components"]})
    validator.validate({"model": "plain", **body})
    assert not validator.is_valid({**body, "model": ""})
    assert not validator.is_valid({"model": "plain", **body, "user": 7})


async def test_made_up_requests_find_no_fault(gateway: Whole, tmp_path: Path) -> None:
    """No server error, no undescribed answer, whatever is sent: fields at their bounds, on every route."""
    await hold(gateway, tmp_path, QUICK, 800)


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_twenty_thousand_made_up_requests_find_no_fault(gateway: Whole, tmp_path: Path) -> None:
    """Twenty thousand requests, on each way through the gateway, cause none either."""
    await hold(gateway, tmp_path, SHORT, 20_000)


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_a_hundred_thousand_made_up_requests_find_no_fault(gateway: Whole, tmp_path: Path) -> None:
    """A hundred thousand requests cause no server error and no answer that the document does not describe."""
    await hold(gateway, tmp_path, LONG, 100_000)


def _references(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"].rpartition("/")[2]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*map(_references, node.values()))
    return set().union(*map(_references, node)) if isinstance(node, list) else set()
