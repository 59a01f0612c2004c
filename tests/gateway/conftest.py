"""Fixtures of the gateway's tests: a provider, and one store that is emptied for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import cache
from unittest.mock import patch

import fastapi.routing
import pytest

from policy_store.connect import connect
from policy_store.store import PolicyStore
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.protocols import PROVIDERS
from tests.pace import PATIENCE_SECONDS
from tests.servers import EmbeddedServer


@pytest.fixture(scope="session", autouse=True)
def _answers_described_once() -> Iterator[None]:
    """FastAPI describes the answers of all routes anew for every gateway, a third of a gateway's start."""
    with patch("fastapi.routing.create_model_field", cache(fastapi.routing.create_model_field)):
        yield


@pytest.fixture
def protocol(request: pytest.FixtureRequest) -> str:
    """What the provider speaks; see `both_protocols`."""
    return str(getattr(request, "param", "HTTP/1.1"))


@pytest.fixture
async def upstream(protocol: str) -> AsyncIterator[FakeUpstream]:
    """A provider whose models say `I am MODEL.` until told otherwise."""
    async with PROVIDERS[protocol]() as upstream:
        yield upstream


@pytest.fixture(scope="session")
def embedded_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """An embedded store shared by all tests that do not stop it: what servers do alike is shown elsewhere."""
    server = EmbeddedServer(tmp_path_factory.mktemp("one-store"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def embedded_url(embedded_server: EmbeddedServer) -> str:
    """URL of an empty embedded store."""
    redis = connect(embedded_server.url)
    await redis.flushall()
    await redis.aclose()
    return embedded_server.url


@pytest.fixture
async def embedded_store(embedded_url: str) -> AsyncIterator[PolicyStore]:
    """An empty embedded store."""
    store = PolicyStore(
        connect(embedded_url, timeout_seconds=PATIENCE_SECONDS), timeout_seconds=PATIENCE_SECONDS
    )
    yield store
    await store.aclose()
