"""Requests of every kind, and their answers read to the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from tests.gateway.live import Live
from tests.gateway.whole import Reply

MESSAGES = [{"role": "user", "content": "Hello?"}]
ASKED: dict[str, dict[str, Any]] = {
    "chat/completions": {"messages": MESSAGES},
    "responses": {"input": "Hello?"},
    "completions": {"prompt": "Hello"},
    "embeddings": {"input": "Hello"},
    "messages": {"messages": MESSAGES, "max_tokens": 50},
}


async def ask(
    gateway: Live, kind: str, model: str, *, headers: Mapping[str, str] | None = None, **fields: Any
) -> Reply:
    """One request of a kind."""
    body = orjson.dumps({"model": model, **ASKED[kind], **fields})
    return await gateway.call("POST", f"/v1/{kind}", raw=body, headers=headers)
