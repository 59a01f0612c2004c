"""What holds a decision back although the evidence suffices, in words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.experiments.holds import waits_for_check
from policy_store.plan_records import ProposedPlan
from tests.policy_store.building import experiment, plan

BEST = {"promise": "no_worse_than_best"}
WINNER = {"epsilon": 0.0}


def planned(*evidence_nats: float, remaining: float | None = None) -> ProposedPlan:
    """A plan with evidence of which 3 nats are needed."""
    return replace(plan(), evidence_nats=evidence_nats, expected_remaining=remaining)


@pytest.mark.parametrize(
    ("changes", "evidence", "named"),
    [(WINNER, (1.0, 3.0, 4.0), "p0"), (BEST, (1.0, 3.5, 2.0), "p1"), (BEST, (3.0, 3.5, 2.0), "p0 and p1")],
)
def test_certified_policy_that_waits_for_the_check_is_named(
    changes: dict[str, Any], evidence: tuple[float, ...], named: str
) -> None:
    """The last remaining policy of a winner experiment, or those that are certified as no worse."""
    reason = waits_for_check(experiment(**changes), planned(*evidence))

    assert reason is not None
    assert f"certifies {named}, but" in reason


@pytest.mark.parametrize(
    ("changes", "proposal"),
    [
        (WINNER, planned(1.0, 2.0, 4.0)),  # two are left
        (BEST, planned(1.0, 2.0, 2.9)),
        (BEST, planned(1.0, 3.0, 2.9, remaining=0.0)),  # decided now
        ({}, planned(1.0, 3.0, 2.9)),  # assumes no winner, so there is no check
        (WINNER | {"inference": '{"stopping":"glr"}'}, planned(1.0, 3.0, 4.0)),
    ],
)
def test_nothing_else_waits_for_the_check(changes: dict[str, Any], proposal: ProposedPlan) -> None:
    """While evidence is missing, where the decision is made, or where there is no check."""
    assert waits_for_check(experiment(**changes), proposal) is None
