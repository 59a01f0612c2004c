"""Servers that tests of the store may kill, freeze and misconfigure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import SERVERS, StoreServer


@pytest.fixture(params=sorted(SERVERS))
def own_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StoreServer]:
    """A server of this test's own, to be mistreated."""
    server = SERVERS[request.param](tmp_path / "data")
    server.start()
    yield server
    server.stop()
