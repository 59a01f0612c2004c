"""Which candidate of an experiment fails on most of the requests it is asked."""

from __future__ import annotations

from gateway.config.promotion import PromotionSpec
from gateway.llm_po.failing import failing_line, failing_nats
from policy_store.counts import Counts
from policy_store.decisions import Failing


def failing_candidate(counts: Counts, incumbent: int, promotion: PromotionSpec) -> Failing | None:
    """The candidate with the most evidence that it fails, if that reaches the line; None otherwise.

    Args:
        counts: What was counted, and the store's clock.
        incumbent: The policy that serves, which is no candidate.
        promotion: Says how long a candidate is given.
    """
    trials, patience = counts.trials, promotion.gives_up_after
    if trials is None or patience is None or counts.now - trials.since < patience.total_seconds():
        return None
    candidates = [policy for policy in range(len(trials.asked)) if policy != incumbent]
    tried = [Failing(policy, trials.asked[policy], trials.failed[policy]) for policy in candidates]
    worst = max(tried, key=lambda each: failing_nats(each.asked, each.failed))
    return worst if failing_nats(worst.asked, worst.failed) >= failing_line(len(tried)) else None
