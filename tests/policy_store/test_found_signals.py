"""What is found in conversations, and how users rated the same answers, on every kind of server."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from policy_store.found_signals import UNKNOWN, HeardAnswer, Ratings
from policy_store.report_records import MissingVerdict, Precedence, Receipt, Report
from policy_store.roles import Role
from policy_store.store import PolicyStore
from tests.policy_store.building import KEEP_SECONDS, NAME, planned

ANSWER = HeardAnswer("chatcmpl-1", "", "q", "a")
HOUR = 3600.0


async def _hear(store: PolicyStore, digest: str, answer: HeardAnswer = ANSWER) -> None:
    await store.hear_answer(NAME, 1, f"turn-{digest}", answer, digest, HOUR)


async def test_an_answer_is_remembered_until_it_is_forgotten(store: PolicyStore) -> None:
    """A later answer to the same question takes its place."""
    await _hear(store, "d1")
    later = replace(ANSWER, response_id="chatcmpl-2")
    await store.hear_answer(NAME, 1, "turn-d1", later, "d2", HOUR)
    assert await store.heard_answers(NAME, ["turn-d1", "turn-d2"]) == [later, None]
    await store.forget_answer(NAME, "turn-d1")
    assert await store.heard_answers(NAME, ["turn-d1"]) == [None]


async def _rated(store: PolicyStore, *digests: str, is_good: bool = True) -> None:
    now = (await store.counts(NAME, 1)).now
    for digest in digests:
        await store.rate_answer(NAME, 1, digest, now - 1, is_good=is_good)


async def test_ratings_are_counted_by_what_was_found(store: PolicyStore) -> None:
    """The first thing found stands; nothing found is abandoned; an answer that nobody heard is unknown."""
    await planned(store)
    for digest in ("d1", "d2", "d3", "d4"):
        await _hear(store, digest)
    await store.notice(NAME, 1, "d1", "reasked")
    await store.notice(NAME, 1, "d1", "continued")
    await store.notice(NAME, 1, "d2", "reasked")
    await store.notice(NAME, 1, "d4", UNKNOWN)
    await _rated(store, "d1", is_good=False)
    await _rated(store, "d2", "d3", "d4", "d5")
    assert await store.settle_ratings(NAME, 1, 100) == 5
    assert await store.ratings(NAME, 1) == {
        "reasked": Ratings(1, 1),
        "abandoned": Ratings(1, 0),
        UNKNOWN: Ratings(2, 0),
    }


async def test_a_rating_counts_once_and_as_it_was_last(store: PolicyStore) -> None:
    """However many replicas count what is due."""
    await planned(store)
    await _hear(store, "d1")
    await _rated(store, "d1")
    await _rated(store, "d1", is_good=False)
    await asyncio.gather(*(store.settle_ratings(NAME, 1, 100) for _ in range(8)))
    assert await store.ratings(NAME, 1) == {"abandoned": Ratings(0, 1)}


async def test_a_rating_waits_until_it_is_known_what_is_found(store: PolicyStore) -> None:
    """The next request may come until then."""
    await planned(store)
    await _hear(store, "d1")
    now = (await store.counts(NAME, 1)).now
    await store.rate_answer(NAME, 1, "d1", now + HOUR, is_good=True)
    assert await store.settle_ratings(NAME, 1, 100) == 0
    assert await store.ratings(NAME, 1) == {}


async def _outcome(store: PolicyStore, value: float | MissingVerdict, **changes: object) -> Receipt:
    now = (await store.counts(NAME, 1)).now
    said = Report(NAME, 1, "u1", 0, 1, "matched", "", KEEP_SECONDS, due_at=now + HOUR)._replace(**changes)
    recorded = await store.record_outcome(said, side=0, value=value, tie_margin=0.0, wait_seconds=HOUR)
    return recorded.receipt


@pytest.mark.parametrize("informs", [None, Role.IMPLICIT])
async def test_what_is_taken_back_does_not_count(store: PolicyStore, informs: Role | None) -> None:
    """Only if it is what was to come, and nothing was reported in its place."""
    await planned(store)
    left = {"standing": Precedence.MISSING, "fingerprint": "abandoned=-0.25", "informs": informs}
    assert await _outcome(store, -0.25, **left) is Receipt.HELD
    await store.withdraw_missing(NAME, 1, "u1", "missing=refusal", informs)
    assert (await store.counts(NAME, 1, informs)).reports_held == 1
    await store.withdraw_missing(NAME, 1, "u1", "abandoned=-0.25", informs)
    assert (await store.counts(NAME, 1, informs)).reports_held == 0
    assert await _outcome(store, -0.25, **left) is Receipt.HELD
    gone_on = {"standing": Precedence.FOUND, "fingerprint": "continued=0.25", "informs": informs}
    assert await _outcome(store, 0.25, **gone_on) is Receipt.HELD
    await store.withdraw_missing(NAME, 1, "u1", "abandoned=-0.25", informs)
    assert (await store.counts(NAME, 1, informs)).reports_held == 1
