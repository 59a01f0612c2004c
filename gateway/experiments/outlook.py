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
    needs = (
        _missing_evidence(proposal, counts),
        float(experiment.min_comparisons - counts.comparisons),
        seconds_left * rate,
        _missing_voters(counts, counted, min_voters),
        1.0,
    )
    budget = math.inf
    if experiment.max_comparisons is not None:
        budget = max(0.0, float(experiment.max_comparisons - counts.comparisons))
    missing = min(max(needs), budget)
    if math.isinf(missing):
        return None
    return Outlook(math.ceil(missing), max(missing / rate, seconds_left) if rate else None)


def _missing_evidence(proposal: ProposedPlan, counts: Counts) -> float:
    """What the plan expected, less what was counted since."""
    if proposal.expected_remaining is None:
        return math.inf
    return proposal.expected_remaining - (counts.comparisons - proposal.comparisons)


def _missing_voters(counts: Counts, counted: int, min_voters: int) -> float:
    """In comparisons, if as many voters turn up with each as so far."""
    missing = min_voters - counts.voters
    if missing <= 0:
        return 0.0
    return missing * counted / counts.voters if counts.voters else math.inf
