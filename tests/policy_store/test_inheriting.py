"""A new generation goes on from the one before, with what was counted between the policies both have."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gateway.llm_po.evidence import Tally
from gateway.llm_po.succession import GenerationStanding, succeed
from policy_store.connect import connect
from policy_store.counts import Counts
from policy_store.errors import UnknownExperimentError
from policy_store.events import LoggedEvent
from policy_store.experiment import Experiment
from policy_store.log_records import Inherited, Result
from policy_store.moves import MOVES, Move
from policy_store.plan_records import Forecast
from policy_store.report_records import Receipt, Report
from policy_store.store import PolicyStore
from policy_store.view import ExperimentView
from tests.pace import PATIENCE_SECONDS
from tests.policy_store.building import (
    KEEP_SECONDS,
    NAME,
    THRESHOLD,
    experiment,
    logged_comparisons,
    plan,
    planned,
    prefer,
    report,
)

DELTA = 0.05
BEST = "no_worse_than_best"
LINE = 2_995_732_274  # log(1/DELTA) in nano-nats, rounded up


def of(*names: str, **changes: Any) -> Experiment:
    """An experiment of these policies; `p1!` is `p1` with another content."""
    return replace(
        experiment(),
        policies=tuple(name.rstrip("!") for name in names),
        policy_fingerprints=tuple(f"content of {name}" for name in names),
        costs=(0.0,) * len(names),
        **changes,
    )


async def count(
    store: PolicyStore, view: ExperimentView, comparisons: int, seed: int = 0, most_nano_nats: int = 10**9
) -> None:
    """So many comparisons, ties among them, counted with forecasts of both signs."""
    draws, policies = random.Random(seed), len(view.experiment.policies)
    pairs = [(first, second) for second in range(policies) for first in range(second)]
    fence = await store.acquire_lease(NAME, "planner", 60)
    assert fence is not None
    is_kept_at_half = view.experiment.promise == BEST

    def drawn() -> tuple[int, ...]:
        return tuple(draws.randint(-most_nano_nats, most_nano_nats) for _ in range(4))

    made = [Forecast(*pair, 400_000, drawn(), drawn() if is_kept_at_half else None) for pair in pairs]
    await store.publish_plan(NAME, view.generation, plan(policies), made, fence)
    for number in range(comparisons):
        pair = draws.choice(pairs)
        report = Report(NAME, view.generation, f"u{seed}-{number}", *pair, "side_by_side", "x", KEEP_SECONDS)
        await store.record_preference(report, draws.choice(list(Result)))


def standing(counts: Counts) -> GenerationStanding:
    """Counts as the algorithm core takes them."""
    out = np.array([at is not None for at in counts.eliminated_at])
    tally = Tally(
        np.array(counts.wins),
        np.array(counts.ties),
        np.array(counts.evidence_nano_nats),
        out,
        counts.comparisons,
        np.array(counts.debts_nano_nats),
        at_half=np.array(counts.evidence_at_half_nano_nats) if counts.evidence_at_half_nano_nats else None,
    )
    assert counts.policies_ever is not None
    return GenerationStanding(tally, counts.eliminated_at, counts.policies_ever)


def assert_is(counts: Counts, expected: GenerationStanding) -> None:
    """The store holds what the algorithm core computes."""
    found = standing(counts)
    for part in ("wins", "ties", "evidence", "debts", "eliminated", "row_totals"):
        assert getattr(found.tally, part).tolist() == getattr(expected.tally, part).tolist(), part
    assert (found.tally.at_half is None) is (expected.tally.at_half is None)
    if expected.tally.at_half is not None:
        assert np.array_equal(found.tally.at_half, expected.tally.at_half)
    assert found.tally.comparisons == expected.tally.comparisons
    assert found.eliminated_at == expected.eliminated_at
    assert found.policies_ever == expected.policies_ever


@pytest.mark.parametrize(
    ("names", "sources"),
    [
        pytest.param(("p0", "p1", "p2", "p3", "p4"), (0, 1, 2, 3, None), id="one added at the end"),
        pytest.param(("a", "p0", "p1", "p2", "p3"), (None, 0, 1, 2, 3), id="one added in front"),
        pytest.param(("p0", "p2", "p3"), (0, 2, 3), id="one removed"),
        pytest.param(("p0", "p1!", "p2", "p3"), (0, None, 2, 3), id="one edited"),
        pytest.param(("p1", "p3", "p9"), (1, 3, None), id="two removed and one added"),
    ],
)
@pytest.mark.parametrize("seed", range(4))
async def test_new_generation_starts_with_what_the_core_computes(
    store: PolicyStore, names: Sequence[str], sources: tuple[int | None, ...], seed: int
) -> None:
    """Wins, ties, evidence, debts, eliminations and the number of policies ever, on real counts."""
    first = await store.register(of("p0", "p1", "p2", "p3"), LINE)
    await count(store, first, 60, seed)
    before = standing(await store.counts(NAME, 1))

    view = await store.register(of(*names), LINE)

    counts = await store.counts(NAME, 2)
    expected = succeed(before, sources, DELTA)
    assert view.generation == 2
    assert_is(counts, expected)
    assert (counts.inherited, counts.inherited_from) == (counts.comparisons, 1)
    assert_is(await store.counts(NAME, 1), before)


@pytest.mark.parametrize("most_nano_nats", [3, 10**9, 2**52], ids=["few digits", "usual", "many digits"])
async def test_evidence_at_one_half_is_inherited_and_debts_are_the_lower_of_both(
    store: PolicyStore, most_nano_nats: int
) -> None:
    """The script agrees with the core twice in a row, for amounts of any length."""
    first = await store.register(of("p0", "p1", "p2", "p3", "p4", promise=BEST), LINE)
    await count(store, first, 60, most_nano_nats=most_nano_nats)
    before = standing(await store.counts(NAME, 1))
    assert before.tally.at_half is not None

    second = await store.register(of("p0", "p2", "p3", "p9", promise=BEST), LINE)
    once = succeed(before, (0, 2, 3, None), DELTA)
    assert_is(await store.counts(NAME, 2), once)
    assert (once.tally.debts < 0).any()
    await count(store, second, 20, seed=1, most_nano_nats=most_nano_nats)
    between = standing(await store.counts(NAME, 2))

    await store.register(of("p2", "p3", "p9", promise=BEST), LINE)

    assert_is(await store.counts(NAME, 3), succeed(between, (1, 2, 3), DELTA))
    inherited = (await store.log(NAME, 3))[0][0]
    assert isinstance(inherited, Inherited)
    assert inherited.evidence_at_half_nano_nats == (await store.counts(NAME, 3)).evidence_at_half_nano_nats


async def test_chain_of_changes_carries_debts_and_numbers_on(store: PolicyStore) -> None:
    """Each generation continues from the one before, including that generation's own comparisons."""
    view = await store.register(of("p0", "p1", "p2", "p3"), LINE)
    expected = None
    for step, (names, sources) in enumerate(
        [
            (("p0", "p1", "p2"), (0, 1, 2)),
            (("p0", "p1", "p2", "p5"), (0, 1, 2, None)),
            (("p1", "p2", "p5"), (1, 2, 3)),
        ]
    ):
        await count(store, view, 30, seed=step)
        before = standing(await store.counts(NAME, view.generation))
        expected = succeed(before, sources, DELTA)
        view = await store.register(of(*names), LINE)
        assert_is(await store.counts(NAME, view.generation), expected)
    assert expected is not None
    assert expected.policies_ever == 5
    await count(store, view, 10, seed=9)
    assert (await store.counts(NAME, view.generation)).comparisons == expected.tally.comparisons + 10


