"""The gateway that made-up requests are sent to."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio

from tests.gateway.api.openapi.fuzzing import fuzzed_config
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.process import Served
from tests.gateway.whole import JSON, Whole


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    """One gateway process for all tests here, over a provider that answers every kind of request."""
    folder = tmp_path_factory.mktemp("gateway")
    async with FakeUpstream() as upstream, aiohttp.ClientSession(headers=JSON) as session:
        served = Served(folder, fuzzed_config(upstream, folder), session)
        try:
            yield await served.start()
        finally:
            served.clean_up()
