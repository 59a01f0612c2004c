"""Asking a provider over HTTP/2, below everything that routes and counts."""

from __future__ import annotations

import json
from typing import Any

from gateway.upstream.base import AnswerStream, ModelTarget, Timeouts, UpstreamRequest
from gateway.upstream.relay import Relay
from tests.gateway.fake_upstream import FakeUpstream

QUESTION: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello?"}]}
LIMITS = Timeouts(connect=2, first_byte=5, stall=5, total=10)


def request(
    provider: FakeUpstream, model: str = "small", *, http2: bool = True, **fields: Any
) -> UpstreamRequest:
    """A question for a model that is asked over HTTP/2, unless told otherwise."""
    target = ModelTarget("m", "openai", "openai", model, provider.api_base, "sk-operator", http2=http2)
    return UpstreamRequest(target, {**QUESTION, **fields})


async def ask(relay: Relay, provider: FakeUpstream, model: str = "small", **fields: Any) -> str:
    """What it says."""
    reply = await relay.complete(request(provider, model, **fields))
    said: str = json.loads(reply.body)["choices"][0]["message"]["content"]
    return said


async def read_all(stream: AnswerStream) -> bytes:
    """Every byte of a stream."""
    blocks = []
    while block := await stream.read():
        blocks.append(block)
    await stream.aclose()
    return b"".join(blocks)
