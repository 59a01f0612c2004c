"""The data plane with a running experiment over the fake provider."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.live import Live, entry, experiment, live_gateway
from tests.gateway.serving.clock import Clock


@pytest.fixture
def clock() -> Clock:
    """At some moment."""
    return Clock()


@pytest.fixture
async def gateway(upstream: FakeUpstream) -> AsyncIterator[Live]:
    """Models `small` and `large`; experiment `support`: `alpha` (the incumbent) against `beta`."""
    base = upstream.api_base
    async with live_gateway(
        [experiment(base)], [entry("small", base), entry("large", base)], http2=upstream.is_http2
    ) as gateway:
        yield gateway


@pytest.fixture
async def duel_gateway(upstream: FakeUpstream) -> AsyncIterator[Live]:
    """A gateway whose experiment answers side by side."""
    base = upstream.api_base
    async with live_gateway(
        [experiment(base, collect="side_by_side")],
        [entry("small", base), entry("large", base)],
        http2=upstream.is_http2,
    ) as gateway:
        yield gateway
