"""Vertex AI, which wants a token for a service account before it answers: both on loopback."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import orjson
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.upstream.base import ModelTarget, Timeouts, UpstreamRequest
from gateway.upstream.translating.upstream import LitellmUpstream
from tests.servers import free_port

# litellm's own models make pydantic warn when they are first used.
pytestmark = pytest.mark.filterwarnings("ignore:.*ReadOnly.*:UserWarning")

ANSWER = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "Hi."}]}, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 2, "totalTokenCount": 7},
}


@dataclass
class Google:
    """Gives tokens and answers."""

    port: int
    asked: list[tuple[str, str | None]] = field(default_factory=list)

    async def token(self, _request: web.Request) -> web.Response:
        """Give a token to any caller."""
        self.asked.append(("token", None))
        return web.json_response({"access_token": "ya29.t", "expires_in": 3600, "token_type": "Bearer"})

    async def generate(self, request: web.Request) -> web.Response:
        """One answer for every request."""
        self.asked.append((request.path, request.headers.get("Authorization")))
        return web.json_response(ANSWER)

    def credentials(self) -> str:
        """Of a service account, made for this test."""
        key = rsa.generate_private_key(65537, 2048)
        return json.dumps(
            {
                "type": "service_account",
                "project_id": "p",
                "private_key_id": "1",
                "private_key": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
                "client_email": "a@p.iam.gserviceaccount.com",
                "token_uri": f"http://127.0.0.1:{self.port}/token",
            }
        )

    def target(self) -> ModelTarget:
        """A model there."""
        options = {
            "vertex_project": "p",
            "vertex_location": "us-central1",
            "vertex_credentials": self.credentials(),
        }
        base = f"http://127.0.0.1:{self.port}/gemini"
        return ModelTarget("m", "litellm", "vertex_ai", "gemini-2.0-flash", base, None, options=options)


@pytest.fixture
async def google() -> AsyncIterator[Google]:
    """The server."""
    google = Google(free_port())
    app = web.Application()
    app.router.add_post("/token", google.token)
    app.router.add_post("/{path:.*}", google.generate)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", google.port).start()
    yield google
    await runner.cleanup()


async def test_a_service_account_is_all_it_takes(google: Google) -> None:
    """No package, login or environment beyond what is installed; a rehearsal fetches the token only."""
    upstream = LitellmUpstream(Timeouts(connect=1, first_byte=5, total=5))
    target = google.target()
    assert await upstream.obstacle(target) is None
    assert google.asked == [("token", None)]

    reply = await upstream.complete(
        UpstreamRequest(target, {"messages": [{"role": "user", "content": "Hello?"}]})
    )
    await upstream.aclose()
    assert orjson.loads(reply.body)["choices"][0]["message"]["content"] == "Hi."
    assert google.asked[-1] == ("/gemini:generateContent", "Bearer ya29.t")
