"""OpenAI's client for Node, unchanged but for its address: not every application is written in Python."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.api.surfaces.answers import TEXT
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.live import Live
from tests.gateway.whole import eventually
from tests.pace import impatient

ROOT = Path(__file__).parents[4]
PROGRAM = ROOT / "tests" / "clients" / "ask.cjs"
MODULES = ROOT / ".venv" / "clients" / "node_modules"  # `make setup` installs them


async def found(gateway: Live, model: str) -> dict[str, Any]:
    """What the client made of the gateway."""
    process = await asyncio.create_subprocess_exec(
        "node",
        str(PROGRAM),
        f"{gateway.url}/v1",
        model,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "NODE_PATH": str(MODULES)},
    )
    said, complaint = await process.communicate()
    assert process.returncode == 0, complaint.decode()
    answers: dict[str, Any] = json.loads(said)
    return answers


@pytest.mark.parametrize("model", ["small", "support"])
async def test_node_client_finds_what_it_expects(gateway: Live, upstream: FakeUpstream, model: str) -> None:
    """The client's helpers read whole and streamed answers, and callers may leave half-way."""
    client = await found(gateway, model)

    assert {client[name] for name in ("whole", "chunks", "helper", "response", "events")} == {TEXT}
    assert client["model"] == model
    assert client["id"]
    assert client["requestId"]
    assert client["usage"]["total_tokens"] == 12
    assert client["left"] is True
    await eventually(lambda: upstream.in_flight == 0, "every provider free", seconds=impatient(1.0))


async def test_node_client_raises_what_it_has_for_errors(gateway: Live) -> None:
    """The error has its class, status and code, and the id to quote to operators."""
    client = await found(gateway, "support")

    unknown, steering = client["unknown"], client["steering"]
    assert (unknown["kind"], unknown["status"], unknown["code"]) == ("NotFoundError", 404, "model_not_found")
    assert (steering["kind"], steering["status"]) == ("BadRequestError", 400)
    assert unknown["requestId"]
    assert unknown["requestId"] != steering["requestId"]
