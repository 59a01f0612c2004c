"""Matching of outcomes: what changes over time is not taken for quality, however unequally users report."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

import numpy as np
import pytest

from gateway.llm_po.errors import DesignError, WorldError
from gateway.llm_po.lab import worlds
from gateway.llm_po.lab.matching import MatchedRun, Outcomes, Queues
from gateway.llm_po.lab.simulate import Trial, simulate
from gateway.llm_po.lab.world_files import world_from_json

# Policy 0 is better at every moment, success rises from .6 to .8, and its users report three times as often.
RISING = Outcomes((0.63, 0.60), (0.83, 0.80), drift_units=40_000, reported=(0.15, 0.05), wait=5_000)
OLDEST_FIRST = replace(RISING, order="oldest", lagging_share=0.5, wait=None)


def trial(outcomes: Outcomes, **changes: object) -> Trial:
    """The default design in a world of these outcomes."""
    return Trial(worlds.matched("matched", outcomes), epsilon=0.02, **changes)


def test_unequal_reporting_and_rising_quality_promote_nothing_worse() -> None:
    """With newest first and more draws of the lagging policy, wrong runs stay within delta."""
    assert simulate(trial(RISING), seeds=12, seed=1).wrong <= 2


def test_oldest_first_takes_time_for_quality() -> None:
    """The order this gateway had before is wrong in most runs of the very same world."""
    assert simulate(trial(OLDEST_FIRST), seeds=12, seed=1).wrong >= 7


def test_few_outcomes_wait_where_the_lagging_policy_is_drawn_more() -> None:
    """If policies report alike, a fair coin lets a queue grow, and a balanced draw keeps it short."""
    waiting = {}
    for lagging_share in (0.5, 0.9):
        run = _run(Outcomes((0.5, 0.5), lagging_share=lagging_share))
        lengths = []
        for _ in range(2_000):
            run.comparisons([(0, 1)])
            lengths.append(sum(run.waiting.get((0, 1), (0, 0))))
        waiting[lagging_share] = sum(lengths) / len(lengths)

    assert waiting[0.9] < 2
    assert waiting[0.5] > 3 * waiting[0.9]


def test_failures_may_be_reported_otherwise_than_successes() -> None:
    """If only failures of the one policy and successes of the other are reported, the other always wins."""
    rare = 1e-9
    run = _run(Outcomes((0.5, 0.5), reported=(rare, 1.0), reported_failures=(1.0, rare)))

    assert {result for _, _, result in run.comparisons([(0, 1)] * 200)} == {0}


def test_a_late_outcome_is_refused_where_units_count_at_a_fixed_age() -> None:
    """If the hold is shorter than failures take, only successes count and every comparison is a tie."""
    run = _run(Outcomes((0.5, 0.5), delays=(20, 0), hold=10))

    assert {result for _, _, result in run.comparisons([(0, 1)] * 200)} == {2}


@pytest.mark.parametrize(("hold", "fewest_wrong", "most_wrong"), [(None, 3, 12), (200, 0, 2)])
def test_failures_known_late_need_a_hold(hold: int | None, fewest_wrong: int, most_wrong: int) -> None:
    """Late failures break delta without a hold in steady conditions, and a fixed age keeps it."""
    outcomes = Outcomes((0.33, 0.30), delays=(200, 0), hold=hold, wait=5_000)

    assert fewest_wrong <= simulate(trial(outcomes), seeds=12, seed=1).wrong <= most_wrong


def test_world_files_say_how_outcomes_come() -> None:
    """Beside rates; a file without a word of it is one of comparisons ready made, as before."""
    content = {
        "rates": [0.4, 0.6],
        "labels": ["a", "b"],
        "later": [0.5, 0.7],
        "drift_units": 100,
        "reported": [0.5, 1],
        "delays": [20, 0],
        "hold": 30,
        "wait": 1_000,
        "reported_failures": [1, 0.25],
    }
    world = world_from_json(content, "w")

    expected = Outcomes(
        (0.4, 0.6), (0.5, 0.7), 100, (0.5, 1), (20, 0), 30, 1_000, reported_failures=(1, 0.25)
    )
    assert dataclasses.asdict(world.outcomes) == dataclasses.asdict(expected)
    assert world.labels == ("a", "b")
    assert world_from_json({"rates": [0.4, 0.6]}, "w").outcomes is None


def test_waiting_outcome_is_dropped_once_it_waited_too_long() -> None:
    """A dropped outcome makes no comparison and no longer counts as waiting."""
    queues = Queues(wait=10, order="newest")
    assert queues.take((0, 1), 0, 1.0, now=0) is None

    assert queues.take((0, 1), 1, 0.0, now=11) is None
    assert queues.lengths() == {(0, 1): (0, 1)}
    assert queues.take((0, 1), 0, 1.0, now=12) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"rates": (0.0, 0.5)},
        {"later": (0.5,)},
        {"reported": (0.0, 0.5)},
        {"reported_failures": (0.5,)},
        {"delays": (-1, 0)},
        {"delays": (5, 9), "hold": 4},
        {"wait": 0},
        {"order": "first"},
        {"lagging_share": 1.0},
        {"drift_units": 0},
    ],
)
def test_numbers_out_of_range_are_refused(changes: dict[str, object]) -> None:
    """The error names the number."""
    with pytest.raises(WorldError, match=next(reversed(changes))):
        Outcomes(**{"rates": (0.5, 0.6), **changes})


def test_a_world_of_outcomes_says_itself_what_is_in_flight() -> None:
    """Two words on the same thing would contradict each other."""
    with pytest.raises(DesignError, match="in_flight"):
        trial(RISING, in_flight=5)


def _run(outcomes: Outcomes) -> MatchedRun:
    return MatchedRun(outcomes, (0, 1), np.random.default_rng(3))
