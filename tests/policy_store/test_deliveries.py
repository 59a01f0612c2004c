"""Deliveries to webhooks: taken up once, sent by one process, never lost between two steps."""

from __future__ import annotations

from collections.abc import AsyncIterator
from unittest.mock import patch

import pytest

from policy_store.connect import connect
from policy_store.deliveries import Batch, DeliveryOutcome, DeliveryState, DeliveryStore, Holding, Message
from policy_store.errors import StaleFenceError
from tests.pace import PATIENCE_SECONDS

HOOK = "ops.chat"
ADDRESS = "an address"
ONE, TWO = Message("evt_1", '{"a":"\\u00e9/"}'), Message("evt_2", "{}")


@pytest.fixture
async def deliveries(store_url: str) -> AsyncIterator[DeliveryStore]:
    """Deliveries on an empty store, on each kind of server."""
    redis = connect(store_url, timeout_seconds=PATIENCE_SECONDS)
    yield DeliveryStore(redis, timeout_seconds=PATIENCE_SECONDS)
    await redis.aclose()


async def held(deliveries: DeliveryStore, holder: str = "one", seconds: float = 600) -> Holding:
    """The right to deliver."""
    holding = await deliveries.hold(HOOK, holder, seconds)
    assert holding is not None
    return holding


async def taken(deliveries: DeliveryStore, *messages: Message, upto: str = "7-0") -> int:
    """A fence, with which these messages were taken up as the first ones."""
    fence = (await held(deliveries)).fence
    await deliveries.take(HOOK, fence, ADDRESS, Batch("support", None, upto, messages))
    return fence


async def record(
    deliveries: DeliveryStore, fence: int, message: Message, outcome: DeliveryOutcome, wait: float = 0.0
) -> None:
    """Record an outcome."""
    await deliveries.record(
        HOOK, fence, message, outcome, reason="answered 500", wait_seconds=wait, address=ADDRESS
    )


async def test_one_process_delivers_at_a_time(deliveries: DeliveryStore) -> None:
    """Renewing keeps its number; the next one has a higher one, and the former one is refused."""
    first = await held(deliveries)
    assert await deliveries.hold(HOOK, "two", 600) is None
    assert (await held(deliveries)).fence == first.fence

    await deliveries.release(HOOK, "one")
    second = await held(deliveries, "two")
    assert second.fence > first.fence
    with pytest.raises(StaleFenceError):
        await deliveries.take(HOOK, first.fence, ADDRESS, Batch("support", None, "7-0", [ONE]))
    await deliveries.take(HOOK, second.fence, ADDRESS, Batch("support", None, "7-0", [ONE]))
    with pytest.raises(StaleFenceError):
        await record(deliveries, first.fence, ONE, DeliveryOutcome.DELIVERED)
    assert await deliveries.due(HOOK, 10) == [ONE]


async def test_events_are_taken_up_once_with_their_place(deliveries: DeliveryStore) -> None:
    """A repeated call takes up no event twice, and the bodies stay the same byte for byte."""
    fence = await taken(deliveries, ONE)
    await deliveries.take(HOOK, fence, ADDRESS, Batch("support", "7-0", "8-0", [TWO]))
    await record(deliveries, fence, ONE, DeliveryOutcome.DELIVERED)
    await deliveries.take(HOOK, fence, ADDRESS, Batch("support", None, "7-0", [ONE]))
    assert await deliveries.due(HOOK, 10) == [TWO]
    holding = await held(deliveries)
    assert (holding.places, holding.waiting) == ({"support": "8-0"}, 1)


async def test_a_new_webhook_begins_shortly_before_now(deliveries: DeliveryStore) -> None:
    """The first request fixes the beginning of a new webhook."""
    first = await held(deliveries)
    await deliveries.release(HOOK, "one")
    assert (await held(deliveries, "two")).beginning == first.beginning
    assert first.places == {}


