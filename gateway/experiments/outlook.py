"""Computes what is missing to a decision; every page, command and metric shows this result."""

from __future__ import annotations

import math
from dataclasses import dataclass

from policy_store.counts import Counts
from policy_store.experiment import Experiment
from policy_store.plan_records import ProposedPlan


@dataclass(frozen=True, slots=True)
class Outlook:
    """An estimate of what is missing to a decision.

    Attributes:
        comparisons: How many more comparisons until the decision, or until the budget is spent.
        seconds: How long that takes at the mean rate so far; None before the first comparison.
    """

    comparisons: int
    seconds: float | None


def outlook(
    experiment: Experiment, proposal: ProposedPlan, counts: Counts, min_voters: int = 0
) -> Outlook | None:
    """What is missing until a decision has everything it needs; None if that cannot be estimated.

    A decision needs evidence, `min_comparisons`, `min_duration` and `min_voters`; the last of these counts,
    or the budget if it is spent earlier.

    Args:
        experiment: As the store runs it, undecided.
        proposal: The plan in force, which says how much evidence is missing.
        counts: What was counted, and the store's clock.
        min_voters: How many voters a decision waits for.
    """
    counted = counts.comparisons - counts.inherited
    elapsed = max(0.0, counts.now - counts.started_at)
    seconds_left = max(0.0, experiment.min_duration_seconds - elapsed)
    rate = counted / elapsed if elapsed else 0.0
    expected = math.inf if proposal.expected_remaining is None else proposal.expected_remaining
    voters_missing = max(0, min_voters - counts.voters)
    comparisons_per_voter = counted / counts.voters if counts.voters else math.inf  # so far
    needs = (
        expected - (counts.comparisons - proposal.comparisons),
        float(experiment.min_comparisons - counts.comparisons),
        seconds_left * rate,
        voters_missing * comparisons_per_voter if voters_missing else 0.0,
        1.0,
    )
    budget = math.inf
    if experiment.max_comparisons is not None:
        budget = max(0.0, float(experiment.max_comparisons - counts.comparisons))
    missing = min(max(needs), budget)
    if math.isinf(missing):
        return None
    return Outlook(math.ceil(missing), max(missing / rate, seconds_left) if rate else None)
