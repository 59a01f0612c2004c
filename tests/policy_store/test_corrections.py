"""A later word of a unit in place of an earlier one, and what a unit comes to that says nothing."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from policy_store.errors import AfterHoldError, ContradictingOutcomeError
from policy_store.events import Corrected
from policy_store.log_records import LogRecord, Result
from policy_store.moves import Move
from policy_store.names import Names
from policy_store.report_records import MissingVerdict, Precedence, Receipt, Recorded
from policy_store.store import PolicyStore
from tests.policy_store.building import NAME, logged_comparisons, planned, report

HOLD = 3600.0
KEY = Names().experiment(NAME).generation(1).held
EVERYTHING = 10_000


async def said(
    store: PolicyStore, unit: str, value: float, *, side: int = 0, call: str = "", **more: Any
) -> Receipt:
    """What becomes of a word that may take the place of an earlier one of the unit."""
    more = {"standing": Precedence.REPLACE, "idempotency": call, **more}
    return (await report(store, unit, side, value, **more)).receipt


async def missing(
    store: PolicyStore,
    unit: str,
    due_at: float,
    verdict: MissingVerdict = MissingVerdict.LOSS,
    *,
    side: int = 0,
) -> Recorded:
    """What becomes of a unit's silence."""
    return await report(
        store,
        unit,
        side,
        verdict,
        fingerprint="missing=no_feedback",
        source="matched:missing.no_feedback",
        standing=Precedence.MISSING,
        due_at=due_at,
    )


async def now(store: PolicyStore) -> float:
    """By the server's clock."""
    seconds, _ = await store._redis.time()
    return float(seconds)


async def counted(store: PolicyStore) -> Counter[str]:
    """What all that is held comes to when its time is over."""
    await store._redis.zunionstore(KEY, {KEY: 0.5})
    return await store.count_due(NAME, 1, EVERYTHING)


async def corrections(store: PolicyStore) -> list[Corrected]:
    """Those in the log."""
    records: list[LogRecord] = (await store.log(NAME, 1))[0]
    return [told for each in records if isinstance(told := getattr(each, "told", None), Corrected)]


@pytest.mark.parametrize("is_held", [False, True], ids=["waiting", "held"])
async def test_the_last_word_before_a_comparison_is_compared(store: PolicyStore, is_held: bool) -> None:
    """The log has both, and nothing else of the first is left."""
    await planned(store)
    due = {"due_at": await now(store) + HOLD} if is_held else {}

    became = [await said(store, "u1", value, **due) for value in (1.0, -1.0)]
    became.append(await said(store, "u2", 0.0, side=1, **due))
    if is_held:
        await counted(store)

    assert became[1] is Receipt.REPLACED
    (comparison,) = await logged_comparisons(store)
    assert comparison.result is Result.LOSS
    assert [(each.unit, each.before, each.after) for each in await corrections(store)] == [
        ("u1", "1.0", "-1.0")
    ]
    counts = await store.counts(NAME, 1)
    assert (counts.comparisons, counts.reports_held, counts.waiting) == (1, 0, {})


@pytest.mark.parametrize("is_held", [False, True], ids=["waiting", "held"])
async def test_a_word_that_was_compared_stands(store: PolicyStore, is_held: bool) -> None:
    """What evidence was read from never changes; nor does it while the first one stands by declaration."""
    await planned(store)
    due = {"due_at": await now(store) + HOLD} if is_held else {}
    await said(store, "u1", 1.0, **due)
    with pytest.raises(ContradictingOutcomeError):
        await said(store, "u1", -1.0, standing=Precedence.FIRST, **due)
    await said(store, "u2", 0.0, side=1, **due)
    if is_held:
        await counted(store)

    for _ in range(2):
        with pytest.raises(ContradictingOutcomeError):
            await said(store, "u1", -1.0, **due)

    (comparison,) = await logged_comparisons(store)
    assert (comparison.result, await corrections(store)) == (Result.WIN, [])


@pytest.mark.parametrize("is_held", [False, True], ids=["waiting", "held"])
async def test_a_word_sent_again_after_its_correction_changes_nothing(
    store: PolicyStore, is_held: bool
) -> None:
    """A late retry is known by its idempotency key; the same word under a new one is a change of mind."""
    await planned(store)
    due = {"due_at": await now(store) + HOLD} if is_held else {}
    steps = [(1.0, "k1"), (-1.0, "k2"), (1.0, "k1"), (-1.0, "k2"), (1.0, "k3")]
    became = [await said(store, "u1", value, call=call, **due) for value, call in steps]
    first = Receipt.HELD if is_held else Receipt.PENDING
    assert became == [first, Receipt.REPLACED, Receipt.DUPLICATE, Receipt.DUPLICATE, Receipt.REPLACED]


@pytest.mark.parametrize("hold", [None, HOLD], ids=["at once", "held"])
async def test_a_late_retry_is_known_though_the_correction_had_no_name(
    store: PolicyStore, hold: float | None
) -> None:
    """A correction without an idempotency key does not make the store forget those of before."""
    await planned(store)
    due = {} if hold is None else {"due_at": await now(store) + hold}
    words = [(1.0, "a"), (-1.0, ""), (1.0, "a")]
    found = [await said(store, "one", value, call=call, **due) for value, call in words]
    first = Receipt.PENDING if hold is None else Receipt.HELD
    assert found == [first, Receipt.REPLACED, Receipt.DUPLICATE]


