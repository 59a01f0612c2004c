"""Reasons that hold a decision back even if the evidence suffices."""

from __future__ import annotations

from gateway.config.promotion import PromotionSpec
from gateway.experiments.balance import balance_of
from policy_store.counts import Counts
from policy_store.experiment import Experiment


def holds(
    experiment: Experiment, promotion: PromotionSpec, counts: Counts, disagreement: str | None = None
) -> list[str]:
    """Each reason in a sentence; none if only the evidence decides.

    Args:
        experiment: As the store runs it.
        promotion: The promotion section of the configuration in force.
        counts: What was counted, and the store's clock.
        disagreement: Why replicas do not agree; None while they do, and where only the evidence is asked.
    """
    found = [] if disagreement is None else [disagreement]
    left = experiment.min_duration_seconds - (counts.now - counts.started_at)
    if left > 0:
        found.append(f"No decision for another {left:.0f} s, until promotion.min_duration is over.")
    if counts.voters < promotion.min_voters:
        found.append(
            f"No decision yet: {counts.voters} voters gave the votes, promotion.min_voters asks for "
            f"{promotion.min_voters}. Name users (`user` or `safety_identifier`) in requests."
        )
    balance = balance_of(counts) if promotion.on_imbalance == "hold" else None
    if balance is not None and not balance.is_kept:
        found.append(balance.sentence(experiment.policies))
    return found
