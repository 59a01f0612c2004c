"""Limits on the share of units that each policy answers: the operator's caps, and whether they can be kept.

Shares are shares of all units (requests or sessions) that ask for the experiment, whether they take part or
not. A policy answers a unit if its answer is shown: with `matched` this is one policy of the pair, chosen by
a fair coin; with `side_by_side` it is both, and with `shadow` neither, because the incumbent answers every
unit. The incumbent also answers every unit that takes no part.

This module does not use numpy, because routers import it: they keep the caps whatever plan they get.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.config.experiments import ExperimentSpec
from gateway.errors import ConfigIssue
from gateway.experiments.collecting import WAYS
from policy_store.plan_records import PlannedPair

_TOLERANCE: Final = 1e-9


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
        if elsewhere > _TOLERANCE:
            allowed.append((1 - self.least) / elsewhere)
        return min(1.0, *allowed)


def exposure_caps(spec: ExperimentSpec) -> ExposureCaps:
    """The caps that an experiment's section declares."""
    declared = ((name, policy.max_share) for name, policy in spec.policies.items())
    return ExposureCaps(
        share=spec.traffic.share,
        answers_per_unit=WAYS[spec.traffic.collect].answers_per_unit,
        max_shares={name: share for name, share in declared if share is not None},
        min_share=spec.traffic.min_share,
    )


def exposure_issues(name: str, spec: ExperimentSpec) -> Iterator[ConfigIssue]:
    """Faults of caps that no plan can keep while as many units take part as `traffic.share` says.

    Let s be `traffic.share` and g the share of a compared unit's answers that each policy of its pair gives:
    1/2 if one policy answers, 1 if both do. All those units can be compared if and only if

        the candidates' max_share (1 if there is none) sum to at least s g, and
        min_share <= 1 - s (1 - g).

    Necessary: every comparison has a candidate, which answers g of the unit, so candidates together answer at
    least s g; the incumbent answers at most all units that take no part and g of those that do, 1 - s + s g.
    Sufficient: always compare the incumbent, with each candidate in proportion to its max_share. A candidate
    then answers s g max_share over their sum, which is at most max_share, and the incumbent 1 - s + s g.
    Neither condition becomes harder to meet when another policy becomes the incumbent: a former incumbent is
    a candidate without a cap.
    """
    caps, path = exposure_caps(spec), f"experiments.{name}"
    if spec.incumbent in caps.max_shares:
        yield ConfigIssue(
            f"{path}.max_share" if spec.grid else f"{path}.policies.{spec.incumbent}.max_share",
            "The incumbent answers every unit that is not compared, so it has no cap.",
            "Cap the candidates, or set `traffic.min_share`.",
        )
        return
    if not caps.answers_per_unit:
        return
    answered = caps.answers_per_unit / 2
    candidates = sum(caps.max_shares.get(each, 1.0) for each in spec.policies if each != spec.incumbent)
    if candidates < caps.share * answered - _TOLERANCE:
        yield ConfigIssue(
            f"{path}.traffic.share",
            f"The candidates may answer {candidates:.4g} of all units together (`max_share`), and comparing "
            f"{caps.share:g} of them needs {caps.share * answered:.4g}.",
            f"Lower `share` to {candidates / answered:.4g} or less, or raise a `max_share`.",
        )
    if caps.min_share > 1 - caps.share * (1 - answered) + _TOLERANCE:
        yield ConfigIssue(
            f"{path}.traffic.min_share",
            f"With a `share` of {caps.share:g} the incumbent answers at most "
            f"{1 - caps.share * (1 - answered):.4g} of all units, less than {caps.min_share:g}.",
            f"Lower `share` to {(1 - caps.min_share) / (1 - answered):.4g} or less, or lower `min_share`.",
        )
