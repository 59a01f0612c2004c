"""Outcomes that wait for a rival: the newest is compared first, none waits longer than it may."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest

from policy_store.log_records import Result
from policy_store.names import Names
from policy_store.report_records import Receipt
from policy_store.store import PolicyStore
from tests.policy_store.building import (
    NAME,
    forecasts,
    logged_comparisons,
    newest_comparison,
    plan,
    planned,
    report,
)

_PAIR = (0, 1)


async def test_newest_waiting_outcome_is_compared_first(store: PolicyStore) -> None:
    """Outcomes near in time are compared, so that what changes over time is not taken for quality."""
    await planned(store)
    for unit, value in (("a1", 0.5), ("a2", 0.9), ("a3", 0.1)):
        assert (await report(store, unit, 0, value)).receipt is Receipt.PENDING

    for index in range(3):
        await report(store, f"b{index}", 1, 0.5)

    assert await _results(store) == [Result.LOSS, Result.WIN, Result.TIE]
    assert (await report(store, "b4", 1, 0.5)).receipt is Receipt.PENDING
    counts = await store.counts(NAME, 1)
    assert (counts.comparisons, counts.wins[0][1], counts.wins[1][0], counts.ties[0][1]) == (3, 1, 1, 1)


async def test_outcome_waits_no_longer_than_it_may(store: PolicyStore) -> None:
    """What was banked long ago decides nothing: it is dropped, and the rival's outcome waits in its turn."""
    await planned(store)
    for index in range(150):
        await report(store, f"banked{index}", 1, -1.0, wait_seconds=3600)
    await _age(store, 3601)

    recorded = await report(store, "new", 0, 1.0, wait_seconds=3600)

    assert recorded.receipt is Receipt.PENDING
    counts = await store.counts(NAME, 1)
    assert (counts.comparisons, counts.waiting) == (0, {_PAIR: (1, 0)})
    await report(store, "rival", 1, 0.0, wait_seconds=3600)
    assert await _results(store) == [Result.WIN]


async def test_queue_left_alone_goes_away_by_itself(store: PolicyStore) -> None:
    """A pair that is drawn no more leaves nothing in the store once its outcomes may not wait any longer."""
    await planned(store)
    await report(store, "u1", 0, 1.0, wait_seconds=90.5)

    left = await store._redis.pttl(_queue(0))

    assert 85_000 < left <= 90_500


async def test_outcomes_queued_by_earlier_versions_are_compared_and_expire(store: PolicyStore) -> None:
    """Entries without a time count as having come when this version first meets them."""
    await planned(store)
    await _queue_as_before(store, 0, [("old1", 1.0), ("old2", 0.0)])

    await report(store, "b1", 1, 0.5, wait_seconds=3600)
    await _age(store, 3601)
    after_an_hour = await report(store, "b2", 1, 0.5, wait_seconds=3600)

    assert await _results(store) == [Result.LOSS]
    assert after_an_hour.receipt is Receipt.PENDING


async def test_outcome_queued_by_an_older_replica_meanwhile_is_compared(store: PolicyStore) -> None:
    """Old and new builds write to the same queues during an upgrade of replicas."""
    await planned(store)
    await report(store, "a1", 0, 0.0)
    await _queue_as_before(store, 0, [("a2", 1.0)])

    for unit in ("b1", "b2"):
        await report(store, unit, 1, 0.5)

    assert await _results(store) == [Result.WIN, Result.LOSS]


async def test_queue_lengths_travel_with_the_plan(store: PolicyStore) -> None:
    """Routers learn which policy of a pair lags behind, as of the moment the plan was published."""
    fence = await planned(store)
    await report(store, "a1", 0, 1.0)
    await report(store, "a2", 0, 1.0)
    await report(store, "c1", 1, 1.0, pair=(1, 2))

    await store.publish_plan(NAME, 1, plan(comparisons=0), forecasts(step=2_000), fence)

    waiting = {(0, 1): (2, 0), (1, 2): (0, 1)}
    assert (await store.counts(NAME, 1)).waiting == waiting
    await store.publish_plan(NAME, 1, plan(comparisons=1), forecasts(), fence, 12.5)
    await report(store, "b1", 1, 1.0)
    found = (await store.view(NAME)).plan
    assert (found.waiting, found.under_way) == (waiting, 12.5)
    assert (await store.counts(NAME, 1)).waiting == {(0, 1): (1, 0), (1, 2): (0, 1)}


