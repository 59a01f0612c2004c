"""A receiver of webhooks: it checks signatures with the library, and answers as a test says."""

from __future__ import annotations

import asyncio
import json
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web
from standardwebhooks import Webhook

from tests.servers import free_port

SECRET: Final = "whsec_" + b64encode(b"a secret of thirty-two bytes ...").decode()
OTHER: Final = "whsec_" + b64encode(b"another one of thirty-two bytes.").decode()


@dataclass(frozen=True)
class Told:
    """A request, whose signature was right."""

    id: str
    body: bytes

    @property
    def said(self) -> Any:
        """What it says."""
        return json.loads(self.body)


Answer = Callable[[Told], Awaitable[web.StreamResponse] | web.StreamResponse]


def answers(status: int, **headers: str) -> Answer:
    """An answer of that status, with a body that nothing may keep."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _told: web.Response(status=status, headers=named, text="a secret of the receiver")


async def never(_told: Told) -> web.StreamResponse:
    """No answer."""
    await asyncio.sleep(3600)
    return web.Response()


@dataclass
class Receiver:
    """The requests received, and the answers in their order; the last answer is repeated for ever.

    Attributes:
        port: Where it listens.
        secret: Checks the signatures.
        answers: What to answer.
        told: All requests, in their order.
    """

    port: int
    secret: str = SECRET
    scheme: str = "http"
    answers: list[Answer] = field(default_factory=lambda: [answers(200)])
    told: list[Told] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Its address, part of which is a secret."""
        return f"{self.scheme}://127.0.0.1:{self.port}/hooks/s3cr3t"

    @property
    def kinds(self) -> list[str]:
        """The kinds of events that were told."""
        return [told.said["type"] for told in self.told]

    async def take(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        body = await request.read()
        Webhook(self.secret).verify(body, dict(request.headers))
        told = Told(request.headers["webhook-id"], body)
        self.told.append(told)
        answer = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        reply = answer(told)
        return reply if isinstance(reply, web.StreamResponse) else await reply


@asynccontextmanager
async def receiving(
    *answered: Answer, secret: str = SECRET, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Receiver]:
    """A receiver on a port of its own."""
    receiver = Receiver(free_port(), secret, "http" if tls is None else "https")
    if answered:
        receiver.answers = list(answered)
    app = web.Application()
    app.router.add_post("/{path:.*}", receiver.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", receiver.port, ssl_context=tls).start()
    try:
        yield receiver
    finally:
        await runner.cleanup()
