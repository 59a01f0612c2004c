"""The gain over the incumbent: how often a policy is preferred to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.llm_po.confidence import preference_interval

_DIGITS: Final = 6


@dataclass(frozen=True, slots=True)
class Gain:
    """A policy against the incumbent, by the decisive comparisons of the two.

    Attributes:
        policy: Its name.
        incumbent: The incumbent's name.
        wins: Comparisons in which the policy was preferred.
        losses: Comparisons in which the incumbent was preferred.
        preference: The share of these comparisons that the policy won; None if there are none.
        low: Lower end of the interval for the probability that the policy is preferred.
        high: Upper end.
        confidence: Probability with which the intervals of all rivals of the incumbent hold, at any time.
    """

    policy: str
    incumbent: str
    wins: int
    losses: int
    preference: float | None
    low: float
    high: float
    confidence: float


def gain(
    policies: Sequence[str],
    wins: Sequence[Sequence[int]],
    policy: int,
    incumbent: int,
    *,
    delta: float,
    policies_ever: int,
) -> Gain | None:
    """The gain of a policy; None for the incumbent itself.

    The error level is divided among all rivals that the incumbent ever had, so the interval also holds for a
    policy that was chosen because it looked best.

    Args:
        policies: Names, in the order of the indices.
        wins: `wins[i][j]`: how often i was preferred to j.
        policy: Index of the policy.
        incumbent: Index of the incumbent.
        delta: Error level of the experiment.
        policies_ever: How many policies there have ever been.
    """
    if policy == incumbent:
        return None
    won, lost = int(wins[policy][incumbent]), int(wins[incumbent][policy])
    low, high = preference_interval(won, lost, delta / max(1, policies_ever - 1))
    return Gain(
        policy=policies[policy],
        incumbent=policies[incumbent],
        wins=won,
        losses=lost,
        preference=round(won / (won + lost), _DIGITS) if won + lost else None,
        low=round(low, _DIGITS),
        high=round(high, _DIGITS),
        confidence=1 - delta,
    )
