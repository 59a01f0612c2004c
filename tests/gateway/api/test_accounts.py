"""What every request leaves behind, on every route: an id in the answer, and its place in the numbers."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from gateway.api.accounts import UNMATCHED
from gateway.running.request_id import request_id_of
from tests.gateway.building import NAME, gateway_config
from tests.gateway.fake_upstream import FakeUpstream, answer
from tests.gateway.whole import Whole, eventually, quick_settings, whole_gateway

CHAT = "/v1/chat/completions"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", CHAT),
        ("POST", "/v1/messages"),
        ("POST", "/v1/feedback"),
        ("GET", "/v1/models"),
        ("GET", f"/v1/experiments/{NAME}"),
        ("GET", "/healthz"),
        ("GET", "/metrics"),
        ("GET", "/nowhere"),
        ("PATCH", CHAT),
    ],
)
async def test_a_callers_request_id_is_taken_over_and_echoed(
    upstream: FakeUpstream, embedded_url: str, method: str, path: str
) -> None:
    """Every route echoes the id with every status, so that the logs of both sides can be joined."""
    config = gateway_config(api_base=upstream.api_base)
    async with whole_gateway(config, quick_settings(embedded_url)) as gateway:
        headers = {"x-request-id": "5f2c:order-17.a_b"}
        async with gateway.session.request(method, gateway.url + path, data=b"{}", headers=headers) as reply:
            assert reply.headers.getall("x-request-id") == ["5f2c:order-17.a_b"]
        async with gateway.session.request(method, gateway.url + path, data=b"{}") as reply:
            assert reply.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize(
    "value", [b"", b" ", b"a b", b'a"b', b"a\x1b[31m", b"a\xc3\xa9", b"{}", b"a" * 129, b"-a", b"a\n"]
)
def test_an_id_that_could_not_be_written_anywhere_is_replaced(value: bytes) -> None:
    """What stands in a header and in every log line is bounded, and needs no escaping."""
    assert request_id_of([(b"x-request-id", value)]).startswith("req_")
    assert request_id_of([(b"x-request-id", b"a" * 128)]) == "a" * 128
    assert request_id_of([]) != request_id_of([])


async def test_every_route_counts_under_its_declared_path(upstream: FakeUpstream, embedded_url: str) -> None:
    """Routes of administration, operation and pages count too, and parameters of a path are no labels."""
    config = gateway_config(api_base=upstream.api_base)
    async with whole_gateway(config, quick_settings(embedded_url)) as gateway:
        assert gateway.app is not None
        paths = [*gateway.app.openapi()["paths"], "/", "/console", "/openapi.json"]
        for path in paths:
            await gateway.call("TRACE", path.replace("{name}", "some").replace("{model}", "some"))
        counted = {path: await gateway.metric("llmpo_requests_total", endpoint=path) for path in paths}
        assert await gateway.metric("llmpo_requests_total", endpoint=UNMATCHED) == 0
    assert {path: count >= 1 for path, count in counted.items()} == dict.fromkeys(paths, True)


async def test_paths_that_do_not_exist_share_one_label(upstream: FakeUpstream, embedded_url: str) -> None:
    """Callers can make up as many as they like."""
    config = gateway_config(api_base=upstream.api_base)
    async with whole_gateway(config, quick_settings(embedded_url)) as gateway:
        for number in range(5):
            await gateway.get(f"/made-up-{number}")
        text = (await gateway.get("/metrics")).body.decode()
        counted = await gateway.metric("llmpo_requests_total", endpoint=UNMATCHED, status="404")
    assert counted == 5
    assert "made-up" not in text


async def test_a_request_under_way_is_in_flight(upstream: FakeUpstream, embedded_url: str) -> None:
    """A request counts until its answer is complete or its caller has left, and so does the scrape itself."""
    upstream.on("plain", answer(pause_seconds=60))
    config = gateway_config(api_base=upstream.api_base)
    async with whole_gateway(config, quick_settings(embedded_url)) as gateway:
        is_busy = partial(_in_flight, gateway, 1)
        is_idle = partial(_in_flight, gateway, 0)

        assert await gateway.metric("llmpo_requests_in_flight", endpoint="/metrics") == 1
        asking = asyncio.create_task(gateway.ask("plain"))
        await eventually(is_busy, "a request in flight")
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await eventually(is_idle, "no request in flight")


async def _in_flight(gateway: Whole, requests: int) -> bool:
    return await gateway.metric("llmpo_requests_in_flight", endpoint=CHAT) == requests
