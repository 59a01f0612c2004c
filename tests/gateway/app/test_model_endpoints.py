"""The short way to the endpoints that ask models."""

from __future__ import annotations

from typing import Any, cast

import pytest
from starlette.types import Message, Receive, Scope, Send

from gateway.api.application import GatewayApp
from gateway.api.inference import InferenceEndpoint
from tests.gateway.building import catalogue_holder

PATH = "/v1/chat/completions"


async def reply(_scope: Scope, _receive: Receive, send: Send) -> None:
    """An endpoint that only answers."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"a model's answer"})


class Passage:
    """Middleware that notes what passes."""

    seen: list[str]

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.seen.append(f"{scope['method']} {scope['path']}")
        await self._app(scope, receive, send)


async def status_of(app: GatewayApp, method: str, path: str) -> int:
    """The status of the answer to one request."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": [], "query_string": b""}
    await app({**scope, "raw_path": path.encode(), "scheme": "http", "root_path": ""}, receive, send)
    return int(sent[0]["status"])


@pytest.mark.parametrize(
    ("method", "path", "status", "passes"),
    [
        ("POST", PATH, 200, False),
        ("GET", PATH, 405, True),
        ("POST", "/v1/nowhere", 404, True),
    ],
)
async def test_only_requests_for_models_pass_by_the_middleware(
    method: str, path: str, status: int, passes: bool
) -> None:
    """Any request that is not a POST to an endpoint's exact path goes through the router."""
    app = GatewayApp(catalogue_holder())
    app.add_middleware(Passage)
    Passage.seen = []
    app.router.add_route(PATH, cast("Any", lambda _: None), methods=["POST"])
    app.model_endpoints[PATH] = cast("InferenceEndpoint", reply)
    assert await status_of(app, method, path) == status
    assert bool(Passage.seen) == passes
