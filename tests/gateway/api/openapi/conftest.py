"""The gateway that made-up requests are sent to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.gateway.api.openapi.fuzzing import fuzzed_config
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.process import Served
from tests.gateway.whole import JSON, Whole


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Whole]:
    """A gateway process over a provider that answers every kind of request."""
    async with FakeUpstream() as upstream, aiohttp.ClientSession(headers=JSON) as session:
        served = Served(tmp_path, fuzzed_config(upstream, tmp_path), session)
        try:
            yield await served.start()
        finally:
            served.clean_up()
