"""`llmpo config check --probe`: each model asked once, and what came of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.cli.config import app
from tests.gateway.api.surfaces.answers import good
from tests.gateway.fake_upstream import FakeUpstream, status

KEY = "sk-Vw9qzR2mT7xK4pLs"
# litellm's own models make pydantic warn when they are first used.
pytestmark = pytest.mark.filterwarnings("ignore:.*ReadOnly.*:UserWarning")


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    """A provider of several models, some of them broken."""
    async with FakeUpstream() as upstream:
        for name in ("small", "claude", "text-embedding-x"):
            upstream.on(name, good())
        upstream.on("gone", status(404, f"The model `gone` does not exist; your key is {KEY}."))
        upstream.on("broke", status(400, "Your credit balance is too low to access the API."))
        yield upstream


def listed(upstream: FakeUpstream, provider: str, name: str) -> dict[str, Any]:
    """An entry of the file."""
    base = f"http://127.0.0.1:{upstream.port}"
    address = base if provider == "anthropic" else f"{base}/v1"
    params = {"model": f"{provider}/{name}", "api_base": address, "api_key": KEY}
    return {"model_name": name, "litellm_params": params}


async def check(tmp_path: Path, *models: dict[str, Any]) -> tuple[int, str]:
    """Exit status and output of the command, which runs beside the provider."""
    file = tmp_path / "gateway.yaml"
    file.write_text(json.dumps({"model_list": models}))
    result = await asyncio.to_thread(CliRunner().invoke, app, ["check", str(file), "--probe"])
    return result.exit_code, result.output


async def test_models_that_answer_are_said_to(upstream: FakeUpstream, tmp_path: Path) -> None:
    """Each model is asked once in its own format, and a server of OpenAI's format also for a message."""
    named = [("openai", "small"), ("anthropic", "claude"), ("openai", "text-embedding-x")]
    code, output = await check(tmp_path, *(listed(upstream, *one) for one in named))
    assert code == 0, output
    for _, name in named:
        assert f"probe: model {name}: answered in" in output
    assert [(seen.body["model"], seen.path) for seen in upstream.seen] == [
        ("small", "/v1/chat/completions"),
        ("small", "/v1/messages"),
        ("claude", "/v1/messages"),
        ("text-embedding-x", "/v1/embeddings"),
    ]


@pytest.mark.parametrize("has_messages", [True, False])
async def test_a_server_that_answers_messages_itself_is_found(
    upstream: FakeUpstream, tmp_path: Path, has_messages: bool
) -> None:
    """Requests in that format can then be relayed to it; a server without the route is no failure."""
    if not has_messages:
        upstream.on("small", good(), status(404))
    code, output = await check(tmp_path, listed(upstream, "openai", "small"))
    assert code == 0, output
    assert ("set `messages: native`" in output) == has_messages


async def test_a_model_that_is_said_to_answer_messages_is_asked_for_one(
    upstream: FakeUpstream, tmp_path: Path
) -> None:
    """The check fails if it does not answer one."""
    upstream.on("small", status(404))
    code, output = await check(tmp_path, {**listed(upstream, "openai", "small"), "messages": "native"})
    assert (code, [seen.path for seen in upstream.seen]) == (1, ["/v1/messages"]), output


async def test_a_model_that_does_not_answer_is_named_with_the_providers_words(
    upstream: FakeUpstream, tmp_path: Path
) -> None:
    """The other models are still asked, and no key is shown."""
    code, output = await check(
        tmp_path, *(listed(upstream, "openai", one) for one in ("gone", "broke", "small"))
    )
    assert code == 1
    assert "probe: model gone: FAILED: status_4xx: 404" in output
    assert "does not exist" in output
    assert "model broke: FAILED" in output
    assert "credit balance is too low" in output
    assert "model small: answered" in output
    assert KEY not in output


async def test_a_translated_model_is_asked_as_well(upstream: FakeUpstream, tmp_path: Path) -> None:
    """A translated model is asked through LiteLLM."""
    code, output = await check(tmp_path, listed(upstream, "mistral", "small"))
    assert code == 0, output
    assert upstream.calls_of("small") == 1
