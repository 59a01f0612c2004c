"""What sits right on sockets is tested on both loops a gateway may run on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import uvloop

from gateway.upstream.relay import Relay
from gateway.upstream.retry_budget import RetryBudget
from tests.gateway.fake_http2 import FakeHttp2Upstream
from tests.gateway.upstream.asking import LIMITS


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Of a test; pytest-asyncio's hook."""
    if item.path.name in ("test_http2.py", "test_http2_negotiation.py"):
        return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}


@pytest.fixture
async def provider() -> AsyncIterator[FakeHttp2Upstream]:
    """Speaks HTTP/2 and nothing else."""
    async with FakeHttp2Upstream() as provider:
        yield provider


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    """As the gateway has it."""
    relay = Relay(LIMITS, RetryBudget())
    yield relay
    await relay.aclose()
