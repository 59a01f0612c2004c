"""The OpenAPI document, and the running gateway held against it by made-up requests."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import jsonschema
import pytest

from tests.gateway.building import config_fields
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.process import Served
from tests.gateway.surfaces.answers import good
from tests.gateway.whole import JSON, Whole

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "allow_header_conformance",
    "unsupported_method",
)
GENERATED = re.compile(r"(\d[\d,]*) generated")
# Models and an experiment of each format, and a name nobody has.
MODELS = {
    "/v1/messages": ["claude-plain", "claude", "nobody"],
    "/v1/completions": ["plain", "support", "nobody"],
    "/v1/embeddings": ["plain", "support", "nobody"],
}
MODELS_OTHERWISE = ["plain", "support", "nobody"]


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Whole]:
    """A gateway process over a provider that answers every kind of request."""
    async with FakeUpstream() as upstream, aiohttp.ClientSession(headers=JSON) as session:
        fields = config_fields(api_base=upstream.api_base)
        for name in ("plain", "warm"):
            upstream.on(name, good("Fine."))
            upstream.on(f"claude-{name}", good("Fine."))
            params = {"model": f"anthropic/claude-{name}", "api_key": "k"}
            params["api_base"] = f"http://127.0.0.1:{upstream.port}"
            fields["model_list"].append({"model_name": f"claude-{name}", "litellm_params": params})
        claude = {name: {"model": f"claude-{name}"} for name in ("plain", "warm")}
        fields["experiments"]["claude"] = {"incumbent": "plain", "policies": claude}
        served = Served(tmp_path, fields, session)
        try:
            yield await served.start()
        finally:
            served.clean_up()


async def document(gateway: Whole) -> dict[str, Any]:
    """As the gateway gives it."""
    found: dict[str, Any] = (await gateway.get("/openapi.json")).json
    return found


async def fuzz(gateway: Whole, folder: Path, *options: str) -> tuple[int, int, str]:
    """Hold the gateway against its document. Status, number of requests, and what was said."""
    described = await document(gateway)
    for path, operations in described["paths"].items():
        schema = operations.get("post", {}).get("requestBody", {}).get("content", {})
        properties = schema.get("application/json", {}).get("schema", {}).get("properties", {})
        if "model" in properties:
            properties["model"]["enum"] = MODELS.get(path, MODELS_OTHERWISE)
    file = folder / "openapi.json"
    file.write_text(json.dumps(described))
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", str(file), "--url", gateway.url]
    command += ["--checks", ",".join(CHECKS), "--no-color", "--seed", "1", *options]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said = (await process.communicate())[0].decode()
    cases = GENERATED.search(said)
    return process.returncode or 0, int(cases[1].replace(",", "")) if cases else 0, said


async def test_every_route_is_described(gateway: Whole) -> None:
    """What can be asked for under `/v1` and by operators, whether FastAPI knows it or not."""
    described = await document(gateway)
    jsonschema.validate(described, {"required": ["openapi", "paths"], "type": "object"})
    for path in ("chat/completions", "responses", "completions", "embeddings", "messages", "feedback"):
        assert "post" in described["paths"][f"/v1/{path}"]
    for path in ("/v1/models", "/v1/models/{name}", "/v1/experiments", "/healthz", "/readyz", "/metrics"):
        assert "get" in described["paths"][path]


async def test_made_up_requests_find_no_fault(gateway: Whole, tmp_path: Path) -> None:
    """No server error, no undescribed answer, whatever is sent."""
    options = ("--phases", "examples,coverage,fuzzing", "--max-examples", "20", "--max-time", "25")
    status, cases, said = await fuzz(gateway, tmp_path, *options)
    assert status == 0, said
    assert cases > 500


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_twenty_thousand_made_up_requests_find_no_fault(gateway: Whole, tmp_path: Path) -> None:
    """The same for long."""
    options = ("--phases", "examples,coverage,fuzzing,stateful", "--max-examples", "2500")
    status, cases, said = await fuzz(gateway, tmp_path, *options)
    assert status == 0, said
    assert cases >= 20_000
