"""Outcomes: counted once, refused where they must be."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

import pytest

from policy_store.counts import Counts
from policy_store.errors import ContradictingOutcomeError, ExperimentFinishedError
from policy_store.log_records import Result
from policy_store.moves import Move
from policy_store.report_records import Receipt
from policy_store.store import PolicyStore
from tests.policy_store.building import (
    NAME,
    THRESHOLD,
    forecasts,
    logged_comparisons,
    newest_comparison,
    plan,
    planned,
    prefer,
    report,
    started,
)


async def test_preference_is_counted_with_the_current_forecast(store: PolicyStore) -> None:
    """A comparison carries the forecast of the plan in force and adds that forecast's increments."""
    await planned(store)

    recorded = await prefer(store, "u1", Result.LOSS, pair=(0, 2))

    expected = next(each for each in forecasts() if (each.first, each.second) == (0, 2))
    comparison = await newest_comparison(store)
    assert recorded == (Receipt.COUNTED, 1)
    assert (comparison.number, comparison.first, comparison.second, comparison.result) == (
        1,
        0,
        2,
        Result.LOSS,
    )
    assert (comparison.probability_millionths, comparison.plan_version) == (
        expected.probability_millionths,
        1,
    )
    counts = await store.counts(NAME, 1)
    assert counts.wins == ((0, 0, 0), (0, 0, 0), (1, 0, 0))
    assert counts.evidence_nano_nats[0][2] == expected.increments[1]
    assert counts.evidence_nano_nats[2][0] == expected.increments[3]
    assert counts.started_at <= comparison.at <= counts.now


async def test_evidence_at_one_half_is_counted_where_the_forecast_has_it(store: PolicyStore) -> None:
    """Beside the other evidence, for both policies of the pair; a tie adds to neither."""
    fence = await planned(store)
    made = [replace(each, at_half=(5, -7, -11, 13)) for each in forecasts() if each.second == 1]
    await store.publish_plan(NAME, 1, plan(comparisons=1), made, fence)

    for number, result in enumerate((Result.WIN, Result.WIN, Result.LOSS, Result.TIE)):
        await prefer(store, f"u{number}", result)

    counts = await store.counts(NAME, 1)
    assert counts.evidence_at_half_nano_nats == ((0, 5 + 5 - 7, 0), (-11 - 11 + 13, 0, 0), (0, 0, 0))
    first, second, third, fourth = made[0].increments
    assert counts.evidence_nano_nats[0][1] == 2 * first + second
    assert counts.evidence_nano_nats[1][0] == 2 * third + fourth


async def test_tie_is_counted_and_carries_no_evidence(store: PolicyStore) -> None:
    """Ties are reported, symmetric, and leave the evidence as it is."""
    await planned(store)

    await prefer(store, "u1", Result.TIE)

    counts = await store.counts(NAME, 1)
    assert counts.comparisons == 1
    assert counts.ties == ((0, 1, 0), (1, 0, 0), (0, 0, 0))
    assert counts.wins == counts.evidence_nano_nats == ((0, 0, 0),) * 3


async def test_comparisons_are_counted_by_source(store: PolicyStore) -> None:
    """A report says how many came from users who saw both answers, and how many from which signals."""
    await planned(store)

    await prefer(store, "u1", Result.TIE)
    await prefer(store, "u2", Result.WIN)
    await report(store, "u3", 0, 1.0)
    await report(store, "u4", 1, 0.0)

    comparisons = await logged_comparisons(store)
    counts = await store.counts(NAME, 1)
    assert counts.by_source == Counter(comparison.source for comparison in comparisons)
    assert sum(counts.by_source.values()) == counts.comparisons == 3


async def test_outcome_before_the_first_plan_adds_no_evidence(store: PolicyStore) -> None:
    """No forecast was published, so none may be used: version 0, and only the win is counted."""
    await started(store)

    await prefer(store, "u1")

    comparison = await newest_comparison(store)
    assert (comparison.plan_version, comparison.probability_millionths) == (0, 500_000)
    counts = await store.counts(NAME, 1)
    assert counts.wins[0][1] == 1
    assert counts.evidence_nano_nats == ((0, 0, 0),) * 3


