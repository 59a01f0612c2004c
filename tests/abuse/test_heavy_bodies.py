"""Bodies as large as they may be: no caller's work keeps the others waiting, whatever is in it."""

from __future__ import annotations

import gzip
import time
import zlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import orjson
import pytest
import pytest_asyncio

from gateway.api.application import GatewayApp
from gateway.api.body import read_request
from gateway.api.body_room import BodyRoom
from gateway.app import create_app
from tests.abuse.asgi import Reply, posted
from tests.abuse.bodies import BOMBS, BROKEN, BYTES, TEXTS, Making
from tests.abuse.loop import watched
from tests.gateway.building import gateway_config
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.whole import quick_settings
from tests.servers import EmbeddedServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

# What may pass without anyone else's turn: so many times what it takes here to read 10 MB of plain text.
# The costliest text there is takes 4 of them in one piece. Without bounds it was 30 to 100.
MOST_HELD = 8


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayApp]:
    """A gateway whose provider answers, to be called without sockets in between."""
    store = EmbeddedServer(tmp_path_factory.mktemp("store"))
    store.start()
    try:
        async with FakeUpstream() as upstream:
            app = create_app(gateway_config(api_base=upstream.api_base), quick_settings(store.url))
            async with app.router.lifespan_context(app):
                yield app
    finally:
        store.stop()


def plain_text_seconds() -> float:
    """What reading 10 MB of plain text takes here, in processor time."""
    text = orjson.dumps({"content": "a" * BYTES})

    def once() -> float:
        began = time.thread_time()
        orjson.loads(text)
        return time.thread_time() - began

    return sorted(once() for _ in range(5))[2]


async def fair(make: Callable[[], Coroutine[Any, Any, Reply]]) -> Reply:
    """The reply to a request that held the loop no longer than any may; the better of two attempts."""
    unit = plain_text_seconds()
    reply, first = await watched(make())
    _, second = await watched(make())
    held = min(first.longest, second.longest) / unit
    assert held < MOST_HELD, f"held the loop for {held:.1f} times what plain text takes"
    return reply


@pytest.mark.parametrize("kind", BOMBS)
async def test_too_much_structure_is_refused_by_the_name_of_the_limit(app: GatewayApp, kind: str) -> None:
    """400 in OpenAI's shape before anything is built from it, on every route that takes a body."""
    body = BOMBS[kind]()[: 10 * 1024 * 1024]
    for path in ("/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/feedback", "/v1/keys"):
        reply = await posted(app, path, body)
        error = orjson.loads(reply.body)["error"]
        if path in {"/v1/feedback", "/v1/keys"}:
            assert reply.status in {400, 413}, reply
        else:
            assert (reply.status, error["code"]) in {(400, "request_too_complex"), (400, "invalid_json")}
        assert len(reply.body) < 1000


@pytest.mark.parametrize("kind", [*BOMBS, *BROKEN, *TEXTS])
async def test_ten_megabytes_keep_nobody_waiting(app: GatewayApp, kind: str) -> None:
    """Large bodies are refused or answered in steps, so that other requests get turns."""
    body = (BOMBS | BROKEN | TEXTS)[kind]()
    reply = await fair(lambda: posted(app, "/v1/chat/completions", body))
    assert reply.status == (200 if kind in TEXTS else 400), reply.body[:300]


GZIP = (b"content-encoding", b"gzip")


async def test_packed_bodies_are_unpacked(app: GatewayApp) -> None:
    """Gzip and deflate are accepted, as by servers of models."""
    for name, pack in ((b"gzip", gzip.compress), (b"X-GZIP", gzip.compress), (b"deflate", zlib.compress)):
        body = pack(TEXTS["many messages"]())
        reply = await posted(app, "/v1/chat/completions", body, (b"content-encoding", name))
        assert reply.status == 200, reply
    assert (await posted(app, "/v1/feedback", gzip.compress(b"{}"), GZIP)).status == 400


@pytest.mark.parametrize(
    ("make", "packing", "status", "code"),
    [
        (lambda: gzip.compress(b" " * 200_000_000, 1), b"gzip", 413, "request_too_large"),
        (lambda: gzip.compress(BOMBS["numbers"](), 1), b"gzip", 400, "request_too_complex"),
        (lambda: b"{}", b"gzip", 400, "invalid_content_encoding"),
        (lambda: gzip.compress(b"{}")[:-4], b"gzip", 400, "invalid_content_encoding"),
        (lambda: gzip.compress(b"{}") * 2, b"gzip", 400, "invalid_content_encoding"),
        (lambda: b"", b"gzip", 400, "invalid_content_encoding"),
        (lambda: b"{}", b"br", 415, "unsupported_content_encoding"),
        (lambda: b"{}", b"gzip, gzip", 415, "unsupported_content_encoding"),
    ],
    ids=["too much", "a bomb inside", "none", "a part", "two", "empty", "another kind", "packed twice"],
)
async def test_what_cannot_be_unpacked_is_refused(
    app: GatewayApp, make: Making, packing: bytes, status: int, code: str
) -> None:
    """The refusal comes as soon as the body is known to be too large, and is never a server error."""
    body = make()
    reply = await fair(lambda: posted(app, "/v1/chat/completions", body, (b"content-encoding", packing)))
    assert (reply.status, orjson.loads(reply.body)["error"]["code"]) == (status, code)


@pytest.mark.parametrize(
    "kind", ["numbers", "many long names", "quotes", "no end", "many messages", "escaped characters"]
)
async def test_the_room_for_bodies_is_given_back(app: GatewayApp, kind: str) -> None:
    """The room is free again however a request ends, on every route that takes a body."""
    room = app.model_endpoints["/v1/chat/completions"]._deps.bodies
    before, body = room.left, (BOMBS | BROKEN | TEXTS)[kind]()[: 10 * 1024 * 1024]
    for path in ("/v1/chat/completions", "/v1/messages/count_tokens", "/v1/feedback", "/v1/keys"):
        await posted(app, path, body)
        await posted(app, path, gzip.compress(body, 1), GZIP)
        await posted(app, path, body[: 100 * 1024])
    assert room.left == before


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        (b"a" * 10_000, 0),
        (b"a" * 100_000, 300_060),
        (b"\xc3\xa9" * 50_000, 600_120),
        (b"\\u00e9" * 20_000, 720_120),
    ],
    ids=["small", "narrow", "wide", "escaped"],
)
async def test_bodies_take_room_by_what_they_take_of_memory(text: bytes, taken: int) -> None:
    """Small bodies take no room; others take three or six times their text, and their structure."""
    room = BodyRoom(1_000_000, 0)
    before, body = room.left, b'{"content":"' + text + b'","items":[]}'
    messages = iter([{"type": "http.request", "body": body}])

    async def receive() -> dict[str, Any]:
        return next(messages)

    with room.place() as place:
        await read_request(receive, [], place)
        assert 0 <= before - room.left - taken < 1_500
    assert room.left == before


async def test_everyday_requests_are_within_the_bounds(app: GatewayApp) -> None:
    """Two thousand messages, 128 tools with nested schemas and a file in base64 are accepted."""
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(15):
        schema = {"type": "object", "properties": {"inner": schema, "items": {"type": "array"}}}
    tool = {"type": "function", "function": {"name": "look", "parameters": schema}}
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 5_000_000}}
    request = {
        "model": "support",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}, picture]}]
        + [{"role": "user", "content": [{"type": "text", "text": "And?"}]}] * 2_000,
        "tools": [tool] * 128,
    }
    assert (await posted(app, "/v1/chat/completions", orjson.dumps(request))).status == 200
