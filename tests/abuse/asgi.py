"""Requests handed to a gateway without sockets in between."""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple

from starlette.types import Message, Scope

from gateway.api.application import GatewayApp

PIECE: Final = 65536


class Reply(NamedTuple):
    """What came back."""

    status: int
    body: bytes


async def posted(app: GatewayApp, path: str, body: bytes, *headers: tuple[bytes, bytes]) -> Reply:
    """The answer to a body that arrives in pieces."""
    scope: Scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json"), *headers],
        "client": ("127.0.0.1", 1),
    }
    pieces = iter(range(0, max(1, len(body)), PIECE))
    sent: list[Message] = []

    async def receive() -> Message:
        at = next(pieces, None)
        if at is None:  # the caller waits
            await asyncio.Event().wait()
        return {
            "type": "http.request",
            "body": body[at : at + PIECE],
            "more_body": at + PIECE < len(body),
        }

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return Reply(sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:]))
