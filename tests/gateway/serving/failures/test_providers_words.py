"""What a provider said when it failed: in the log, and for the operator's own keys in the answer."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import structlog

from tests.gateway.building import NAME
from tests.gateway.fake_upstream import Behaviour, FakeUpstream, chunk, raw, raw_stream
from tests.gateway.live import Live, entry, experiment, live_gateway

KEY = "sk-provider"  # of the models of live.entry
PROMPT = "You are alpha."
QUESTION: list[Any] = [{"role": "user", "content": "hunter2-is-my-password, do not tell anybody at all"}]
SAID = f"engine 7 on fire ({KEY}, {PROMPT}, {QUESTION[0]['content']})"


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    """Fails."""
    async with FakeUpstream() as upstream:
        yield upstream


@pytest.fixture
async def gateway(upstream: FakeUpstream) -> AsyncIterator[Live]:
    """A plain model and an experiment, for two keys."""
    base = upstream.api_base
    async with live_gateway(
        [experiment(base, share=0.0)],
        [entry("small", base), entry("large", base)],
        client_keys=["client-key"],
        admin_keys=["admin-key"],
    ) as gateway:
        yield gateway


def failing(code: int) -> Behaviour:
    """Refuse, or fail, in words that quote everything."""
    error = {"error": {"message": SAID, "type": "odd_type", "code": "odd_code", "param": None}}
    return raw(json.dumps(error).encode(), code=code)


async def ask(gateway: Live, role: str, model: str, **fields: Any) -> str:
    """The body a caller of that role gets."""
    headers = {"authorization": f"Bearer {role}-key"}
    reply = await gateway.ask(model, headers=headers, messages=QUESTION, **fields)
    return reply.body.decode()


@pytest.mark.parametrize("model", ["small", NAME])
@pytest.mark.parametrize("code", [401, 402, 404, 429, 500])
async def test_the_log_and_admins_read_what_the_provider_said(
    gateway: Live, upstream: FakeUpstream, code: int, model: str
) -> None:
    """They see the provider's status, codes and words without private ones; clients see none of these."""
    upstream.on("small", failing(code))
    with structlog.testing.capture_logs() as lines:
        for_client = await ask(gateway, "client", model)
    (line,) = [line for line in lines if line["event"] == "provider_failed"]
    assert line["detail"].startswith(f"{code} odd_code, odd_type: engine 7 on fire")
    assert "engine 7" not in for_client
    for_admin = await ask(gateway, "admin", model)
    assert "The provider said: " in for_admin
    assert "engine 7 on fire" in for_admin
    prompts = () if model == "small" else (PROMPT,)  # of a plain model it is nobody's
    for private in (KEY, QUESTION[0]["content"], *prompts):
        assert private not in line["detail"] + for_client + for_admin


async def test_admins_read_it_inside_a_stream_as_well(gateway: Live, upstream: FakeUpstream) -> None:
    """The error event of a stream has the provider's words for admins."""
    error = b"data: " + json.dumps({"error": {"message": SAID, "code": 500}}).encode() + b"\n\n"

    async def behave(exchange: Any) -> None:
        await raw_stream(chunk(exchange, {"content": "Hi"}), error)(exchange)

    upstream.on("small", behave)
    assert "engine 7 on fire" in await ask(gateway, "admin", NAME, stream=True)
    for_client = await ask(gateway, "client", NAME, stream=True)
    assert "engine 7" not in for_client
    assert "[DONE]" not in for_client


@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("model", ["small", NAME])
async def test_a_refusal_that_is_passed_on_has_no_key_and_no_prompt(
    gateway: Live, upstream: FakeUpstream, model: str, is_streamed: bool
) -> None:
    """The caller's own words may stand in it."""
    upstream.on("small", failing(400))
    told = await ask(gateway, "client", model, stream=is_streamed)
    assert "engine 7 on fire" in told
    assert KEY not in told
    assert (PROMPT in told) is (model == "small")  # there, it is nobody's prompt
