"""Questions that may be asked again, on every kind of server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from policy_store.clients import StoreClient
from policy_store.connect import connect
from policy_store.turns import KnownTurn, TurnQuery, TurnStore
from tests.pace import PATIENCE_SECONDS

NAME = "support"
FIRST = TurnQuery(
    asked=("new", "old"),
    answered=(),
    generation=1,
    proposal="c1",
    attempt="",
    is_retry=False,
    within_seconds=60,
    window_seconds=600,
)


@pytest.fixture
async def redis(store_url: str) -> AsyncIterator[StoreClient]:
    """A client of an empty store."""
    redis = connect(store_url, timeout_seconds=PATIENCE_SECONDS)
    yield redis
    await redis.aclose()


@pytest.fixture
def turns(redis: StoreClient) -> TurnStore:
    """The turns in it."""
    return TurnStore(redis, timeout_seconds=PATIENCE_SECONDS)


async def _ask(turns: TurnStore, asking: TurnQuery = FIRST) -> KnownTurn | None:
    known, _ = await turns.ask(NAME, asking)
    return known


async def test_a_question_is_asked_again_once_it_is_answered(turns: TurnStore) -> None:
    """Before the answer it is the same question, and the first proposal stays."""
    later = replace(FIRST, proposal="c2")
    assert await _ask(turns) == KnownTurn(0, "c1", 1, ("", ""))
    assert await _ask(turns, later) == KnownTurn(0, "c1", 1, ("", ""))
    await turns.keep_answer(NAME, "new", "c1", 1, "s1")
    assert await _ask(turns, later) == KnownTurn(0, "c1", 2, ("s1", ""))
    assert await _ask(turns, later) == KnownTurn(0, "c1", 2, ("s1", ""))
    await turns.keep_answer(NAME, "new", "c1", 2, "s2")
    assert await _ask(turns, later) == KnownTurn(0, "c1", 3, ("s1", "s2"))
    await turns.keep_answer(NAME, "new", "c1", 3, "")
    assert await _ask(turns, later) == KnownTurn(0, "c1", 4, ("s1", "s2"))


async def test_retries_are_no_new_askings(turns: TurnStore) -> None:
    """Neither those that say so nor those under the same name."""
    named = replace(FIRST, attempt="a")
    await _ask(turns, named)
    await turns.keep_answer(NAME, "new", "c1", 1, "s1")
    for retry in (named, replace(named, attempt="b", is_retry=True)):
        assert await _ask(turns, retry) == KnownTurn(0, "c1", 1, ("s1", ""))
    assert await _ask(turns, replace(named, attempt="b")) == KnownTurn(0, "c1", 2, ("s1", ""))


async def test_a_question_is_known_by_an_older_name_and_as_the_one_answered_before(turns: TurnStore) -> None:
    """A question keeps its state after a rotation of the sealing secret."""
    await _ask(turns, replace(FIRST, asked=("old",)))
    assert await _ask(turns) == KnownTurn(1, "c1", 1, ("", ""))
    known, before = await turns.ask(NAME, replace(FIRST, asked=(), answered=("new", "old"), proposal=""))
    assert (known, before) == (None, KnownTurn(1, "c1", 1, ("", "")))


async def test_a_new_generation_begins_anew(turns: TurnStore) -> None:
    """Results of the old generation's answers are not kept in the new generation."""
    await _ask(turns)
    assert await _ask(turns, replace(FIRST, generation=2, proposal="")) is None
    assert await _ask(turns, replace(FIRST, generation=2, proposal="c2")) == KnownTurn(0, "c2", 1, ("", ""))
    await turns.keep_answer(NAME, "new", "c1", 1, "s1")
    assert await _ask(turns, replace(FIRST, generation=2)) == KnownTurn(0, "c2", 1, ("", ""))


async def test_no_question_is_remembered_for_ever(turns: TurnStore, redis: StoreClient) -> None:
    """An answer that comes after its question was forgotten does not keep it either."""
    await turns.keep_answer(NAME, "new", "c1", 1, "s1")
    key = redis.names.experiment(NAME).turn("new")
    assert await redis.exists(key) == 0
    await _ask(turns)
    await turns.keep_answer(NAME, "new", "c1", 1, "s1")
    assert 0 < await redis.ttl(key) <= 60
    await _ask(turns)
    await turns.keep_answer(NAME, "new", "c1", 2, "s2")
    assert 60 < await redis.ttl(key) <= 600
