"""Fixtures every test folder may use: the state on both servers the gateway supports."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Generator, Iterator

import pytest

from policy_store.connect import connect
from policy_store.store import PolicyStore
from tests.pace import PATIENCE_SECONDS
from tests.servers import GROUPS, SERVERS, ServerGroup, free_port


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What all servers do alike takes long on all of them: tables of cases are walked on the embedded one."""
    for item in items:
        cases = getattr(getattr(item, "callspec", None), "params", {})
        kind = cases.get("store_server")
        if kind == "redis" or (kind in GROUPS and len(cases) > 1):
            item.add_marker(pytest.mark.long)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where `CI` is set every tool is installed, so a test that is skipped there has failed."""
    report = yield
    if report.skipped and os.environ.get("CI"):
        report.outcome, report.longrepr = "failed", f"skipped, which CI may not do: {report.longrepr}"
    return report


@pytest.fixture(name="free_port")
def free_port_fixture() -> int:
    """A loopback port for a server of the test's own."""
    return free_port()


@pytest.fixture(scope="session", params=sorted({**SERVERS, **GROUPS}))
def store_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerGroup]:
    """One running store of each kind, shared by all tests: do not stop it."""
    server = {**SERVERS, **GROUPS}[request.param](tmp_path_factory.mktemp(request.param))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
async def store_url(store_server: ServerGroup) -> str:
    """URL of an empty store, on each kind of server."""
    redis = connect(store_server.url)
    await redis.flushall()
    await redis.aclose()
    return store_server.url


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[PolicyStore]:
    """An empty store, on each kind of server."""
    store = PolicyStore(
        connect(store_url, timeout_seconds=PATIENCE_SECONDS), timeout_seconds=PATIENCE_SECONDS
    )
    yield store
    await store.aclose()
