"""The list of models, as the official clients of both formats read it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anthropic
import openai
import pytest

from tests.gateway.building import gateway_config
from tests.gateway.whole import Whole, quick_settings, whole_gateway

NAMES = ["support", "plain", "warm"]


@pytest.fixture
async def gateway(embedded_url: str) -> AsyncIterator[Whole]:
    """An experiment of two models."""
    async with whole_gateway(gateway_config(), quick_settings(embedded_url)) as gateway:
        yield gateway


async def test_openais_client_lists_models(gateway: Whole) -> None:
    """All of them, and each by its name."""
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="any") as client:
        listed = [model async for model in client.models.list()]
        assert [model.id for model in listed] == NAMES
        assert {model.object for model in listed} == {"model"}
        assert await client.models.retrieve("support") == listed[0]


async def test_anthropics_client_lists_models(gateway: Whole) -> None:
    """Anthropic's client reads the names for people and gets one page."""
    async with anthropic.AsyncAnthropic(base_url=gateway.url, api_key="any") as client:
        page = await client.models.list()
        assert [(model.id, model.display_name, model.type) for model in page.data] == [
            (name, name, "model") for name in NAMES
        ]
        assert (page.has_more, page.first_id, page.last_id) == (False, NAMES[0], NAMES[-1])
        assert [model.id async for model in client.models.list()] == NAMES
        shown = await client.models.retrieve("support")
        assert shown.created_at == page.data[0].created_at
        assert (shown.created_at.tzinfo, shown.lifecycle) != (None, None)
