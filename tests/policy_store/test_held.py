"""Reports that count once their unit is old enough: moment and order depend on its assignment alone."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import replace

import pytest

from policy_store.connect import connect
from policy_store.errors import (
    AfterHoldError,
    ContradictingOutcomeError,
    ExperimentFinishedError,
    OverCapError,
)
from policy_store.log_records import Result
from policy_store.moves import Move
from policy_store.names import Names
from policy_store.report_records import Receipt, Recorded, Report
from policy_store.store import PolicyStore
from tests.pace import PATIENCE_SECONDS
from tests.policy_store.building import (
    KEEP_SECONDS,
    NAME,
    forecasts,
    logged_comparisons,
    plan,
    planned,
    report,
)

_HOLD = 3600.0
_KEY = Names().experiment(NAME).generation(1).held
_EVERYTHING = 10_000


async def test_held_report_counts_when_its_unit_is_old_enough(store: PolicyStore) -> None:
    """A held report counts when the server's clock says so, as if it had come at that moment."""
    await planned(store)
    due_at = await _now(store) + 0.3

    assert (await _prefer(store, "u1", due_at)).receipt is Receipt.HELD
    at_once = await store.count_due(NAME, 1, _EVERYTHING)
    held = (await store.counts(NAME, 1)).reports_held
    became: Counter[str] = Counter()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not became:
            became = await store.count_due(NAME, 1, _EVERYTHING)

    assert (at_once, held, became) == (Counter(), 1, Counter({"counted": 1}))
    (counted,) = await logged_comparisons(store)
    assert (counted.result, counted.plan_version, counted.voters) == (Result.WIN, 1, ("ann",))
    assert counted.at >= due_at
    assert (await store.counts(NAME, 1)).reports_held == 0


async def test_reports_count_in_order_of_assignment(store: PolicyStore) -> None:
    """The report whose unit was assigned first counts first, even if it comes later."""
    await planned(store)
    start = await _now(store) + _HOLD
    for number in random.Random(1).sample(range(40), 40):
        await _prefer(store, f"u{number}", start + number, source=f"side_by_side:{number}", voter="")

    await _age(store)
    assert await store.count_due(NAME, 1, 15) == Counter({"counted": 15})
    assert await store.count_due(NAME, 1, _EVERYTHING) == Counter({"counted": 25})

    counted = [comparison.source for comparison in await logged_comparisons(store)]
    assert counted == [f"side_by_side:{number}" for number in range(40)]


async def test_units_assigned_at_one_moment_are_in_an_order_that_says_nothing(store: PolicyStore) -> None:
    """Equal times are ordered by the unit's random name, not by the outcome."""
    await planned(store)
    due_at = await _now(store) + _HOLD
    results = [random.Random(2).choice(list(Result)) for _ in range(20)]
    for number, result in enumerate(results):
        await _prefer(store, f"u{number:02}", due_at, result, voter="")

    await _age(store)
    await store.count_due(NAME, 1, _EVERYTHING)

    assert [comparison.result for comparison in await logged_comparisons(store)] == results


@pytest.mark.parametrize("seed", range(6))
async def test_held_outcomes_are_compared_as_those_reported_in_that_order(
    store: PolicyStore, seed: int
) -> None:
    """Queues, ties, sources, voters, caps: all as without a hold, with the reports in order of assignment."""
    rng, start = random.Random(seed), await _now(store) + _HOLD
    await planned(store)
    said = [
        {
            "unit": f"u{number}",
            "side": rng.randrange(2),
            "value": rng.choice((-1.0, 0.0, 1.0, 0.1234567890123456789)),
            "pair": rng.choice(((0, 1), (0, 2), (1, 2))),
            "source": rng.choice(("matched:thumb", "matched:copied")),
            "voter": f"v{rng.randrange(25)}",
            "voter_cap": 2,
            "key": f"k{rng.randrange(2)}",
            "key_share": 0.5,
        }
        for number in range(60)
    ]
    for number in rng.sample(range(60), 60):
        assert (await report(store, **said[number], due_at=start + number)).receipt is Receipt.HELD
    await _age(store)
    became = await store.count_due(NAME, 1, _EVERYTHING)
    held = await _written(store)
    await store._redis.flushall()

    await planned(store)
    at_once: Counter[str] = Counter()
    for each in said:
        try:
            at_once[(await report(store, **each)).receipt] += 1
        except OverCapError as error:
            at_once[error.cap] += 1

    assert became == at_once
    assert held == await _written(store)
    assert became["voter_cap"] > 0


async def test_report_after_the_hold_changes_nothing(store: PolicyStore) -> None:
    """A late report is refused by name and not remembered, so a repetition is refused again."""
    await planned(store)
    due_at = await _now(store) - 0.001

    for result in (Result.WIN, Result.WIN, Result.LOSS):
        with pytest.raises(AfterHoldError):
            await _prefer(store, "u1", due_at, result)
    with pytest.raises(AfterHoldError):
        await report(store, "u2", 0, 1.0, due_at=due_at)

    counts = await store.counts(NAME, 1)
    assert (counts.comparisons, counts.reports_held, counts.waiting) == (0, 0, {})


