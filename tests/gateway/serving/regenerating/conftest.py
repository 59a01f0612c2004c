"""A gateway whose experiment compares the answers of callers who ask again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.gateway.building import gateway_config
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.whole import Whole, quick_settings, whole_gateway

Open = Callable[..., Awaitable[Whole]]


@pytest.fixture
async def open_gateway(upstream: FakeUpstream, embedded_url: str) -> AsyncIterator[Open]:
    """Opens gateways on one store: `settings` and `key` are the gateway's, all else is the experiment's."""
    async with AsyncExitStack() as stack:

        async def open_one(
            settings: dict[str, Any] | None = None, key: str | None = None, **experiment: Any
        ) -> Whole:
            traffic = {"share": 1.0, "collect": "regenerate", **experiment.pop("traffic", {})}
            config = gateway_config(
                api_base=upstream.api_base,
                traffic=traffic,
                promotion={"min_comparisons": 10_000, **experiment.pop("promotion", {})},
                **experiment,
            )
            run = quick_settings(embedded_url, **(settings or {}))
            gateway = await stack.enter_async_context(whole_gateway(config, run, key=key))
            await gateway.planned()
            return gateway

        yield open_one


@pytest.fixture
async def gateway(open_gateway: Open) -> Whole:
    """Policies `plain` and `warm`, which say what they are."""
    return await open_gateway()
