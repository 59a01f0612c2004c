"""How much is missing to a decision: the last of everything a decision needs, or the end of the budget."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.experiments.outlook import Outlook, outlook
from policy_store.counts import Counts
from policy_store.experiment import Experiment
from policy_store.plan_records import ProposedPlan
from tests.gateway.building import definition

EXPERIMENT = replace(definition().experiment, min_comparisons=0, min_duration_seconds=0.0)
PLAN = ProposedPlan(
    comparisons=390,
    pairs=(),
    leader=0,
    evidence_nats=(0.0, 0.0),
    needed_nats=(3.0, 3.0),
    expected_remaining=12.3,
    duration_seconds=0.1,
)
SILENT = replace(PLAN, expected_remaining=None)
# 390 comparisons in 780 seconds: one every two.
COUNTS = Counts(
    comparisons=390,
    wins=((0, 200), (190, 0)),
    ties=((0, 0), (0, 0)),
    evidence_nano_nats=((0, 0), (0, 0)),
    eliminated_at=(None, None),
    started_at=1000.0,
    now=1780.0,
    votes=780,
    voters=39,
    largest_voter=1,
)


@pytest.mark.parametrize(
    ("experiment", "plan", "counts", "min_voters", "expected"),
    [
        (EXPERIMENT, PLAN, COUNTS, 0, Outlook(13, 24.6)),
        (EXPERIMENT, PLAN, replace(COUNTS, comparisons=395), 0, Outlook(8, 7.3 * 780 / 395)),
        (EXPERIMENT, replace(PLAN, expected_remaining=0.0), COUNTS, 0, Outlook(1, 2.0)),
        (replace(EXPERIMENT, min_comparisons=3000), PLAN, COUNTS, 0, Outlook(2610, 5220.0)),
        (replace(EXPERIMENT, min_duration_seconds=3600.0), PLAN, COUNTS, 0, Outlook(1410, 2820.0)),
        (EXPERIMENT, PLAN, COUNTS, 49, Outlook(100, 200.0)),
        (replace(EXPERIMENT, max_comparisons=400), PLAN, COUNTS, 0, Outlook(10, 20.0)),
        (replace(EXPERIMENT, max_comparisons=390), PLAN, COUNTS, 0, Outlook(0, 0.0)),
        (
            replace(EXPERIMENT, max_comparisons=400, min_comparisons=3000, min_duration_seconds=900.0),
            PLAN,
            COUNTS,
            0,
            Outlook(10, 120.0),
        ),
        (
            replace(EXPERIMENT, max_comparisons=400),
            replace(PLAN, expected_remaining=None),
            COUNTS,
            0,
            Outlook(10, 20.0),
        ),
        (EXPERIMENT, replace(PLAN, expected_remaining=None), COUNTS, 0, None),
        (EXPERIMENT, PLAN, replace(COUNTS, voters=0), 10, None),
        (EXPERIMENT, PLAN, replace(COUNTS, inherited=390), 0, Outlook(13, None)),
    ],
    ids=[
        *("evidence", "counted since the plan", "full evidence, not decided yet", "min_comparisons"),
        *("min_duration", "min_voters", "budget", "budget spent", "budget before minima"),
        *("budget where evidence does not say", "unknown", "voters unknown", "nothing counted here"),
    ],
)
def test_the_last_need_counts_and_the_budget_ends_it(
    experiment: Experiment, plan: ProposedPlan, counts: Counts, min_voters: int, expected: Outlook | None
) -> None:
    """Evidence alone is not enough where comparisons, time or voters are still missing."""
    found = outlook(experiment, plan, counts, min_voters)
    assert (found is None) is (expected is None)
    if found is not None and expected is not None:
        assert found.comparisons == expected.comparisons
        assert found.seconds == (None if expected.seconds is None else pytest.approx(expected.seconds))
