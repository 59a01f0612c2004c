"""How much one voter and one API key may give, and what is known of who decided."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest

from policy_store.connect import connect
from policy_store.errors import OverCapError
from policy_store.report_records import Receipt
from policy_store.store import PolicyStore
from tests.policy_store.building import NAME, logged_comparisons, planned, report, started

RULES: Final = '{"voter_cap_per_experiment":1}'
VOTE: Final = {"voter_cap": 1, "voter_cap_per_experiment": 1}


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


async def test_voter_gives_as_many_votes_in_all_as_allowed(store: PolicyStore) -> None:
    """Votes on any pair count, each cap is named by its own word, and a refused vote takes nothing away."""
    await planned(store)
    vote = {"voter": "ann", "voter_cap": 1, "voter_cap_per_experiment": 2}

    async def word_for(unit: str, pair: tuple[int, int], **said: Any) -> str:
        try:
            return (await report(store, unit, 0, 1.0, pair=pair, **{**vote, **said})).receipt.value
        except OverCapError as refused:
            return refused.cap

    assert await word_for("u1", (0, 1)) == "pending"
    assert await word_for("u2", (0, 1)) == "voter_cap"
    assert await word_for("u3", (0, 2)) == "pending"
    assert await word_for("u4", (1, 2)) == "voter_cap_per_experiment"
    assert await word_for("u3", (0, 2)) == "duplicate"
    assert await word_for("u5", (1, 2), voter="bob") == "pending"
    assert await word_for("u6", (1, 2), voter="") == "pending"
    assert await word_for("u7", (1, 2), voter_cap=0, voter_cap_per_experiment=0) == "pending"


async def test_only_one_of_many_votes_at_once_is_a_voters_last(store: PolicyStore, store_url: str) -> None:
    """Two replicas, one voter, a vote on each pair and side through both: as many are taken as may be."""
    await planned(store)
    replica = PolicyStore(connect(store_url), timeout_seconds=30)
    pairs = [(0, 1), (0, 2), (1, 2)] * 4
    vote = {"voter": "ann", "voter_cap": 3, "voter_cap_per_experiment": 3}

    async def given(number: int, pair: tuple[int, int]) -> str:
        through = (store, replica)[number % 2]
        try:
            return (await report(through, f"u{number}", number // 6, 1.0, pair=pair, **vote)).receipt.value
        except OverCapError as refused:
            return refused.cap

    became = await asyncio.gather(*(given(*each) for each in enumerate(pairs)))
    await replica.aclose()

    assert became.count("voter_cap_per_experiment") == len(pairs) - 3


async def test_a_cap_in_all_stores_one_field_where_it_is_the_only_limit(store: PolicyStore) -> None:
    """And an experiment without it stores what it stored before."""
    await planned(store)
    await report(store, "u1", 0, 1.0, voter="ann", voter_cap=1)
    await report(store, "u2", 0, 1.0, voter="bob", voter_cap=1, voter_cap_per_experiment=1)
    await report(store, "u3", 0, 1.0, voter="cyd", voter_cap=1, voter_cap_per_experiment=2)

    votes = await store._redis.hgetall(store._names.experiment(NAME).generation(1).votes)
    assert votes == {
        "0:1:votes": "3",
        "0:1:voter:ann": "1",
        "voter:bob": "1",
        "voter:cyd": "1",
        "0:1:voter:cyd": "1",
    }


async def continued(store: PolicyStore, voters: int) -> dict[str, str]:
    """A policy joins an experiment after so many voters; the votes that are then taken into account."""
    await planned(store, outcome_rules=RULES)
    for side in range(2):
        await report(store, f"u{side}", side, 1.0, voter=f"v{side}", **VOTE)
    keys = store._names.experiment(NAME)
    given = {f"voter:v{number}": "1" for number in range(voters)}
    await store._redis.hset(keys.generation(1).votes, mapping=given)
    assert (await started(store, policies=4, outcome_rules=RULES)).generation == 2
    assert (await store.counts(NAME, 2)).comparisons == 1
    found: dict[str, str] = await store._redis.hgetall(keys.generation(2).votes)
    return found


async def test_where_evidence_goes_on_voters_have_given_their_votes(store: PolicyStore) -> None:
    """A policy joins: who voted before may not vote again on evidence that holds that vote; others may."""
    votes = await continued(store, 6000)  # several times as many as the server hands out at once

    assert votes == {f"voter:v{number}": "1" for number in range(6000)}
    with pytest.raises(OverCapError, match="all votes allowed"):
        await report(store, "again", 0, 1.0, generation=2, voter="v0", **VOTE)
    assert (await report(store, "new", 0, 1.0, generation=2, voter="zoe", **VOTE)).receipt is Receipt.PENDING
    anew = await started(store, policies=4, outcome_rules=RULES, delta=0.01)
    assert anew.generation == 3
    assert (await report(store, "anew", 0, 1.0, generation=3, voter="v0", **VOTE)).receipt is Receipt.PENDING


async def test_voters_are_taken_along_however_the_server_hands_them_out(store: PolicyStore) -> None:
    """One that packs large hashes hands out all fields at once, more than a script can pass on at once."""
    setting, servers = "hash-max-listpack-entries", await store._redis.servers()
    for server in servers:
        await store._redis.config_set(setting, 10_000, **server)
    try:
        assert len(await continued(store, 4100)) == 4100
    finally:
        for server in servers:
            await store._redis.config_set(setting, 512, **server)


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
    assert (await store.counts(NAME, 1)).over_key_share == 30 + 37


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
