"""The data plane over a provider that answers every kind of request."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gateway.config.gateway_file import ModelEntry
from tests.gateway.api.surfaces.answers import good
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.live import Live, entry, experiment, live_gateway

POLICIES = {
    "alpha": {"model": "small", "system": "You are alpha.", "params": {"temperature": 0.25}},
    "beta": {"model": "large", "system": "You are beta.", "params": {"temperature": 0.75, "max_tokens": 9}},
}
ANTHROPIC_POLICIES = {
    name: {**policy, "model": f"claude-{policy['model']}"} for name, policy in POLICIES.items()
}


def entries(upstream: FakeUpstream) -> list[ModelEntry]:
    """`small` and `large` speak OpenAI's format, `claude-small` and `claude-large` Anthropic's."""
    openai = [entry(name, upstream.api_base) for name in ("small", "large")]
    base = f"http://127.0.0.1:{upstream.port}"
    return [
        *openai,
        *(entry(f"claude-{name}", base, provider="anthropic") for name in ("small", "large")),
    ]


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    """A provider that answers whatever it is asked."""
    async with FakeUpstream() as upstream:
        for model in ("small", "large", "claude-small", "claude-large"):
            upstream.on(model, good())
        yield upstream


@pytest.fixture
async def gateway(upstream: FakeUpstream) -> AsyncIterator[Live]:
    """Plain models, and two experiments: `support` of OpenAI's format, `claude` of Anthropic's."""
    base = upstream.api_base
    experiments = [
        experiment(base, POLICIES),
        experiment(base, ANTHROPIC_POLICIES, name="claude"),
    ]
    async with live_gateway(experiments, entries(upstream)) as gateway:
        yield gateway
