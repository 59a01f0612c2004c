"""The sealing secret is changed under way: answers given before still take feedback, sessions stay."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.config.gateway_file import GatewayConfig
from tests.gateway.building import gateway_config
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.whole import Whole, quick_settings, whole_gateway

OLD, NEW = "o" * 32, "n" * 32


def rotated(**changes: Any) -> dict[str, Any]:
    """The settings after a rotation from OLD to NEW."""
    return {"token_secret": NEW, "previous_token_secret": OLD, **changes}


@pytest.fixture
def config(upstream: FakeUpstream) -> GatewayConfig:
    """An experiment by session that draws everyone in and decides nothing."""
    return gateway_config(
        api_base=upstream.api_base,
        traffic={"share": 1.0, "collect": "matched", "unit": "session"},
        promotion={"min_comparisons": 10_000},
    )


@asynccontextmanager
async def replica(config: GatewayConfig, store: str, **secrets: Any) -> AsyncIterator[Whole]:
    """A gateway with these secrets whose experiment has a plan."""
    async with whole_gateway(config, quick_settings(store, **secrets)) as gateway:
        await gateway.planned()
        yield gateway


async def answers(gateway: Whole, sessions: int = 12) -> list[dict[str, Any]]:
    """One answer to each of a few sessions."""
    return [(await gateway.ask(metadata={"session_id": f"s{number}"})).json for number in range(sessions)]


def said(replies: list[dict[str, Any]]) -> list[str]:
    """Which model spoke in each."""
    return [reply["choices"][0]["message"]["content"] for reply in replies]


async def test_ids_sealed_before_a_rotation_take_feedback_after_it(
    config: GatewayConfig, embedded_url: str
) -> None:
    """Old ids take feedback as long as the previous secret is set."""
    async with replica(config, embedded_url, token_secret=OLD) as before:
        sealed = (await answers(before, 1))[0]["id"]

    async with replica(config, embedded_url, **rotated()) as after:
        reply = await after.feed(id=sealed, signal="thumb", value=True)

    assert (reply.status, reply.json["status"]) == (200, "pending")


async def test_ids_sealed_with_a_secret_that_was_dropped_are_refused(
    config: GatewayConfig, embedded_url: str
) -> None:
    """Dropping a secret that leaked ends its use."""
    async with replica(config, embedded_url, token_secret=OLD) as before:
        sealed = (await answers(before, 1))[0]["id"]

    async with replica(config, embedded_url, token_secret=NEW) as after:
        reply = await after.feed(id=sealed, signal="thumb", value=True)

    assert (reply.status, reply.code) == (400, "forged_id")


async def test_a_rotated_gateway_seals_with_the_new_secret(config: GatewayConfig, embedded_url: str) -> None:
    """New ids open at gateways that never knew the previous secret."""
    async with replica(config, embedded_url, **rotated()) as during:
        sealed = (await answers(during, 1))[0]["id"]

    async with replica(config, embedded_url, token_secret=NEW) as after:
        assert (await after.feed(id=sealed, signal="thumb", value=True)).status == 200


async def test_sessions_begun_before_a_rotation_stay_with_their_policy_and_unit(
    config: GatewayConfig, embedded_url: str
) -> None:
    """One session is one unit: what it says after the rotation is not counted a second time."""
    async with replica(config, embedded_url, token_secret=OLD) as before:
        first = await answers(before)
        for reply in first:
            assert (await before.feed(id=reply["id"], signal="thumb", value=True)).status == 200

    async with replica(config, embedded_url, **rotated()) as during:
        second = await answers(during)
        receipts = [
            (await during.feed(id=reply["id"], signal="thumb", value=True)).json["status"] for reply in second
        ]

    assert said(second) == said(first)
    assert set(receipts) == {"duplicate"}


async def test_sessions_begun_during_a_rotation_stay_when_the_previous_secret_is_dropped(
    config: GatewayConfig, embedded_url: str
) -> None:
    """Such sessions were named by the new secret from the start."""
    async with replica(config, embedded_url, **rotated()) as during:
        first = await answers(during)

    async with replica(config, embedded_url, token_secret=NEW) as after:
        assert said(await answers(after)) == said(first)


async def test_replicas_that_know_the_next_secret_already_open_its_ids(
    config: GatewayConfig, embedded_url: str
) -> None:
    """A rolling rotation therefore refuses no feedback, in whatever order replicas restart."""
    next_known = {"token_secret": OLD, "previous_token_secret": NEW}
    async with (
        replica(config, embedded_url, **next_known) as not_yet,
        replica(config, embedded_url, **rotated()) as already,
    ):
        first = await answers(already)
        reply = await not_yet.feed(id=first[0]["id"], signal="thumb", value=True)
        assert reply.status == 200
        assert said(await answers(not_yet)) == said(first)
