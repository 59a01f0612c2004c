"""Reasons that hold a decision back even if the evidence suffices."""

from __future__ import annotations

from gateway.config.promotion import PromotionSpec
from gateway.experiments.balance import balance_of
from gateway.llm_po.lines import UNSTATED_PROMISE
from policy_store.counts import Counts
from policy_store.experiment import Experiment
from policy_store.plan_records import ProposedPlan


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


def waits_for_check(experiment: Experiment, plan: ProposedPlan) -> str | None:
    """Why a policy that the evidence certifies is not promoted: the check against circles; None if not so.

    Only where the promise assumes that some policy is preferred to every other is there such a check
    (docs/decisions/0013-survivor-check.md). A plan that leads to a decision expects no more comparisons.
    """
    assumes_winner = experiment.epsilon == 0 or experiment.promise != UNSTATED_PROMISE
    if not assumes_winner or not experiment.decides_by_evidence or plan.expected_remaining == 0:
        return None
    full = [nats >= needed for nats, needed in zip(plan.evidence_nats, plan.needed_nats, strict=True)]
    left_over = [policy for policy, is_full in enumerate(full) if is_full is (experiment.epsilon > 0)]
    is_certified = bool(left_over) if experiment.epsilon > 0 else len(left_over) == 1
    if not is_certified:
        return None
    names = " and ".join(experiment.policies[policy] for policy in left_over)
    return (
        f"No decision yet: the evidence certifies {names}, but the comparisons with some rival do not show "
        "at odds of 4 to 1 that it is not ahead. Preferences may run in a circle."
    )