async def test_no_word_is_corrected_once_the_experiment_is_over(store: PolicyStore) -> None:
    """Nothing counts any more, so nothing is replaced either."""
    fence = await planned(store)
    await said(store, "u1", 1.0)
    await store.decide(NAME, 1, fence, move=Move.RUN_OUT, champion=None, certificate={})
    with pytest.raises(ContradictingOutcomeError):
        await said(store, "u1", -1.0)


async def test_silence_counts_once_at_the_end_of_the_hold(store: PolicyStore) -> None:
    """Silence counts once however often it is noted, and a later report comes too late."""
    await planned(store)
    due_at = await now(store) + HOLD

    first, again = [await missing(store, "u1", due_at) for _ in range(2)]
    await report(store, "u2", 1, -1.0, due_at=due_at + 1)
    before = (await store.counts(NAME, 1)).comparisons
    await counted(store)

    assert (first.receipt, again.receipt, before) == (Receipt.HELD, Receipt.DUPLICATE, 0)
    (comparison,) = await logged_comparisons(store)
    assert comparison.result is Result.LOSS
    assert comparison.source == "matched:missing.no_feedback,matched:thumb"
    with pytest.raises(AfterHoldError):
        await report(store, "u1", 0, 1.0, due_at=await now(store) - 1)
    assert (await store.counts(NAME, 1)).comparisons == 1


@pytest.mark.parametrize("standing", [Precedence.FIRST, Precedence.REPLACE])
@pytest.mark.parametrize("is_early", [False, True], ids=["noted before", "noted after"])
async def test_a_report_takes_the_place_of_silence(
    store: PolicyStore, standing: Precedence, is_early: bool
) -> None:
    """Whichever reaches the store first, the report alone counts, and a second one is treated as ever."""
    await planned(store)
    due_at = await now(store) + HOLD
    if not is_early:
        await missing(store, "u1", due_at)
    told = await report(store, "u1", 0, 1.0, due_at=due_at, standing=standing)
    if is_early:
        with pytest.raises(ContradictingOutcomeError):
            await missing(store, "u1", due_at)
    assert (await store.counts(NAME, 1)).reports_held == 1
    assert (await report(store, "u1", 0, 1.0, due_at=due_at, standing=standing)).receipt is Receipt.DUPLICATE
    await report(store, "u2", 1, -1.0, due_at=due_at)
    await counted(store)

    assert told.receipt is Receipt.HELD
    assert [comparison.result for comparison in await logged_comparisons(store)] == [Result.WIN]


@pytest.mark.parametrize(
    ("first", "second", "result"),
    [
        (MissingVerdict.LOSS, -100.0, Result.LOSS),
        (-100.0, MissingVerdict.LOSS, Result.WIN),
        (MissingVerdict.LOSS, MissingVerdict.LOSS, Result.TIE),
        (MissingVerdict.TIE, 5.0, Result.TIE),
        (MissingVerdict.TIE, MissingVerdict.LOSS, Result.TIE),
    ],
)
async def test_what_is_missing_is_compared_as_declared(
    store: PolicyStore, first: Any, second: Any, result: Result
) -> None:
    """A loss is worse than any value, whatever the margin of ties, and a tie as good as anything."""
    await planned(store)
    await report(store, "u1", 0, first, tie_margin=2.0)
    await report(store, "u2", 1, second, tie_margin=2.0)
    assert [comparison.result for comparison in await logged_comparisons(store)] == [result]


@pytest.mark.parametrize("seed", range(5))
async def test_any_order_of_words_and_silences_counts_each_unit_once(store: PolicyStore, seed: int) -> None:
    """A unit counts by its last report, or as missing, in the order of the units."""
    draws, start = random.Random(seed), await now(store) + HOLD
    await planned(store)
    steps = [(unit, word) for unit in range(30) for word in draws.sample(["", 1.0, -1.0, 0.5], 3)]
    draws.shuffle(steps)
    last: dict[int, float] = {}
    for unit, word in steps:
        if isinstance(word, float):
            await said(store, f"u{unit:02}", word, side=unit % 2, due_at=start + unit)
            last[unit] = word
        else:
            try:
                await missing(store, f"u{unit:02}", start + unit, side=unit % 2)
            except ContradictingOutcomeError:
                assert unit in last
    units = sorted({unit for unit, _ in steps})
    assert (await store.counts(NAME, 1)).reports_held == len(units)
    became = await counted(store)
    found = [(each.first, each.second, each.result) for each in await logged_comparisons(store)]
    await store._redis.flushall()

    await planned(store)
    for unit in units:
        await report(store, f"u{unit:02}", unit % 2, last.get(unit, MissingVerdict.LOSS))
    assert found == [(each.first, each.second, each.result) for each in await logged_comparisons(store)]
    assert became.total() == len(units)
