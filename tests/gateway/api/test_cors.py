"""Calls from pages in a browser: declared origins pass, others do not; nothing changes for other clients."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from gateway.cli.reading import check_origins
from gateway.config.api_keys import hash_key
from gateway.config.gateway_file import GatewayConfig
from gateway.errors import ConfigError
from tests.gateway.building import config_fields
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.whole import Whole, quick_settings, whole_gateway

PAGE = "https://app.example.com"
PATHS = ["/v1/chat/completions", "/v1/feedback", "/v1/models", "/v1/messages"]
QUESTION = {"model": "plain", "messages": [{"role": "user", "content": "Hello?"}]}


def configured(upstream: FakeUpstream, *origins: str) -> GatewayConfig:
    """A gateway with the key `app` that declares these origins."""
    keys = {"client_keys": [hash_key("app")]}
    fields = {**config_fields(api_base=upstream.api_base, auth=keys), "cors_origins": list(origins)}
    return GatewayConfig.model_validate(fields)


@pytest.fixture
async def gateway(upstream: FakeUpstream, embedded_url: str) -> AsyncIterator[Whole]:
    """A gateway that one page may call."""
    async with whole_gateway(configured(upstream, PAGE), quick_settings(embedded_url)) as gateway:
        yield gateway


async def send(
    gateway: Whole, method: str, path: str, origin: str | None, **options: Any
) -> aiohttp.ClientResponse:
    """What a browser sends for a page, its answer read to the end."""
    headers = options.pop("headers", {}) | ({} if origin is None else {"origin": origin})
    async with gateway.session.request(method, gateway.url + path, headers=headers, **options) as answer:
        await answer.read()
        return answer


async def preflight(gateway: Whole, path: str, origin: str) -> aiohttp.ClientResponse:
    """What a browser asks before it sends a key and JSON."""
    asked = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,x-stainless-lang",
    }
    return await send(gateway, "OPTIONS", path, origin, headers=asked)


@pytest.mark.parametrize("path", PATHS)
async def test_a_page_of_a_declared_origin_may_ask_before_it_calls(gateway: Whole, path: str) -> None:
    """A preflight needs no key, because browsers send none, and allows the headers of client libraries."""
    answer = await preflight(gateway, path, PAGE)

    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "x-stainless-lang" in answer.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize(
    ("key", "stream", "status"), [("app", False, 200), ("app", True, 200), ("wrong", False, 401)]
)
async def test_its_page_reads_the_answer_whatever_it_is(
    gateway: Whole, key: str, stream: bool, status: int
) -> None:
    """Whole, streamed or an error, with the headers that name the request."""
    answer = await send(
        gateway,
        "POST",
        "/v1/chat/completions",
        PAGE,
        headers={"authorization": f"Bearer {key}"},
        json={**QUESTION, "stream": stream},
    )

    assert (answer.status, answer.headers["access-control-allow-origin"]) == (status, PAGE)
    assert "x-request-id" in answer.headers["access-control-expose-headers"]


async def test_pages_of_other_origins_are_refused(gateway: Whole) -> None:
    """The browser keeps the answer from them."""
    asked = await preflight(gateway, "/v1/chat/completions", "https://evil.example")
    got = await send(gateway, "GET", "/v1/models", "https://evil.example")

    assert asked.status == 400
    assert "access-control-allow-origin" not in {*asked.headers, *got.headers}


async def test_clients_that_are_no_pages_see_no_difference(gateway: Whole) -> None:
    """Nothing is added to their answers."""
    reply = await replace(gateway, key="app").ask("plain")

    assert reply.status == 200
    assert not [name for name in reply.headers if name.startswith("access-control")]


async def test_without_declared_origins_no_page_may_call(upstream: FakeUpstream, embedded_url: str) -> None:
    """This is the behaviour from before there was the setting."""
    async with whole_gateway(configured(upstream), quick_settings(embedded_url)) as gateway:
        answer = await preflight(gateway, "/v1/chat/completions", PAGE)

    assert answer.status == 405
    assert "access-control-allow-origin" not in answer.headers


async def test_any_origin_may_be_declared(upstream: FakeUpstream, embedded_url: str) -> None:
    """Keys are still needed."""
    async with whole_gateway(configured(upstream, "*"), quick_settings(embedded_url)) as gateway:
        asked = await preflight(gateway, "/v1/chat/completions", "https://anywhere.example")
        got = await send(gateway, "GET", "/v1/models", "https://anywhere.example")

    assert asked.status == 200
    assert (got.status, got.headers["access-control-allow-origin"]) == (401, "*")


def test_any_origin_without_keys_is_refused_at_start(upstream: FakeUpstream) -> None:
    """Every page that the operator has open could use the gateway otherwise."""
    config = configured(upstream, "*")
    with pytest.raises(ConfigError) as refused:
        check_origins(config, has_keys=False)
    check_origins(config, has_keys=True)
    check_origins(configured(upstream, PAGE), has_keys=False)

    assert refused.value.issues[0].path == "cors_origins"