async def test_what_failed_is_due_again_after_its_wait(deliveries: DeliveryStore) -> None:
    """The number of attempts is counted."""
    fence = await taken(deliveries, ONE, TWO)
    await record(deliveries, fence, ONE, DeliveryOutcome.FAILED, wait=3600)
    await record(deliveries, fence, TWO, DeliveryOutcome.FAILED)
    assert await deliveries.due(HOOK, 10) == [Message(TWO.id, TWO.body, 1)]
    standing = await deliveries.standing(HOOK)
    assert (standing.waiting, standing.dead_letters, standing.delivered) == (2, 0, 0)
    assert standing.oldest_seconds is not None


async def test_what_is_delivered_is_forgotten_and_counted_once(deliveries: DeliveryStore) -> None:
    """A repeated call finds itself done."""
    fence = await taken(deliveries, ONE)
    for _ in range(2):
        await record(deliveries, fence, ONE, DeliveryOutcome.DELIVERED)
    standing = await deliveries.standing(HOOK)
    assert (standing.delivered, standing.waiting, standing.oldest_seconds) == (1, 0, None)
    assert standing.delivered_at is not None
    assert await deliveries.dead_letters(HOOK, 10) == []


async def test_dead_letters_are_the_latest_and_bounded(deliveries: DeliveryStore) -> None:
    """Each dead letter has its reason, and letters beyond the bound are only counted."""
    messages = [Message(f"evt_{index}", "{}") for index in range(5)]
    fence = await taken(deliveries, *messages)
    with patch("policy_store.deliveries.MOST_DEAD_LETTERS", 3):
        for message in messages:
            await record(deliveries, fence, message, DeliveryOutcome.GIVEN_UP)
    letters = await deliveries.dead_letters(HOOK, 10)
    assert [letter.message.id for letter in letters] == ["evt_4", "evt_3", "evt_2"]
    assert {(letter.reason, letter.message.attempts) for letter in letters} == {("answered 500", 1)}
    assert len(await deliveries.dead_letters(HOOK, 2)) == 2
    standing = await deliveries.standing(HOOK)
    assert (standing.dead_letters, standing.forgotten, standing.waiting) == (3, 2, 0)


async def test_dead_letters_are_sent_again_as_if_new(deliveries: DeliveryStore) -> None:
    """Those asked for, or all; an id that is none changes nothing."""
    fence = await taken(deliveries, ONE, TWO)
    for message in (ONE, TWO):
        await record(deliveries, fence, message, DeliveryOutcome.GIVEN_UP)
    assert await deliveries.replay(HOOK, ["evt_2", "evt_9"]) == 1
    assert await deliveries.due(HOOK, 10) == [TWO]
    assert await deliveries.replay(HOOK, []) == 1
    assert {message.id for message in await deliveries.due(HOOK, 10)} == {"evt_1", "evt_2"}


async def test_a_receiver_that_is_gone_is_told_nothing_until_a_replay(deliveries: DeliveryStore) -> None:
    """All that waits and all that comes are dead letters; another address is another receiver."""
    fence = await taken(deliveries, ONE, TWO)
    await record(deliveries, fence, ONE, DeliveryOutcome.GONE)
    later = Message("evt_3", "{}")
    await deliveries.take(HOOK, fence, ADDRESS, Batch("support", "7-0", "8-0", [later]))
    assert await deliveries.due(HOOK, 10) == []
    standing = await deliveries.standing(HOOK)
    assert (standing.dead_letters, standing.gone) == (3, ADDRESS)

    elsewhere = Message("evt_4", "{}")
    await deliveries.take(HOOK, fence, "another address", Batch("support", "8-0", "9-0", [elsewhere]))
    assert await deliveries.due(HOOK, 10) == [elsewhere]

    assert await deliveries.replay(HOOK, []) == 3
    assert (await deliveries.standing(HOOK)).gone == ""
    assert len(await deliveries.due(HOOK, 10)) == 4


async def test_nothing_is_known_of_a_webhook_nobody_asked_for(deliveries: DeliveryStore) -> None:
    """Reading an unknown webhook is no error."""
    assert await deliveries.standing("none") == DeliveryState()
    assert await deliveries.due("none", 10) == []
    assert await deliveries.replay("none", []) == 0
