"""Fixtures of the gateway's tests: a provider, and one store that is emptied for each test."""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator, Iterator
from functools import cache
from typing import Any
from unittest.mock import patch

import fastapi.routing
import pytest
from fastapi.routing import APIRoute
from httpx._transports import default

from policy_store.connect import connect
from policy_store.store import PolicyStore
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.late_routes import declare_route, describe_route
from tests.gateway.protocols import PROVIDERS
from tests.pace import PATIENCE_SECONDS
from tests.servers import EmbeddedServer


@pytest.fixture(scope="session", autouse=True)
def _routes_described_late() -> Iterator[None]:
    """FastAPI describes every route of every gateway anew, most of its start; a test asks few routes."""
    with (
        patch.object(APIRoute, "__init__", declare_route),
        patch.object(APIRoute, "__getattr__", describe_route, create=True),
        patch("fastapi.routing.create_model_field", cache(fastapi.routing.create_model_field)),
    ):
        yield


@pytest.fixture(scope="session", autouse=True)
def _certificates_read_once() -> Iterator[None]:
    """Every client of httpx would read all certificates of this machine, for a twentieth of a second."""
    create = default.create_ssl_context

    @cache
    def created(verify: Any, cert: Any, trust_env: bool, _file: str | None) -> ssl.SSLContext:
        return create(verify, cert, trust_env)

    def found(verify: Any = True, cert: Any = None, trust_env: bool = True) -> ssl.SSLContext:
        return created(verify, cert, trust_env, os.environ.get("SSL_CERT_FILE"))

    with patch.object(default, "create_ssl_context", found):
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
