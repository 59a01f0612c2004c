"""Who may report on an answer: the key that got it, admins, and others where the file shares ids."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from gateway.config.api_keys import hash_key
from tests.gateway.building import gateway_config
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.whole import Whole, quick_settings, whole_gateway


@asynccontextmanager
async def keyed(upstream: FakeUpstream, url: str, **experiment: Any) -> AsyncIterator[Whole]:
    """A gateway called with the key `web`, which also knows `app`, `slow` (2 requests a minute) and `ops`."""
    keys = {name: {"hash": hash_key(name)} for name in ("web", "app")}
    keys["slow"] = {"hash": hash_key("slow"), "limits": {"requests_per_minute": 2}}
    auth = {"keys": keys, "admin_keys": [hash_key("ops")]}
    config = gateway_config(
        api_base=upstream.api_base, auth=auth, promotion={"min_comparisons": 10_000}, **experiment
    )
    async with whole_gateway(config, quick_settings(url), key="web") as gateway:
        yield gateway


@pytest.fixture
async def gateway(upstream: FakeUpstream, embedded_url: str) -> AsyncIterator[Whole]:
    """Every request takes part."""
    async with keyed(upstream, embedded_url) as found:
        yield found


@pytest.mark.parametrize("share", [1.0, 0.0])
async def test_another_client_key_cannot_vote_first(
    upstream: FakeUpstream, embedded_url: str, share: float
) -> None:
    """It learns nothing, not even whether the answer takes part; the vote of the key that got it counts."""
    async with keyed(upstream, embedded_url, traffic={"share": share}) as gateway:
        report = {"id": (await gateway.ask()).json["id"], "signal": "thumb", "value": False}

        foreign = await replace(gateway, key="app").feed(**report)

        assert (foreign.status, foreign.code) == (404, "foreign_id")
        own = await gateway.feed(**{**report, "value": True})
        assert own.json["status"] == ("pending" if share else "not_counted")


async def test_admin_keys_may_report_on_any_answer(gateway: Whole) -> None:
    """An operator's tools report what users of all applications said."""
    answer = await gateway.ask()

    reply = await replace(gateway, key="ops").feed(id=answer.json["id"], signal="thumb", value=True)

    assert reply.json["status"] == "pending"


async def test_shared_ids_may_be_reported_on_by_any_client_key(
    upstream: FakeUpstream, embedded_url: str
) -> None:
    """Where one application answers and another collects what users say."""
    async with keyed(upstream, embedded_url, feedback={"shared_ids": True}) as gateway:
        answer = await gateway.ask()

        reply = await replace(gateway, key="app").feed(id=answer.json["id"], signal="thumb", value=True)

        assert reply.json["status"] == "pending"


async def test_feedback_counts_as_requests_of_a_limited_key(gateway: Whole) -> None:
    """A key cannot vote faster than it may ask."""
    slow = replace(gateway, key="slow")
    answer = await slow.ask()

    replies = [await slow.feed(id=answer.json["id"], signal="thumb", value=True) for _ in range(2)]

    assert [reply.status for reply in replies] == [200, 429]
