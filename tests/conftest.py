"""Fixtures every test folder may use: the state on both servers the gateway supports."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from policy_store.connect import connect
from policy_store.store import PolicyStore
from tests.servers import SERVERS, StoreServer, free_port


@pytest.fixture(name="free_port")
def free_port_fixture() -> int:
    """A loopback port for a server of the test's own."""
    return free_port()


@pytest.fixture(scope="session", params=sorted(SERVERS))
def store_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StoreServer]:
    """One running server of each kind, shared by all tests: do not stop it."""
    server = SERVERS[request.param](tmp_path_factory.mktemp(request.param))
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def store_url(store_server: StoreServer) -> str:
    """URL of an empty store, on each kind of server."""
    redis = connect(store_server.url)
    await redis.flushall()
    await redis.aclose()
    return store_server.url


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[PolicyStore]:
    """An empty store, on each kind of server."""
    store = PolicyStore(connect(store_url, timeout_seconds=5), timeout_seconds=5)
    yield store
    await store.aclose()
