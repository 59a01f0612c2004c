"""Records the store's tests are made of, and an independent replay of the log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from policy_store.counts import Counts
from policy_store.experiment import Experiment
from policy_store.log_records import Comparison, Result
from policy_store.plan_records import Forecast, PlannedPair, ProposedPlan
from policy_store.report_records import MissingVerdict, Recorded, Report
from policy_store.store import PolicyStore
from policy_store.view import ExperimentView
from policy_store.watch_records import WatchTerms

NAME = "support"
KEEP_SECONDS = 3600
THRESHOLD = 3_000_000_000
TERMS = WatchTerms(share=0.1, level=0.05, margin=0.02, seconds=3600.0, comparisons=40)


def experiment(name: str = NAME, policies: int = 3, **changes: object) -> Experiment:
    """An experiment of so many policies."""
    made = Experiment(
        name=name,
        policies=tuple(f"p{index}" for index in range(policies)),
        policy_fingerprints=tuple(f"hash{index}" for index in range(policies)),
        costs=(0.0,) * policies,
        incumbent=0,
        delta=0.05,
        epsilon=0.02,
        max_comparisons=None,
        min_comparisons=0,
        min_duration_seconds=0.0,
        collect="matched",
        outcome_rules="{}",
    )
    return replace(made, **changes)


def plan(policies: int = 3, comparisons: int = 0) -> ProposedPlan:
    """A plan that draws the first pair."""
    return ProposedPlan(
        comparisons=comparisons,
        pairs=(PlannedPair(0, 1, 1.0),),
        leader=0,
        evidence_nats=(0.0,) * policies,
        needed_nats=(3.0,) * policies,
        expected_remaining=None,
        duration_seconds=0.001,
    )


def forecasts(policies: int = 3, probability: int = 400_000, step: int = 1_000) -> list[Forecast]:
    """A forecast for every pair, with increments that tell pairs and sides apart."""
    pairs = [(first, second) for second in range(policies) for first in range(second)]
    return [
        Forecast(
            first, second, probability + index, (-step - index, step + index, 2 * step + index, -2 * step)
        )
        for index, (first, second) in enumerate(pairs)
    ]


async def started(store: PolicyStore, **changes: object) -> ExperimentView:
    """The experiment registered."""
    return await store.register(experiment(**changes), THRESHOLD)


async def planned(store: PolicyStore, **changes: object) -> int:
    """The experiment registered and planned once; the planner's fence."""
    view = await started(store, **changes)
    fence = await store.acquire_lease(NAME, "planner", 60)
    await store.publish_plan(NAME, view.generation, plan(), forecasts(), fence)
    return fence


async def prefer(
    store: PolicyStore,
    unit: str,
    result: Result = Result.WIN,
    *,
    pair: tuple[int, int] = (0, 1),
    name: str = NAME,
) -> Recorded:
    """A user saw both answers and says which is better."""
    said = Report(name, 1, unit, *pair, "side_by_side", result.value, KEEP_SECONDS)
    return await store.record_preference(said, result)


async def report(
    store: PolicyStore,
    unit: str,
    side: int,
    value: float | MissingVerdict,
    *,
    pair: tuple[int, int] = (0, 1),
    tie_margin: float = 0.0,
    source: str = "matched:thumb",
    name: str = NAME,
    fingerprint: str | None = None,
    keep_seconds: int = KEEP_SECONDS,
    wait_seconds: float = KEEP_SECONDS,
    generation: int = 1,
    **vote: Any,
) -> Recorded:
    """One policy of a pair got an outcome."""
    said = Report(name, generation, unit, *pair, source, fingerprint or repr(value), keep_seconds, **vote)
    return await store.record_outcome(
        said, side=side, value=value, tie_margin=tie_margin, wait_seconds=wait_seconds
    )


async def logged_comparisons(store: PolicyStore, generation: int = 1) -> list[Comparison]:
    """All comparisons in a generation's log, in the order they were counted."""
    found, (records, position) = [], await store.log(NAME, generation)
    while records:
        found += [record for record in records if isinstance(record, Comparison)]
        records, position = await store.log(NAME, generation, after=position)
    return found


async def newest_comparison(store: PolicyStore) -> Comparison:
    """The comparison that was counted last."""
    return (await logged_comparisons(store))[-1]


def replayed(
    comparisons: Iterable[Comparison], increments: Mapping[int, list[Forecast]], counts: Counts
) -> Counts:
    """What the log says the counts must be; only the times are taken from `counts`.

    `increments`: the forecasts of each plan version.
    """
    size = range(len(counts.eliminated_at))
    wins, ties, evidence = ([[0] * len(size) for _ in size] for _ in range(3))
    eliminated: list[int | None] = [None for _ in size]
    number = 0
    for comparison in comparisons:
        number, a, b = comparison.number, comparison.first, comparison.second
        if comparison.result is Result.TIE:
            ties[a][b] += 1
            ties[b][a] += 1
            continue
        is_win = comparison.result is Result.WIN
        wins[a if is_win else b][b if is_win else a] += 1
        by_pair = {(each.first, each.second): each for each in increments.get(comparison.plan_version, [])}
        if (a, b) in by_pair:
            added = by_pair[a, b].increments
            evidence[a][b] += added[0 if is_win else 1]
            evidence[b][a] += added[2 if is_win else 3]
        for row in (a, b):
            if eliminated[row] is None and sum(evidence[row]) >= THRESHOLD:
                eliminated[row] = number
    return replace(
        counts,
        comparisons=number,
        wins=tuple(map(tuple, wins)),
        ties=tuple(map(tuple, ties)),
        evidence_nano_nats=tuple(map(tuple, evidence)),
        eliminated_at=tuple(eliminated),
    )
