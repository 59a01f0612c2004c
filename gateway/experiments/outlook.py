"""How much is missing to a decision: the one calculation that every page, command and metric shows."""

from __future__ import annotations

import math
from dataclasses import dataclass

from policy_store.models import Counts, Experiment, ProposedPlan


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is missing, if the data are right.

    Attributes:
        comparisons: How many more to the decision, or to the end of the budget.
        seconds: How long that takes at the mean rate so far; None before the first comparison.
    """

    comparisons: int
    seconds: float | None


def outlook(
    experiment: Experiment, proposal: ProposedPlan, counts: Counts, min_voters: int = 0
) -> Outlook | None:
    """What is missing until everything a decision needs is there; None where there is no telling.

    That is evidence, `min_comparisons`, `min_duration` and `min_voters`, whichever comes last, or the budget,
    if it comes first.

    Args:
        experiment: As the store runs it, undecided.
        proposal: The plan in force, which knows what the evidence lacks.
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
