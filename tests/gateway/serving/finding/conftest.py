"""A gateway that finds signals in the conversations that callers send back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, Final

import pytest

from gateway.config.found_signals import FoundSignal
from tests.gateway.building import gateway_config
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.whole import Whole, quick_settings, whole_gateway

Open = Callable[..., Awaitable[Whole]]
WEIGHTS: Final = {"continued": 0.25, "reasked": -0.5, "corrected": -0.75, "abandoned": -0.25}


def listed(*names: str, **more: Any) -> dict[str, Any]:
    """A feedback section that lists these signals as found, beside thumbs, with a hold of an hour."""
    found = {name: {"weight": WEIGHTS[name], "found": True} for name in names}
    return {"hold": "1h", "signals": {"thumb": 1, **found}, **more}


@pytest.fixture
async def open_gateway(upstream: FakeUpstream, embedded_url: str) -> AsyncIterator[Open]:
    """Opens gateways on one store: `settings` are the gateway's, all else is the experiment's."""
    async with AsyncExitStack() as stack:

        async def open_one(settings: dict[str, Any] | None = None, **experiment: Any) -> Whole:
            config = gateway_config(
                **{
                    "api_base": upstream.api_base,
                    "feedback": listed(*WEIGHTS),
                    "promotion": {"min_comparisons": 10_000},
                    **experiment,
                }
            )
            run = quick_settings(embedded_url, **(settings or {}))
            gateway = await stack.enter_async_context(whole_gateway(config, run))
            await gateway.planned()
            return gateway

        yield open_one


@pytest.fixture
async def gateway(open_gateway: Open) -> Whole:
    """Policies `plain` and `warm`, which say what they are; all signals are listed."""
    return await open_gateway()


async def found(gateway: Whole, status: str = "held") -> dict[str, int]:
    """How often each signal was found and taken with this status; without those that never were."""
    numbers = {
        name: int(await gateway.metric("llmpo_feedback_total", signal=name, status=status))
        for name in FoundSignal
    }
    return {name: number for name, number in numbers.items() if number}
