"""Requests of every wrong shape, on every route with a body: a 4xx or an answer, never a server error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from gateway.config.api_keys import hash_key
from tests.abuse.shapes import Shape, shapes
from tests.gateway.api.openapi.fuzzing import broken_answers, fuzzed_config
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.process import Served
from tests.gateway.whole import JSON, Whole

AT_ONCE = 4
ADMIN = "llmpo-admin-key-of-some-length-0000"
# A limit on tokens has what a request may take estimated, from fields of any shape.
LIMITS = {"tokens_per_minute": 10**12, "requests_per_minute": 10**9, "concurrent_requests": 100}


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Whole]:
    """A gateway process whose callers' requests are estimated; its provider answers whatever it is asked."""
    async with FakeUpstream() as upstream, aiohttp.ClientSession(headers=JSON) as session:
        keys = {"admin": {"hash": hash_key(ADMIN), "role": "admin", "limits": LIMITS}}
        served = Served(tmp_path, {**fuzzed_config(upstream, tmp_path), "auth": {"keys": keys}}, session)
        try:
            gateway = await served.start()
            gateway.key = ADMIN
            yield gateway
        finally:
            served.clean_up()


async def faults(gateway: Whole, made: Iterator[Shape]) -> list[str]:
    """The requests that got what none should, and what that was."""
    found = []

    async def send() -> None:
        for shape in made:
            reply = await gateway.call("POST", shape.path, raw=shape.body)
            if reply.status >= 500 or (reply.status >= 400 and not reply.json["error"]["message"]):
                found.append(f"{reply.status} {shape.path} {shape.body[:600]!r}: {reply.body!r:.300}")

    await asyncio.gather(*(send() for _ in range(AT_ONCE)))
    return found


async def test_no_shape_is_a_server_error(gateway: Whole) -> None:
    """Two hundred random shapes, and every text that is difficult as JSON, cause no server error."""
    assert await faults(gateway, shapes(200)) == []
    assert await broken_answers(gateway) == 0


@pytest.mark.long
@pytest.mark.timeout(7200)
async def test_thirty_thousand_shapes_are_no_server_errors(gateway: Whole) -> None:
    """A quarter of all there are: each field with each value, on each route and each kind of model."""
    assert await faults(gateway, shapes(30_000, seed=2)) == []
    assert await broken_answers(gateway) == 0
