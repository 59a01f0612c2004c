"""A gateway with a plan in force, for each way of comparing."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.gateway.building import gateway_config
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.whole import Whole, quick_settings, whole_gateway


@pytest.fixture
async def matched(upstream: FakeUpstream, embedded_url: str) -> AsyncIterator[Whole]:
    """One answer per request, rated by signals."""
    config = gateway_config(api_base=upstream.api_base, promotion={"min_comparisons": 10_000})
    async with whole_gateway(config, quick_settings(embedded_url)) as gateway:
        await gateway.planned()
        yield gateway


@pytest.fixture
async def side_by_side(upstream: FakeUpstream, embedded_url: str) -> AsyncIterator[Whole]:
    """Two answers per request, the user prefers one."""
    config = gateway_config(
        api_base=upstream.api_base,
        traffic={"share": 1.0, "collect": "side_by_side"},
        promotion={"min_comparisons": 10_000},
    )
    async with whole_gateway(config, quick_settings(embedded_url)) as gateway:
        await gateway.planned()
        yield gateway