async def test_same_preference_again_is_counted_once(store: PolicyStore) -> None:
    """Users click twice and clients retry: the first report counts, the others are duplicates."""
    await planned(store)

    receipts = [each.receipt for each in await asyncio.gather(*(prefer(store, "u1") for _ in range(10)))]

    assert sorted(receipts) == [Receipt.COUNTED] + [Receipt.DUPLICATE] * 9
    assert (await store.counts(NAME, 1)).comparisons == 1


async def test_contradicting_preference_is_refused_and_the_first_stands(store: PolicyStore) -> None:
    """A unit has one outcome."""
    await planned(store)
    await prefer(store, "u1", Result.WIN)

    with pytest.raises(ContradictingOutcomeError) as refused:
        await prefer(store, "u1", Result.LOSS)

    assert refused.value.reported == "win"
    assert (await store.counts(NAME, 1)).wins == ((0, 1, 0), (0, 0, 0), (0, 0, 0))


async def test_after_the_end_known_units_get_their_answer_and_new_ones_are_refused(
    store: PolicyStore,
) -> None:
    """A retry of counted feedback is a duplicate even after the decision; nothing is counted any more."""
    fence = await planned(store)
    await prefer(store, "u1", Result.WIN)
    await report(store, "u2", 0, 1.0)
    await store.decide(NAME, 1, fence, move=Move.FIND_NO_WINNER, champion=None, certificate={})

    assert (await prefer(store, "u1", Result.WIN)).receipt is Receipt.DUPLICATE
    assert (await report(store, "u2", 0, 1.0)).receipt is Receipt.DUPLICATE
    with pytest.raises(ContradictingOutcomeError):
        await prefer(store, "u1", Result.LOSS)
    with pytest.raises(ExperimentFinishedError):
        await prefer(store, "new")
    with pytest.raises(ExperimentFinishedError):
        await report(store, "new", 1, 1.0)
    assert (await store.counts(NAME, 1)).comparisons == 1


async def test_late_outcome_of_an_earlier_generation_is_counted_there(store: PolicyStore) -> None:
    """Old and new files are live together for minutes: each generation keeps its own outcomes."""
    await planned(store)
    await started(store, delta=0.01)

    assert (await prefer(store, "u1")).receipt is Receipt.COUNTED
    assert (await store.counts(NAME, 1)).comparisons == 1
    assert (await store.counts(NAME, 2)).comparisons == 0


async def test_pairs_and_sides_wait_separately(store: PolicyStore) -> None:
    """An outcome is only compared with one of the other policy of the same pair."""
    await planned(store)

    await report(store, "u1", 0, 1.0, pair=(0, 1))

    assert (await report(store, "u2", 0, 1.0, pair=(0, 1))).receipt is Receipt.PENDING
    assert (await report(store, "u3", 1, 1.0, pair=(0, 2))).receipt is Receipt.PENDING
    assert (await report(store, "u4", 0, 1.0, pair=(1, 2))).receipt is Receipt.PENDING


@pytest.mark.parametrize(
    ("first", "second", "margin", "expected"),
    [
        (0.5, 0.5, 0.0, Result.TIE),
        (0.5, 0.4, 0.1, Result.TIE),
        (0.51, 0.4, 0.1, Result.WIN),
        (0.4, 0.51, 0.1, Result.LOSS),
        (1e-17, 0.0, 0.0, Result.WIN),
        (0.1 + 0.2, 0.3, 0.0, Result.WIN),
        (0.3, 0.1 + 0.2, 0.0, Result.LOSS),
    ],
)
async def test_outcomes_within_the_margin_are_a_tie(
    store: PolicyStore, first: float, second: float, margin: float, expected: Result
) -> None:
    """Values keep all their digits; a difference of exactly the margin is still a tie."""
    await planned(store)

    await report(store, "u1", 1, second, tie_margin=margin)

    await report(store, "u2", 0, first, tie_margin=margin)

    assert (await newest_comparison(store)).result is expected


