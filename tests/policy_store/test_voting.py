"""How much one voter and one API key may give, and what is known of who decided."""

from __future__ import annotations

import pytest

from policy_store.errors import OverCapError
from policy_store.report_records import Receipt
from policy_store.store import PolicyStore
from tests.policy_store.building import NAME, logged_comparisons, planned, report


async def test_voter_gives_as_many_votes_on_a_pair_as_allowed(store: PolicyStore) -> None:
    """Waiting outcomes count as given, other pairs count apart, and a retry is still a duplicate."""
    await planned(store)
    await report(store, "u1", 0, 1.0, voter="ann", voter_cap=1)

    for side in (0, 1):
        with pytest.raises(OverCapError) as refused:
            await report(store, f"u2{side}", side, 0.0, voter="ann", voter_cap=1)
        assert refused.value.cap == "voter_cap"
    assert (await report(store, "u1", 0, 1.0, voter="ann", voter_cap=1)).receipt is Receipt.DUPLICATE
    assert (
        await report(store, "u3", 0, 1.0, voter="ann", voter_cap=1, pair=(0, 2))
    ).receipt is Receipt.PENDING
    assert (await report(store, "u4", 0, 1.0, voter="ann", voter_cap=2)).receipt is Receipt.PENDING
    assert (await store.counts(NAME, 1)).waiting == {(0, 1): (2, 0), (0, 2): (1, 0)}


async def test_key_gives_no_more_than_its_share_of_a_pair(store: PolicyStore) -> None:
    """A key gets ten votes with any number of invented users, then one for each vote of other keys."""
    await planned(store)

    async def given(tries: int, prefix: str) -> int:
        """How many of so many votes of one key are taken."""
        taken = 0
        for number in range(tries):
            vote = {"voter": f"{prefix}{number}", "voter_cap": 1, "key": "loud", "key_share": 0.5}
            try:
                await report(store, f"{prefix}{number}", 1, 1.0, **vote)
            except OverCapError:
                continue
            taken += 1
        return taken

    assert await given(40, "a") == 10
    for number in range(13):
        await report(store, f"honest{number}", 0, 1.0, key=f"key{number}", key_share=0.5)
    assert await given(40, "b") == 3


async def test_counts_and_log_say_who_decided(store: PolicyStore) -> None:
    """Only votes that were compared count; votes of unknown voters are one voter each."""
    await planned(store)
    await report(store, "u1", 0, 1.0, voter="ann")
    await report(store, "u2", 1, 1.0, voter="bob")
    await report(store, "u3", 1, 1.0, voter="ann")
    await report(store, "u4", 0, 1.0)
    await report(store, "u5", 0, 1.0, voter="cyd")

    counts = await store.counts(NAME, 1)
    assert (counts.votes, counts.voters, counts.largest_voter) == (4, 3, 2)
    assert [each.voters for each in await logged_comparisons(store)] == [("ann", "bob"), ("", "ann")]


async def test_comparisons_logged_before_voters_were_known_are_read(store: PolicyStore) -> None:
    """A log goes on across versions."""
    await planned(store)
    await report(store, "u1", 0, 1.0)
    await report(store, "u2", 1, 1.0)
    async for key in store._redis.scan_iter("*:log"):
        for number, fields in await store._redis.xrange(key):
            if fields.pop("voters", None) is not None:
                await store._redis.xdel(key, number)
                await store._redis.xadd(key, fields)

    assert [each.voters for each in await logged_comparisons(store)] == [()]