async def test_log_starts_with_what_was_inherited_and_events_tell(store: PolicyStore) -> None:
    """The log says which comparisons of which generation were inherited, and goes on numbering."""
    await count(store, await store.register(of("p0", "p1", "p2"), LINE), 20)
    view = await store.register(of("p0", "p2", "p3"), LINE)
    await count(store, view, 3, seed=1)

    records, _ = await store.log(NAME, 2)
    inherited = records[0]

    assert isinstance(inherited, Inherited)
    assert (inherited.generation, inherited.after, inherited.sources) == (1, 20, (0, 2, None))
    assert inherited.policies_ever == 4
    assert inherited.comparisons == sum(map(sum, inherited.wins)) + sum(map(sum, inherited.ties)) // 2
    numbers = [each.number for each in await logged_comparisons(store, 2)]
    assert numbers == [inherited.comparisons + extra for extra in (1, 2, 3)]
    events = [record for record in records if isinstance(record, LoggedEvent)]
    assert [event.kind for event in events] == ["started", "inherited"]
    assert events[1].detail == {"comparisons": inherited.comparisons, "from_generation": 1, "generation": 2}
    assert (await store.events(NAME))[0].kind == "inherited"


@pytest.mark.parametrize(
    "changes",
    [
        {"max_comparisons": 50},
        {"min_comparisons": 7},
        {"min_duration_seconds": 9.0},
        {"costs": (1.0, 2.0, 3.0)},
        {"inference": '{"space":"linear","stopping":"e-process"}'},
    ],
    ids=lambda changes: next(iter(changes)),
)
async def test_budget_minima_costs_and_features_may_change(
    store: PolicyStore, changes: dict[str, Any]
) -> None:
    """These settings are not part of the meaning of a comparison."""
    await count(store, await store.register(of("p0", "p1", "p2"), LINE), 20)
    before = standing(await store.counts(NAME, 1))

    await store.register(replace(of("p0", "p1", "p2"), **changes), LINE)

    assert_is(await store.counts(NAME, 2), succeed(before, (0, 1, 2), DELTA))


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(of("p0", "p1", "p2", delta=0.1), id="delta"),
        pytest.param(of("p0", "p1", "p2", epsilon=0.0), id="epsilon"),
        pytest.param(of("p0", "p1", "p2", promise=BEST), id="promise"),
        pytest.param(of("p0", "p1", "p2", collect="side_by_side"), id="collect"),
        pytest.param(of("p0", "p1", "p2", outcome_rules='{"tie_margin":0.1}'), id="outcome rules"),
        pytest.param(of("p0", "p1", "p2", inference='{"stopping":"glr"}'), id="stopping"),
        pytest.param(of("p0", "p8", "p9"), id="one policy kept"),
        pytest.param(of("p0!", "p1!", "p2"), id="edited but one"),
    ],
)
async def test_other_meaning_or_fewer_than_two_kept_starts_anew(
    store: PolicyStore, changed: Experiment
) -> None:
    """Nothing was counted between them that would mean the same."""
    await count(store, await store.register(of("p0", "p1", "p2"), LINE), 20)

    await store.register(changed, LINE)

    counts = await store.counts(NAME, 2)
    assert (counts.comparisons, counts.inherited, counts.inherited_from) == (0, 0, None)
    assert counts.policies_ever == 3
    assert [record.kind for record in (await store.log(NAME, 2))[0]] == ["started"]


