"""The append-only log: complete, ordered, enough to recompute everything counted."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policy_store.archives import Archived, ArchiveStore
from policy_store.connect import connect
from policy_store.events import LoggedEvent
from policy_store.log_records import Comparison, LoggedPlan, Result
from policy_store.moves import Move
from policy_store.plan_records import Forecast
from policy_store.report_records import Receipt
from policy_store.store import PolicyStore
from tests.pace import PATIENCE_SECONDS
from tests.policy_store.building import (
    NAME,
    THRESHOLD,
    experiment,
    forecasts,
    logged_comparisons,
    plan,
    planned,
    prefer,
    replayed,
    report,
    started,
)

PAIRS = [(0, 1), (0, 2), (1, 2)]
INCREMENT = st.integers(-(2**49), 2**49) | st.integers(-THRESHOLD, THRESHOLD)
PUBLISH = st.tuples(
    st.just("publish"),
    st.lists(st.tuples(st.integers(20_000, 980_000), *[INCREMENT] * 4), min_size=3, max_size=3),
)
PREFER = st.tuples(st.just("prefer"), st.sampled_from(PAIRS), st.sampled_from(Result))
REPORT = st.tuples(
    st.just("report"),
    st.sampled_from(PAIRS),
    st.integers(0, 1),
    st.sampled_from([-1.0, 0.0, 0.25, 1.0]),
    st.sampled_from([0.0, 0.5]),
)
AGAIN = st.tuples(st.just("again"), st.integers(0, 30))


async def test_an_archive_is_behind_by_the_age_of_the_oldest_entry_it_lacks(store: PolicyStore) -> None:
    """Only where there is an archive: other logs are not behind anything."""
    await started(store)
    now = (await store.counts(NAME, 1)).now
    assert await store.archive_lag(NAME, 1, now) is None

    archives = ArchiveStore(store._redis, timeout_seconds=PATIENCE_SECONDS)
    ((entry, _),) = await archives.entries(NAME, "1", "0-0")
    await archives.acknowledge(NAME, "1", Archived(entry, "digest"))
    assert await store.archive_lag(NAME, 1, now + 3600) == 0

    await prefer(store, "u1")
    await prefer(store, "u2")
    (first, _), _ = await archives.entries(NAME, "1", entry)
    logged_at = int(first.partition("-")[0]) / 1000
    assert await store.archive_lag(NAME, 1, logged_at + 60) == pytest.approx(60)
    assert await store.archive_lag(NAME, 1, logged_at - 60) == 0
    assert await store.archive_lag(NAME, 2, now) == 0


async def test_log_holds_plans_comparisons_and_events_in_order(store: PolicyStore) -> None:
    """What happened first comes first, so the order shows that forecasts precede what they count."""
    fence = await planned(store)
    await prefer(store, "u1", Result.WIN)
    await prefer(store, "u2", Result.TIE, pair=(1, 2))
    await store.publish_plan(NAME, 1, plan(comparisons=2), forecasts(probability=600_000), fence)
    await report(store, "u3", 0, 1.0)
    await report(store, "u4", 1, 0.0)
    await store.decide(NAME, 1, fence, move=Move.PROMOTE, champion=1, certificate={})

    records, _ = await store.log(NAME, 1)

    kinds = [record.kind if isinstance(record, LoggedEvent) else type(record).__name__ for record in records]
    assert kinds == [
        "started",
        "LoggedPlan",
        "Comparison",
        "Comparison",
        "LoggedPlan",
        "Comparison",
        "promoted",
    ]
    plans = [record for record in records if isinstance(record, LoggedPlan)]
    assert [(each.version, each.fence, each.comparisons) for each in plans] == [(1, 1, 0), (2, 1, 2)]
    assert plans[1].forecasts == ((0, 1, 600_000), (0, 2, 600_001), (1, 2, 600_002))
    third = records[5]
    assert (third.number, third.plan_version, third.probability_millionths) == (3, 2, 600_000)
    assert (third.result, third.source) == (Result.WIN, "matched:thumb")
    assert [record.at for record in records] == sorted(record.at for record in records)


async def test_log_holds_both_forecasts_of_a_pair(store: PolicyStore) -> None:
    """A plan is logged with the forecast of each side's bet; a comparison's line has that of the first."""
    made = [replace(each, second_millionths=300_000 + each.second) for each in forecasts()]
    await started(store)
    await store.publish_plan(NAME, 1, plan(), made, await store.acquire_lease(NAME, "planner", 60))
    await prefer(store, "u1", Result.WIN)

    records, _ = await store.log(NAME, 1)

    logged, counted = records[-2:]
    assert isinstance(logged, LoggedPlan)
    assert logged.forecasts[0] == (0, 1, 400_000, 300_001)
    assert isinstance(counted, Comparison)
    assert (counted.plan_version, counted.probability_millionths) == (1, 400_000)


async def test_pages_of_the_log_join_without_gap_or_repetition(store: PolicyStore) -> None:
    """A reader may take any page size, and go on later where the log ended."""
    await planned(store)
    for index in range(25):
        await prefer(store, f"u{index}")

    whole, end = await store.log(NAME, 1)
    paged, position = [], "-"
    while page := await store.log(NAME, 1, after=position, count=7):
        if not page[0]:
            break
        paged += page[0]
        position = page[1]

    assert paged == whole
    assert position == end
    assert await store.log(NAME, 1, after=end) == ([], end)
    await prefer(store, "late")
    later, _ = await store.log(NAME, 1, after=end)
    assert [record.number for record in later] == [26]
    assert [each.number for each in await logged_comparisons(store, 1)] == list(range(1, 27))


async def test_events_come_newest_first_and_bounded(store: PolicyStore) -> None:
    """Pages show the latest events of all generations."""
    for delta in (0.01, 0.02, 0.03):
        await started(store, delta=delta)

    assert [event.detail["generation"] for event in await store.events(NAME, 2)] == [3, 2]


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(PUBLISH | PREFER | REPORT | REPORT | AGAIN, max_size=40))
async def test_counts_are_what_a_replay_of_the_log_gives(store: PolicyStore, steps: list[tuple]) -> None:
    """Python recomputes the counts of the scripts from the log for any plans and outcomes."""
    await store._redis.flushall()
    await store.register(experiment(), THRESHOLD)
    increments = await _perform(store, steps)

    logged = await logged_comparisons(store)

    counts = await store.counts(NAME, 1)
    assert [comparison.number for comparison in logged] == list(range(1, counts.comparisons + 1))
    assert counts == replayed(logged, increments, counts)
    assert [(each.first, each.second, each.result) for each in logged] == _expected(steps)


async def test_many_writers_leave_exact_counts(store: PolicyStore, store_url: str) -> None:
    """Clients writing at once, everything sent twice, plans changing: every unit counts exactly once."""
    fence = await planned(store)
    clients = [
        PolicyStore(connect(store_url, timeout_seconds=PATIENCE_SECONDS), timeout_seconds=PATIENCE_SECONDS)
        for _ in range(3)
    ]
    increments = {1: forecasts()}

    async def write(writer: int) -> list[Receipt]:
        receipts = []
        for index in range(40):
            unit, client, pair = f"{writer % 8}-{index}", clients[writer % 3], PAIRS[index % 3]
            if index % 2:
                recorded = await prefer(client, unit, list(Result)[index % 3], pair=pair)
            else:
                recorded = await report(client, unit, index // 2 % 2, float(index % 5), pair=pair)
            receipts.append(recorded.receipt)
        return receipts

    async def publish() -> None:
        for comparisons in range(1, 30):
            made = forecasts(probability=400_000 + comparisons, step=1_000 + comparisons)
            version = await store.publish_plan(NAME, 1, plan(comparisons=comparisons), made, fence)
            increments[version] = made

    *receipts, _ = await asyncio.gather(*(write(writer) for writer in range(16)), publish())
    for client in clients:
        await client.aclose()

    flat = [receipt for each in receipts for receipt in each]
    counts = await store.counts(NAME, 1)
    logged = await logged_comparisons(store)
    assert flat.count(Receipt.DUPLICATE) == 8 * 40
    assert flat.count(Receipt.COUNTED) == counts.comparisons
    assert [comparison.number for comparison in logged] == list(range(1, counts.comparisons + 1))
    ties = sum(map(sum, counts.ties)) // 2
    assert sum(map(sum, counts.wins)) + ties == counts.comparisons
    assert counts == replayed(logged, increments, counts)
    _assert_forecasts_come_first((await store.log(NAME, 1))[0])


def _assert_forecasts_come_first(records: list[object]) -> None:
    """Each comparison was counted with the forecast of the latest plan before it in the log."""
    current: dict[tuple[int, int], int] = {}
    version = counted = 0
    for record in records:
        if isinstance(record, LoggedPlan):
            assert (record.version, record.comparisons) == (version + 1, counted)
            version = record.version
            current = {(first, second): q for first, second, q in record.forecasts}
        elif isinstance(record, Comparison):
            counted += 1
            forecast = current[record.first, record.second]
            assert (record.plan_version, record.probability_millionths) == (version, forecast)


async def _perform(store: PolicyStore, steps: list[tuple]) -> dict[int, list[Forecast]]:
    """The steps done; the forecasts of each plan version. `again` repeats an earlier step's report."""
    fence = await store.acquire_lease(NAME, "planner", 60)
    increments: dict[int, list[Forecast]] = {}
    for number, step in enumerate(steps):
        match step:
            case "publish", numbers:
                made = [Forecast(*pair, each[0], each[1:]) for pair, each in zip(PAIRS, numbers, strict=True)]
                version = await store.publish_plan(NAME, 1, plan(comparisons=number), made, fence)
                increments[version] = made
            case "again", earlier if earlier < number and steps[earlier][0] in {"prefer", "report"}:
                assert (await _record(store, earlier, steps[earlier])).receipt is Receipt.DUPLICATE
            case "prefer" | "report", *_:
                await _record(store, number, step)
    return increments


async def _record(store: PolicyStore, number: int, step: tuple) -> object:
    if step[0] == "prefer":
        return await prefer(store, f"u{number}", step[2], pair=step[1])
    _, pair, side, value, margin = step
    return await report(store, f"u{number}", side, value, pair=pair, tie_margin=margin)


def _expected(steps: list[tuple]) -> list[tuple[int, int, Result]]:
    """The comparisons the steps must make, by the plainest matching."""
    waiting: dict[tuple, list[float]] = {}
    comparisons = []
    for step in steps:
        if step[0] == "prefer":
            comparisons.append((*step[1], step[2]))
        if step[0] != "report":
            continue
        _, pair, side, value, margin = step
        rivals = waiting.setdefault((pair, 1 - side), [])
        if not rivals:
            waiting.setdefault((pair, side), []).append(value)
            continue
        rival = rivals.pop(0)
        first, second = (value, rival) if side == 0 else (rival, value)
        is_tie = abs(first - second) <= margin
        comparisons.append((*pair, Result.TIE if is_tie else Result.WIN if first > second else Result.LOSS))
    return comparisons