async def test_first_report_of_a_unit_stands_while_it_is_held_and_afterwards(store: PolicyStore) -> None:
    """A repetition is a duplicate, another one contradicts, before and after the hold is over."""
    await planned(store)
    due_at = await _now(store) + _HOLD
    await _prefer(store, "u1", due_at)

    for counted in (0, 1):
        assert (await _prefer(store, "u1", due_at)).receipt is Receipt.DUPLICATE
        with pytest.raises(ContradictingOutcomeError):
            await _prefer(store, "u1", due_at, Result.LOSS)
        await _age(store)
        await store.count_due(NAME, 1, _EVERYTHING)
        assert (await store.counts(NAME, 1)).comparisons == 1, counted


async def test_report_counts_with_the_forecast_in_force_when_it_is_due(store: PolicyStore) -> None:
    """What was forecast when it was reported may know more of the past by then, and does."""
    fence = await planned(store)
    await _prefer(store, "u1", await _now(store) + _HOLD)
    later = forecasts(probability=600_000)
    await store.publish_plan(NAME, 1, plan(comparisons=1), later, fence)

    await _age(store)
    await store.count_due(NAME, 1, _EVERYTHING)

    (counted,) = await logged_comparisons(store)
    assert (counted.plan_version, counted.probability_millionths) == (2, 600_000)


async def test_voter_gives_the_vote_on_the_answer_it_got_first(store: PolicyStore) -> None:
    """The time of the answer decides which votes count, not the time of the report."""
    await planned(store)
    start = await _now(store) + _HOLD
    later = await _prefer(store, "late", start + 60, source="later", voter_cap=1)
    earlier = await _prefer(store, "early", start, source="earlier", voter_cap=1)

    await _age(store)
    became = await store.count_due(NAME, 1, _EVERYTHING)

    assert earlier.receipt is later.receipt is Receipt.HELD
    assert became == Counter({"counted": 1, "voter_cap": 1})
    assert [comparison.source for comparison in await logged_comparisons(store)] == ["earlier"]
    with pytest.raises(OverCapError):
        await _prefer(store, "more", start + 2 * _HOLD, voter_cap=1)


async def test_many_replicas_count_each_report_once_and_in_order(store: PolicyStore, store_url: str) -> None:
    """A report taken by one is gone for the others, and none goes ahead of those before it."""
    await planned(store)
    start = await _now(store) + _HOLD
    for number in range(200):
        await report(store, f"u{number:03}", number % 2, 1.0, source=f"{number}", due_at=start + number)
    replicas = [PolicyStore(connect(store_url), timeout_seconds=30) for _ in range(4)]
    await _age(store)

    async def count_all(replica: PolicyStore) -> int:
        counted = 0
        while (await store.counts(NAME, 1)).reports_held:
            counted += (await replica.count_due(NAME, 1, 7)).total()
        return counted

    shares = await asyncio.gather(*map(count_all, replicas))
    for replica in replicas:
        await replica.aclose()

    assert sum(shares) == 200
    counted = [comparison.source for comparison in await logged_comparisons(store)]
    assert counted == [f"{number},{number + 1}" for number in range(0, 200, 2)]


async def test_decision_drops_what_is_held(store: PolicyStore) -> None:
    """Reports that are still held at a decision are not counted, and later reports are refused."""
    fence = await planned(store)
    due_at = await _now(store) + _HOLD
    await _prefer(store, "u1", due_at)
    await store.decide(NAME, 1, fence, move=Move.PROMOTE, champion=1, certificate={"champion": 1})

    await _age(store)
    assert await store.count_due(NAME, 1, _EVERYTHING) == Counter()
    assert (await store.counts(NAME, 1)).comparisons == (await store.counts(NAME, 1)).reports_held == 0
    with pytest.raises(ExperimentFinishedError):
        await _prefer(store, "u2", due_at)


async def test_held_reports_of_a_generation_left_behind_go_away_by_themselves(store: PolicyStore) -> None:
    """Such reports are kept for a week after the last of them was due."""
    await planned(store)
    now = await _now(store)
    await _prefer(store, "u1", now + _HOLD, voter="")
    await _prefer(store, "u2", now + 60, voter="")

    week = 7 * 24 * 3600
    assert week + _HOLD - 60 < await store._redis.ttl(_KEY) <= week + _HOLD


async def _prefer(
    store: PolicyStore,
    unit: str,
    due_at: float,
    result: Result = Result.WIN,
    *,
    source: str = "side_by_side",
    voter: str = "ann",
    voter_cap: int = 0,
) -> Recorded:
    said = Report(NAME, 1, unit, 0, 1, source, result.value, KEEP_SECONDS, voter=voter, voter_cap=voter_cap)
    return await store.record_preference(said._replace(due_at=due_at), result)


async def _now(store: PolicyStore) -> float:
    """The server's clock."""
    seconds, micros = await store._redis.time()
    return seconds + micros / 1_000_000


async def _age(store: PolicyStore) -> None:
    """End every hold, the order kept: the server's clock cannot be moved."""
    await store._redis.zunionstore(_KEY, {_KEY: 0.5})


async def _written(store: PolicyStore) -> tuple[object, ...]:
    """All that was counted, apart from times."""
    comparisons = [replace(comparison, at=0.0) for comparison in await logged_comparisons(store)]
    return comparisons, replace(await store.counts(NAME, 1), started_at=0.0, now=0.0)