async def test_a_unit_is_never_matched_with_itself(store: PolicyStore) -> None:
    """A forgotten unit that is drawn again for the other side waits for another unit and keeps its place."""
    await planned(store)
    await report(store, "u1", 0, 1.0, keep_seconds=1)
    await _forget(store, "u1")

    assert (await report(store, "u1", 1, 0.0)).receipt is Receipt.PENDING
    await report(store, "u2", 0, 1.0)

    counts = await store.counts(NAME, 1)
    assert (counts.comparisons, counts.wins[0][1]) == (1, 1)
    await report(store, "u3", 1, 2.0)
    assert (await newest_comparison(store)).result is Result.LOSS  # with u1's first report


async def test_sources_of_both_outcomes_are_logged(store: PolicyStore) -> None:
    """The log says where a comparison comes from: once if both agree, first's before second's if not."""
    await planned(store)
    await report(store, "u1", 1, 1.0, source="matched:copied")
    await report(store, "u2", 0, 1.0, source="matched:thumb")
    await report(store, "u3", 1, 1.0)
    await report(store, "u4", 0, 1.0)

    sources = [each.source for each in await logged_comparisons(store)]
    assert sources == ["matched:thumb,matched:copied", "matched:thumb"]


async def test_repeated_pending_outcome_waits_once(store: PolicyStore) -> None:
    """A retry does not put the same outcome in line twice."""
    await planned(store)
    await report(store, "u1", 0, 1.0)
    assert (await report(store, "u1", 0, 1.0)).receipt is Receipt.DUPLICATE

    await report(store, "u2", 1, 0.0)
    assert (await report(store, "u3", 1, 0.0)).receipt is Receipt.PENDING
    assert (await store.counts(NAME, 1)).comparisons == 1


async def test_policy_is_eliminated_when_its_evidence_first_reaches_the_threshold(store: PolicyStore) -> None:
    """The comparison that crosses the line is recorded, and stays although the evidence falls again."""
    counts = await _across_the_line(store, epsilon=0.0)
    assert counts.eliminated_at == (2, None, None)
    assert counts.evidence_nano_nats[0][1] == THRESHOLD
    eliminated = [event.detail for event in await store.events(NAME) if event.kind == "eliminated"]
    assert eliminated == [{"policy": 0, "comparison": 2, "generation": 1}]


async def test_with_a_margin_a_total_at_the_line_is_no_event(store: PolicyStore) -> None:
    """Nothing is eliminated where a policy may be certified with the same evidence against it."""
    counts = await _across_the_line(store, epsilon=0.02)
    assert counts.eliminated_at == (2, None, None)  # part of every certificate
    assert [event.kind for event in await store.events(NAME)] == ["started"]


async def _across_the_line(store: PolicyStore, *, epsilon: float) -> Counts:
    await started(store, epsilon=epsilon)
    fence = await store.acquire_lease(NAME, "planner", 60)
    await store.publish_plan(NAME, 1, plan(), forecasts(step=THRESHOLD // 2), fence)
    for unit, result in (("u1", Result.LOSS), ("u2", Result.LOSS), ("u3", Result.WIN), ("u4", Result.LOSS)):
        await prefer(store, unit, result)
    return await store.counts(NAME, 1)


@pytest.mark.parametrize("pair", [(0, 0), (1, 0), (-1, 0), (0, 3)])
async def test_what_is_no_pair_is_refused(store: PolicyStore, pair: tuple[int, int]) -> None:
    """Two different policies of the experiment, in order, or nothing changes."""
    await planned(store)

    with pytest.raises(ValueError, match=r"policy|policies"):
        await prefer(store, "u1", pair=pair)
    with pytest.raises(ValueError, match=r"policy|policies"):
        await report(store, "u1", 0, 1.0, pair=pair)

    assert (await store.counts(NAME, 1)).comparisons == 0
    assert (await prefer(store, "u1")).receipt is Receipt.COUNTED


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
async def test_outcome_that_is_no_number_is_refused(store: PolicyStore, value: float) -> None:
    """A value nothing can be compared with never enters the queues."""
    await planned(store)
    with pytest.raises(ValueError, match="finite"):
        await report(store, "u1", 0, value)


async def _forget(store: PolicyStore, unit: str) -> None:
    """What the expiry of a unit's key does, without waiting for it."""
    async for key in store._redis.scan_iter(f"*:unit:{unit}"):
        await store._redis.delete(key)
