"""Requests of every kind, and their answers read to the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from tests.gateway.serving.harness import Gateway, Reply

MESSAGES = [{"role": "user", "content": "Hello?"}]
ASKED: dict[str, dict[str, Any]] = {
    "chat/completions": {"messages": MESSAGES},
    "responses": {"input": "Hello?"},
    "completions": {"prompt": "Hello"},
    "embeddings": {"input": "Hello"},
    "messages": {"messages": MESSAGES, "max_tokens": 50},
}


async def ask(
    gateway: Gateway, kind: str, model: str, *, headers: Mapping[str, str] | None = None, **fields: Any
) -> Reply:
    """One request of a kind."""
    body = orjson.dumps({"model": model, **ASKED[kind], **fields})
    async with gateway.session.post(f"{gateway.url}/v1/{kind}", data=body, headers=headers) as response:
        seen = {name.lower(): value for name, value in response.headers.items()}
        return Reply(response.status, seen, await response.read())