@pytest.mark.parametrize("rules", [("glr", "glr"), ("glr", "e-process"), ("lr-mixture", "lr-mixture")])
def test_rules_that_decide_by_counts_alone_start_anew(rules: tuple[str, str]) -> None:
    """Nothing is proven for them, and a change of the rule would choose among verdicts."""
    before, after = (
        of("p0", "p1", *more, inference=f'{{"stopping":"{rule}"}}')
        for rule, more in zip(rules, ((), ("p2",)), strict=True)
    )
    assert after.sources(before) is None


async def test_nothing_counted_is_nothing_inherited(store: PolicyStore) -> None:
    """An edit before the first comparison is a fresh start: there was no evidence to see."""
    await store.register(of("p0", "p1", "p2"), LINE)
    await store.register(of("p0", "p1"), LINE)

    assert (await store.counts(NAME, 2)).policies_ever == 2


@pytest.mark.parametrize(
    ("move", "inherits"),
    [
        (Move.PROMOTE, False),
        (Move.SETTLE, False),
        (Move.FIND_NO_WINNER, False),
        (Move.RUN_OUT, True),
    ],
)
async def test_only_an_undecided_generation_is_gone_on_from(
    store: PolicyStore, move: Move, *, inherits: bool
) -> None:
    """A verdict was given on that evidence; a spent budget gave none, and a larger one goes on."""
    await count(store, await store.register(of("p0", "p1", "p2"), LINE), 20)
    fence = await store.acquire_lease(NAME, "planner", 60)
    assert fence is not None
    champion = 0 if MOVES[move].names_champion else None
    await store.decide(NAME, 1, fence, move=move, champion=champion, certificate={})

    await store.register(of("p0", "p1", "p2", "p3", max_comparisons=500), LINE)

    assert ((await store.counts(NAME, 2)).comparisons == 20) is inherits


