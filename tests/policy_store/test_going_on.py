"""The counting script lets forecasts go on exactly as everyone who reads the log does."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from gateway.llm_po.betting import increments_at
from gateway.llm_po.within_plan import PlanForecasts
from policy_store.log_records import Comparison, LoggedPlan, LogRecord, Result
from policy_store.plan_records import Forecast, GoingOn
from policy_store.store import PolicyStore
from tests.policy_store.building import NAME, forecasts, plan, prefer, started

PAIRS = ((0, 1), (0, 2), (1, 2))
THRESHOLDS = (0.52, 0.5)


def _forecasts(rng: random.Random, thresholds: tuple[float, ...] = THRESHOLDS) -> list[Forecast]:
    made = []
    for first, second in PAIRS:
        q, rival = rng.randrange(20_000, 980_001), rng.randrange(20_000, 980_001)
        added = [increments_at(q, each, rival) for each in thresholds]
        goes_on = GoingOn((rng.choice([1, 7, 900, 1_000_000]), rng.randrange(1, 50)), thresholds)
        half = added[1] if len(added) > 1 else None
        made.append(Forecast(first, second, q, added[0], half, rival, goes_on))
    return made


async def _records(store: PolicyStore) -> list[LogRecord]:
    return (await store.log(NAME, 1))[0]


def _replayed(records: list[LogRecord]) -> Iterator[tuple[Comparison, tuple[int, int | None]]]:
    """Every comparison with the forecasts that the log says were in force."""
    in_force = PlanForecasts()
    for record in records:
        if isinstance(record, LoggedPlan):
            in_force = PlanForecasts(record.forecasts)
        elif isinstance(record, Comparison):
            pair = record.first, record.second
            yield record, in_force.of(pair)
            in_force.count(pair, record.result)


@pytest.mark.parametrize("thresholds", [THRESHOLDS, (0.5,), (0.999,)], ids=["best", "winner", "wide margin"])
async def test_script_counts_what_a_reader_of_the_log_recomputes(
    store: PolicyStore, thresholds: tuple[float, ...]
) -> None:
    """Forecasts, evidence and evidence at one half agree in every digit, over many plans."""
    rng = random.Random(5)
    await started(store)
    fence = await store.acquire_lease(NAME, "planner", 60)
    for unit in range(240):
        if unit % 40 == 0:
            await store.publish_plan(NAME, 1, plan(comparisons=unit), _forecasts(rng, thresholds), fence)
        result = rng.choices(list(Result), [5, 3, 1])[0]
        await prefer(store, f"u{unit}", result, pair=rng.choice(PAIRS))

    evidence = {(row, rival): [0, 0] for row in range(3) for rival in range(3)}
    for record, (q, rival_q) in _replayed(await _records(store)):
        assert (record.probability_millionths, record.second_millionths) == (q, rival_q)
        if record.result == "tie":
            continue
        at = 0 if record.result == "win" else 1
        for place, threshold in enumerate(thresholds):
            added = increments_at(q, threshold, rival_q)
            evidence[record.first, record.second][place] += added[at]
            evidence[record.second, record.first][place] += added[2 + at]
    counts = await store.counts(NAME, 1)
    assert counts.comparisons == 240
    for (row, rival), (full, half) in evidence.items():
        assert counts.evidence_nano_nats[row][rival] == full
        if len(thresholds) > 1:
            assert counts.evidence_at_half_nano_nats[row][rival] == half


async def test_first_comparison_under_a_plan_has_its_forecasts(store: PolicyStore) -> None:
    """And the next plan starts anew."""
    rng = random.Random(6)
    await started(store)
    fence = await store.acquire_lease(NAME, "planner", 60)
    for number in range(2):
        made = _forecasts(rng)
        await store.publish_plan(NAME, 1, plan(comparisons=3 * number), made, fence)
        for unit in range(3):
            await prefer(store, f"{number}-{unit}", Result.LOSS)

        *_, first, second, third = await _records(store)
        assert (first.probability_millionths, first.second_millionths) == made[0].logged[2:4]
        assert second.probability_millionths <= first.probability_millionths
        assert third.second_millionths >= second.second_millionths


async def test_forecasts_without_weights_stay_as_published(store: PolicyStore) -> None:
    """As planners of an earlier version publish them; lines then name one forecast."""
    await started(store)
    fence = await store.acquire_lease(NAME, "planner", 60)
    await store.publish_plan(NAME, 1, plan(), forecasts(), fence)
    for unit in range(3):
        await prefer(store, f"u{unit}")

    counted = [each for each in await _records(store) if isinstance(each, Comparison)]

    assert {(each.probability_millionths, each.second_millionths) for each in counted} == {(400_000, None)}


def test_forecasts_that_go_on_need_both_sides() -> None:
    """One side alone would leave the other's bet open."""
    with pytest.raises(ValueError, match="give both sides"):
        Forecast(0, 1, 400_000, (0, 0, 0, 0), goes_on=GoingOn((1, 1), (0.5,)))
