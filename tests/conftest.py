"""Fixtures every test folder may use: the state on both servers the gateway supports."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import ExitStack
from functools import cache
from typing import Any, Final

import pytest
import structlog

from gateway.running.logs import configure_logging
from gateway.running.memory import settle_memory
from gateway.simulation.runner import available_cores
from policy_store.connect import connect
from policy_store.store import PolicyStore
from tests.ordering import InOrder, place
from tests.pace import PATIENCE_SECONDS
from tests.servers import GROUPS, SERVERS, ServerGroup, free_port

_ABOUT_CONNECTIONS: Final = {
    *("test_address", "test_connections", "test_experiments"),
    *("test_failover", "test_faults", "test_replicas", "test_shared_trips"),
}
"""Files of tests of the store that depend on how a server is found, asked and lost."""


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Modules and tests stay until the end: no collection of garbage walks them, now or later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        settle_memory()


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None, None, None]:
    """Tables of cases are walked on the embedded server only, and the longest files come first."""
    _mark_long(items)
    yield
    items.sort(key=lambda item: place(item.nodeid))


def _mark_long(items: list[pytest.Item]) -> None:
    """What all servers do alike takes long on all of them.

    Behind Sentinels is one server as well, which is asked like any other once it is found. So only what is
    about finding and losing it is tried there each time.
    """
    for item in items:
        cases = getattr(getattr(item, "callspec", None), "params", {})
        kind = cases.get("store_server")
        is_as_usual = kind == "sentinel" and item.path.stem not in _ABOUT_CONNECTIONS
        if kind == "redis" or is_as_usual or (kind in GROUPS and len(cases) > 1):
            item.add_marker(pytest.mark.long)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One process more than there are cores, because many tests wait for processes and providers."""
    return available_cores() + 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config) -> InOrder | None:
    """With `--dist loadfile`, files are handed out as they are ordered."""
    if config.option.dist != "loadfile":
        return None
    config.option.loadscopereorder = False
    return InOrder(config)


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


@pytest.fixture(scope="session", autouse=True)
def _loggers_are_not_kept() -> Iterator[None]:
    """A test that configures logging binds no module's logger for good: later tests capture its lines too."""
    configure = structlog.configure

    def configured(**options: Any) -> None:
        configure(**{**options, "cache_logger_on_first_use": False})

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(structlog, "configure", configured)
        yield


@pytest.fixture(scope="session", autouse=True)
def _tracebacks_are_plain() -> None:
    """Where logging is not configured, structlog draws a traceback with all variables, in half a second."""
    renderer = structlog.get_config()["processors"][-1]
    assert isinstance(renderer, structlog.dev.ConsoleRenderer)
    renderer.exception_formatter = structlog.dev.plain_traceback


@pytest.fixture(autouse=True)
def _no_log_outlives_its_test() -> Iterator[None]:
    """A command that a test runs in this process sends the log to a stream which ends with the test."""
    yield
    root = logging.getLogger()
    for handler in [each for each in root.handlers if type(each).__module__ == configure_logging.__module__]:
        root.removeHandler(handler)
        structlog.reset_defaults()


@pytest.fixture(scope="session")
def running_stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], ServerGroup]]:
    """Gives a running store of a kind: started when first asked for, ended after the last test.

    A parametrised fixture would end it whenever the next test is about another kind, which most files do.
    """
    with ExitStack() as until_the_end:

        @cache
        def running(kind: str) -> ServerGroup:
            server = {**SERVERS, **GROUPS}[kind](tmp_path_factory.mktemp(kind))
            until_the_end.callback(server.stop)
            server.start()
            return server

        yield running


@pytest.fixture(scope="session", params=sorted({**SERVERS, **GROUPS}))
def store_server(request: pytest.FixtureRequest, running_stores: Callable[[str], ServerGroup]) -> ServerGroup:
    """One running store of each kind, shared by all tests: do not stop it."""
    return running_stores(request.param)


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
