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
        api_base=upstream.api_base, auth=auth, **{"promotion": {"min_comparisons": 10_000}, **experiment}
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
    """Another key does not learn whether the answer takes part, and the owner's vote still counts."""
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
    """`shared_ids` serves teams where one application answers and another one collects feedback."""
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


async def test_one_user_votes_once_on_a_pair(gateway: Whole) -> None:
    """More requests or invented sessions give no more votes; other users still vote."""
    statuses = []
    for user, session in (("ann", "s1"), ("ann", "s2"), ("bob", "s1")):
        answer = await gateway.ask(user=user, metadata={"session_id": session})
        reply = await gateway.feed(id=answer.json["id"], signal="thumb", value=True)
        statuses.append((reply.json["status"], reply.json.get("reason")))

    assert statuses[0] == ("pending", None)
    assert statuses[1] == ("not_counted", "voter_cap")
    assert statuses[2][0] in {"pending", "counted"}


async def test_one_key_among_several_promotes_nothing(upstream: FakeUpstream, embedded_url: str) -> None:
    """Votes of many made-up users for one policy: ten are taken, nothing is decided, and why is said."""
    promotion = {"min_comparisons": 2}
    async with keyed(upstream, embedded_url, promotion=promotion) as gateway:
        await replace(gateway, key="ops").planned()
        for number in range(60):
            answer = await gateway.ask(user=f"made up {number}")
            favourite = answer.json["choices"][0]["message"]["content"] == "warm"
            await gateway.feed(id=answer.json["id"], signal="thumb", value=favourite)

        found = await replace(gateway, key="ops").experiment()

    assert found["state"] == "running"
    assert found["comparisons"] <= 5
    (warning,) = (each for each in found["warnings"] if "feedback.key_share" in each)
    assert warning.startswith("50 reports were not counted, because one API key may give 0.5 of the votes")


async def test_decision_waits_for_enough_voters(upstream: FakeUpstream, embedded_url: str) -> None:
    """The API says what it waits for; votes of a key that names no users are those of one voter."""
    promotion = {"min_comparisons": 2, "min_voters": 10}
    config = {"promotion": promotion, "feedback": {"key_share": 1}}
    async with keyed(upstream, embedded_url, **config) as gateway:
        await replace(gateway, key="ops").planned()
        for _ in range(12):
            await gateway.thumb(good=True)

        found = await replace(gateway, key="ops").experiment()

    assert (found["state"], found["voters"], found["largest_voter"]) == ("running", 1, found["votes"])
    assert "promotion.min_voters" in found["held"][0]
    assert found["held"][0] in found["warnings"]
