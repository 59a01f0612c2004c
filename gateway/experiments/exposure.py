"""Limits on the share of units that each policy answers, as plans and routers keep them.

Shares are shares of all units (requests or sessions) that ask for the experiment, whether they take part or
not. A policy answers a unit if its answer is shown: with `matched` this is one policy of the pair, chosen by
a fair coin; with `side_by_side` it is both, and with `shadow` neither, because the incumbent answers every
unit. The incumbent also answers every unit that takes no part.

This module does not use numpy, because routers import it: they keep the caps whatever plan they get. Nor does
it load the configuration, because the planner's process imports it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from policy_store.plan_records import PlannedPair

TOLERANCE: Final = 1e-9
"""How far sums of shares may be off."""


@dataclass(frozen=True, slots=True)
class ExposureCaps:
    """The operator's caps.

    Attributes:
        share: The share of all units that take part.
        answers_per_unit: How many of the two policies answer a unit that is compared, 0, 1 or 2.
        max_shares: The largest share of all units that a policy may answer, for each policy with such a cap.
            The incumbent has none, because it answers every unit that is not compared.
        min_share: The smallest share of all units that the incumbent answers.
    """

    share: float
    answers_per_unit: int
    max_shares: Mapping[str, float]
    min_share: float

    @property
    def are_set(self) -> bool:
        """Whether there are any caps that comparing could break."""
        return self.share > 0 and self.answers_per_unit > 0 and bool(self.max_shares or self.min_share)

    def most(self, policies: Sequence[str]) -> tuple[float, ...]:
        """The largest share of the units taking part that each policy may answer; 1 is no cap."""
        return tuple(min(self.max_shares.get(name, 1.0) / self.share, 1.0) for name in policies)

    @property
    def least(self) -> float:
        """The smallest share of the units taking part that the incumbent answers."""
        return max(1 - (1 - self.min_share) / self.share, 0.0)

    def elsewhere(self, policy: str) -> float:
        """The largest share of the units taking no part that a policy other than the incumbent may answer.

        However often it answers those that take part, and whichever of these the incumbent does not.
        """
        apart = 1 - self.share
        if apart <= 0:
            return 1.0
        own = (self.max_shares.get(policy, 1.0) - self.share) / apart if policy in self.max_shares else 1.0
        return max(0.0, min(1.0, own, 1 - self.min_share / apart))

    def compared(self, pairs: Sequence[PlannedPair], policies: Sequence[str], incumbent: int) -> float:
        """The largest share of the units taking part that may be compared, in [0, 1].

        The incumbent alone answers the others. For a plan that keeps the caps this is the share that the
        plan was made for: if a cap binds, drawing its pairs more often would break the cap.

        Args:
            pairs: The pairs to draw from; their probabilities sum to 1.
            policies: Names of the policies, by index.
            incumbent: Index of the policy that serves now.
        """
        if not self.are_set:
            return 1.0
        answered = dict.fromkeys(range(len(policies)), 0.0)
        for pair in pairs:
            for policy in (pair.first, pair.second):
                answered[policy] += pair.probability * self.answers_per_unit / 2
        most = self.most(policies)
        candidates = [policy for policy in answered if policy != incumbent and answered[policy] > 0]
        allowed = [most[policy] / answered[policy] for policy in candidates]
        elsewhere = 1 - answered[incumbent]
        if elsewhere > TOLERANCE:
            allowed.append((1 - self.least) / elsewhere)
        return min(1.0, *allowed)