async def test_going_back_and_forth_inherits_once_and_loses_nothing(store: PolicyStore) -> None:
    """Old and new files live at once: each generation keeps what it counted, and nothing is counted twice."""
    old, new = of("p0", "p1", "p2"), of("p0", "p1", "p2", "p3")
    first = await store.register(old, LINE)
    await count(store, first, 20)
    second = await store.register(new, LINE)
    await count(store, second, 10, seed=1)

    back = await store.register(old, LINE)
    await count(store, back, 5, seed=2)
    again = await store.register(new, LINE)

    assert (back.generation, again.generation) == (1, 2)
    assert (await store.counts(NAME, 1)).comparisons == 25
    counts = await store.counts(NAME, 2)
    assert (counts.comparisons, counts.inherited) == (30, 20)
    records, _ = await store.log(NAME, 2)
    assert sum(isinstance(record, Inherited) for record in records) == 1


async def test_replicas_starting_at_once_inherit_once(store: PolicyStore, store_url: str) -> None:
    """Registered by many, while comparisons are counted: one generation, whole, at one moment."""
    first = await store.register(of("p0", "p1", "p2"), LINE)
    await count(store, first, 10)
    clients = [
        PolicyStore(connect(store_url, timeout_seconds=PATIENCE_SECONDS), timeout_seconds=PATIENCE_SECONDS)
        for _ in range(4)
    ]

    async def keep_counting() -> None:
        for number in range(60):
            await prefer(store, f"late{number}")

    *views, _ = await asyncio.gather(
        *(client.register(of("p0", "p1", "p2", "p3"), LINE) for client in clients * 3), keep_counting()
    )
    for client in clients:
        await client.aclose()

    assert {view.generation for view in views} == {2}
    records, _ = await store.log(NAME, 2)
    inherited = [record for record in records if isinstance(record, Inherited)]
    assert len(inherited) == 1
    assert 10 <= inherited[0].after == inherited[0].comparisons <= 70
    assert (await store.counts(NAME, 2)).comparisons == inherited[0].comparisons
    assert (await store.counts(NAME, 1)).comparisons == 70


async def test_different_changes_at_once_form_a_chain(store: PolicyStore) -> None:
    """The second registration continues from the first, never from a generation that is no longer current."""
    await count(store, await store.register(of("p0", "p1", "p2"), LINE), 10)
    changes = [of("p0", "p1", "p2", f"new{index}") for index in range(5)]

    await asyncio.gather(*(store.register(change, LINE) for change in changes))

    chain = [await store.counts(NAME, generation) for generation in range(2, 7)]
    assert [counts.inherited_from for counts in chain] == [1, 2, 3, 4, 5]
    assert [counts.policies_ever for counts in chain] == [4, 5, 6, 7, 8]
    assert {counts.comparisons for counts in chain} == {10}


async def test_outcome_of_an_earlier_assignment_counts_where_it_was_assigned(store: PolicyStore) -> None:
    """An outcome belongs to the generation of its assignment and waits for its match there."""
    await planned(store)
    await report(store, "waiting", 0, 1.0)
    await prefer(store, "counted")
    changed = replace(
        experiment(), policies=("p0", "p1", "p9"), policy_fingerprints=("hash0", "hash1", "hash9")
    )
    await store.register(changed, THRESHOLD)

    late = await report(store, "late", 1, 0.0)

    assert late.receipt is Receipt.COUNTED
    assert (await store.counts(NAME, 1)).comparisons == 2
    assert (await store.counts(NAME, 2)).comparisons == 1


async def test_every_generation_can_be_read_back(store: PolicyStore) -> None:
    """Verifying needs to know who was who before."""
    first, second = of("p0", "p1", "p2"), of("p0", "p1", "p2", "p3")
    await store.register(first, THRESHOLD)
    await store.register(second, THRESHOLD)

    assert [await store.experiment(NAME, generation) for generation in (1, 2)] == [first, second]
    with pytest.raises(UnknownExperimentError, match="generation 3"):
        await store.experiment(NAME, 3)
