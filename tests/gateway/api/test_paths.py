"""Every way clients write a path, and what those get who ask in another way than a route has."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gateway.api.paths import written_in_full
from tests.gateway.building import gateway_config
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.whole import Whole, quick_settings, whole_gateway

QUESTION = {"model": "plain", "messages": [{"role": "user", "content": "Hello?"}]}
MANY = [f"model-{number}" for number in range(60)]


@pytest.fixture
async def gateway(upstream: FakeUpstream, embedded_url: str) -> AsyncIterator[Whole]:
    """A gateway with many models."""
    config = gateway_config(api_base=upstream.api_base, policies=["plain", *MANY])
    async with whole_gateway(config, quick_settings(embedded_url)) as gateway:
        yield gateway


@pytest.mark.parametrize(
    ("path", "full"),
    [
        ("/v1/models", "/v1/models"),
        ("/v1/models/", "/v1/models"),
        ("/models", "/v1/models"),
        ("/models/openai/gpt-4o", "/v1/models/openai/gpt-4o"),
        ("/v1/v1/messages", "/v1/messages"),
        ("/chat/completions//", "/v1/chat/completions"),
        ("/feedback", "/v1/feedback"),
        ("/", "/"),
        ("//", "/"),
        ("", "/"),
        ("/healthz/", "/healthz"),
        ("/v1", "/v1"),
        ("/modelsx", "/modelsx"),
        ("/console/console.css", "/console/console.css"),
    ],
)
def test_paths_are_written_in_full(path: str, full: str) -> None:
    """Paths have `/v1` once and no slash at the end."""
    assert written_in_full(path) == full


async def test_each_way_of_writing_is_answered_without_a_redirect(gateway: Whole) -> None:
    """Base URLs without `/v1` or with one too many, and slashes at the end."""
    for path in ("/v1/chat/completions", "/chat/completions", "/v1/v1/chat/completions/"):
        reply = await gateway.call("POST", path, QUESTION)
        assert reply.status == 200, path
    for path in ("/v1/models/", "/models", "/healthz/", "/console/", "/v1/experiments/", "/metrics/"):
        async with gateway.session.get(gateway.url + path, allow_redirects=False) as answer:
            assert answer.status == 200, path
    assert (await gateway.get("/models/plain/")).json["id"] == "plain"


async def test_a_wrong_method_is_told_the_right_ones(gateway: Whole) -> None:
    """405 names every method of the path, on every route."""
    allowed = {
        "/v1/chat/completions": "POST",
        "/v1/feedback": "POST",
        "/v1/models": "GET, HEAD",
        "/v1/models/plain": "GET, HEAD",
        "/v1/keys": "GET, POST",
        "/v1/keys/a": "DELETE",
        "/v1/experiments": "GET",
        "/v1/experiments/support": "GET",
        "/v1/experiments/support/log": "GET",
        "/healthz": "GET, HEAD",
        "/metrics": "GET",
        "/console": "GET, HEAD",
        "/openapi.json": "GET, HEAD",
        "/": "GET, HEAD",
    }
    for path, methods in allowed.items():
        reply = await gateway.call("PATCH", path)
        assert (reply.status, reply.headers["allow"]) == (405, methods), path


async def test_an_unknown_model_is_told_the_known_ones(gateway: Whole) -> None:
    """The first of them, and how many more there are."""
    for reply in (
        await gateway.ask("gpt-5"),
        await gateway.get("/v1/models/gpt-5"),
        await gateway.call("POST", "/v1/messages", {**QUESTION, "model": "gpt-5", "max_tokens": 1}),
    ):
        message = reply.json["error"]["message"]
        assert reply.status == 404
        assert "'gpt-5'" in message
        assert "support, plain, model-0" in message
        assert message.endswith("and 42 more.")


async def test_an_unknown_models_name_is_cut_short(gateway: Whole) -> None:
    """A caller may write any; it is not repeated as a whole."""
    assert len((await gateway.ask("x" * 100_000)).body) < 1500


async def test_the_root_shows_the_way(gateway: Whole) -> None:
    """A page that names the console and every route, at the two addresses people try."""
    for path in ("/", "/docs"):
        reply = await gateway.get(path)
        page = reply.body.decode()
        assert reply.status == 200
        assert reply.headers["content-type"].startswith("text/html")
        assert 'href="/console"' in page
        assert "/v1/chat/completions" in page
        assert "/v1/feedback" in page
