"""What judges spend and say, on one account for all replicas."""

from __future__ import annotations

import asyncio

from policy_store.connect import connect
from policy_store.judging import NANO_USD, JudgeTally
from policy_store.store import PolicyStore
from tests.pace import PATIENCE_SECONDS
from tests.policy_store.building import NAME

MOST = 1_000_000_007  # no multiple of what is set aside, and beyond 32 bits of nano-dollars


async def test_replicas_together_never_set_aside_more_than_the_limit(
    store: PolicyStore, store_url: str
) -> None:
    """However many ask at once, the limit is what they get."""
    others = [
        PolicyStore(connect(store_url, timeout_seconds=PATIENCE_SECONDS), timeout_seconds=PATIENCE_SECONDS)
        for _ in range(4)
    ]
    try:
        asked = await asyncio.gather(
            *(each.reserve(NAME, 1, 100_000_000, MOST) for each in others for _ in range(10))
        )
    finally:
        for each in others:
            await each.aclose()
    assert sum(day is not None for day in asked) == 10
    assert (await store.judging(NAME, 1)).usd_that_day == 1.0


async def test_what_was_not_needed_may_be_spent_again(store: PolicyStore) -> None:
    """An account holds what comparisons cost, not what was expected, and what came of them."""
    day = await store.reserve(NAME, 1, 600, 1000)
    assert day is not None
    assert await store.reserve(NAME, 1, 600, 1000) is None
    await store.settle(NAME, 3, day, 600, 250, {"agreed": 1, "tied": 1})
    assert await store.reserve(NAME, 1, 600, 1000) == day
    await store.settle(NAME, 3, day, 600, 700, {"dropped": 1})

    account = await store.judging(NAME, 3)
    assert account.tally == JudgeTally(agreed=1, tied=1, dropped=1, nano_usd=950)
    assert (account.day, account.usd_that_day) == (day, 950 / NANO_USD)
    assert (await store.judging(NAME, 4)).tally == JudgeTally()
    assert (await store.judging("another", 3)).usd_that_day == 0


async def test_what_the_limit_does_not_pay_for_is_noted(store: PolicyStore) -> None:
    """It is counted as dropped in its own generation, with what it might have cost, and on which day."""
    assert await store.reserve(NAME, 2, 1500, 1000) is None
    assert await store.reserve(NAME, 2, 1700, 1000) is None
    account = await store.judging(NAME, 2)
    assert (account.tally.dropped, account.usd_refused) == (2, 1700 / NANO_USD)
    assert account.day == account.usd_that_day == 0  # nothing was set aside
    assert account.refused_day > 0
    assert (await store.judging(NAME, 1)).tally.dropped == 0


async def test_a_day_that_is_over_is_closed(store: PolicyStore) -> None:
    """A comparison that ends after midnight changes the account of the day it began on, which is over."""
    day = await store.reserve(NAME, 1, 600, 1000)
    assert day is not None
    await store.settle(NAME, 1, day - 1, 600, 0, {"agreed": 1})
    account = await store.judging(NAME, 1)
    assert (account.usd_that_day, account.tally.agreed) == (600 / NANO_USD, 1)
