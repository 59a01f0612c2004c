"""Gateways as real processes, over a provider that never fails."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.gateway.building import config_fields
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.process import Served
from tests.servers import SERVERS, StoreServer


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    """A provider whose models say who they are."""
    async with FakeUpstream() as upstream:
        yield upstream


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """An HTTP client."""
    async with aiohttp.ClientSession(headers={"content-type": "application/json"}) as session:
        yield session


@pytest.fixture
async def serve(
    tmp_path: Path, upstream: FakeUpstream, session: aiohttp.ClientSession
) -> AsyncIterator[Callable[..., Served]]:
    """Makes gateways with a side-by-side experiment that takes part in every request."""
    made: list[Served] = []

    def make(**changes: Any) -> Served:
        fields = {
            "traffic": {"share": 1.0, "collect": "side_by_side"},
            "promotion": {"min_comparisons": 100_000},
            **changes,
        }
        folder = tmp_path / f"gateway{len(made)}"
        folder.mkdir()
        made.append(Served(folder, config_fields(api_base=upstream.api_base, **fields), session))
        return made[-1]

    yield make
    for served in made:
        served.clean_up()


@pytest.fixture(params=["redis", pytest.param("embedded", marks=pytest.mark.long)])
def own_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StoreServer]:
    """A store server of the test's own, to be killed and frozen; gateways know it by its address only."""
    server = SERVERS[request.param](tmp_path / "store")
    server.start()
    yield server
    server.stop()