@dataclass
class _Reference:
    """What matching is, without a store: for each pair and side, when outcomes came and what they are."""

    now: float = 0.0
    waiting: dict[tuple[int, int, int], list[tuple[float, str, float]]] = field(default_factory=dict)

    def report(self, pair: tuple[int, int], unit: str, side: int, value: float, wait: float) -> Result | None:
        """The result of the comparison made, seen from the pair's first policy; None if none was."""
        for each in (0, 1):
            kept = [entry for entry in self.waiting.get((*pair, each), []) if self.now - entry[0] < wait]
            self.waiting[(*pair, each)] = kept
        rivals = self.waiting[(*pair, 1 - side)]
        found = next((entry for entry in reversed(rivals) if entry[1] != unit), None)
        if found is None:
            self.waiting[(*pair, side)].append((self.now, unit, value))
            return None
        rivals.remove(found)
        difference = value - found[2] if side == 0 else found[2] - value
        if difference == 0:
            return Result.TIE
        return Result.WIN if difference > 0 else Result.LOSS

    def lengths(self) -> dict[tuple[int, int], tuple[int, int]]:
        """By pair, those that any outcome waits for."""
        found = {
            key[:2]: tuple(len(self.waiting[(*key[:2], each)]) for each in (0, 1)) for key in self.waiting
        }
        return {pair: lengths for pair, lengths in found.items() if any(lengths)}


@pytest.mark.parametrize("seed", range(12))
async def test_matching_agrees_with_a_model_of_it(store: PolicyStore, seed: int) -> None:
    """Any order with any waits gives the same comparisons and queues as the model."""
    rng, model = random.Random(seed), _Reference()
    await planned(store)
    for number in range(80):
        if rng.random() < 0.08:
            passed = rng.choice((40, 100, 4000))
            model.now += passed
            await _age(store, passed)
        pair, side = rng.choice(((0, 1), (0, 2), (1, 2))), rng.randrange(2)
        unit = f"u{number if rng.random() < 0.8 else rng.randrange(number + 1)}"
        await _forget(store, unit)
        value = rng.choice((-1.0, 0.0, 1.0))

        recorded = await report(store, unit, side, value, pair=pair, wait_seconds=150)

        result = (await newest_comparison(store)).result if recorded.comparison else None
        assert result == model.report(pair, unit, side, value, 150), (seed, number)
        assert (await store.counts(NAME, 1)).waiting == model.lengths()


async def _results(store: PolicyStore) -> list[Result]:
    return [each.result for each in await logged_comparisons(store)]


def _queue(side: int) -> str:
    return Names().experiment(NAME).generation(1).queue(*_PAIR, side)


async def _queue_as_before(store: PolicyStore, side: int, outcomes: Iterable[tuple[str, float]]) -> None:
    """What versions that wrote no times did with outcomes that had to wait."""
    for unit, value in outcomes:
        entry = {"unit": unit, "value": repr(value), "source": "matched:thumb"}
        await store._redis.rpush(_queue(side), json.dumps(entry))


async def _age(store: PolicyStore, seconds: int) -> None:
    """Make everything that waits so much older: the server's clock cannot be moved."""
    async for key in store._redis.scan_iter("*:queue:*"):
        entries = [json.loads(entry) for entry in await store._redis.lrange(key, 0, -1)]
        for index, entry in enumerate(entries):
            aged = {**entry, "at": str(int(entry["at"]) - seconds * 1_000_000)}
            await store._redis.lset(key, index, json.dumps(aged))


async def _forget(store: PolicyStore, unit: str) -> None:
    await store._redis.delete(Names().experiment(NAME).generation(1).unit(unit))
