"""Suggests, in sentences, what to change before an experiment starts."""

from __future__ import annotations

import math
from typing import Final

from gateway.llm_po.scalars import FEWEST_POLICIES
from gateway.simulation.estimate import EffectEstimate
from gateway.simulation.prospect import EFFECTS, Prospect

_LONG_DAYS: Final = 60.0
_MANY: Final = 0.1  # share of undecided runs from which on they are mentioned


def advice(prospect: Prospect, forecasts: list[EffectEstimate]) -> list[str]:
    """What is worth changing before the experiment starts, in sentences."""
    given = Advice(prospect, forecasts)
    kinds = (
        *(given.too_slow, given.capped, given.users_needed),
        *(given.cut_off, given.held_back, given.below_the_margin),
    )
    return [sentence for kind in kinds for sentence in kind()]


class Advice:
    """Advice from an estimate, by kind; each kind may be empty.

    Args:
        prospect: The experiment and its traffic.
        forecasts: The estimate for each effect.
    """

    def __init__(self, prospect: Prospect, forecasts: list[EffectEstimate]) -> None:
        self._prospect = prospect
        self._forecasts = forecasts
        self._medium = next(forecast for forecast in forecasts if forecast.effect == "medium")

    def cut_off(self) -> list[str]:
        """How many experiments the budget would end undecided."""
        return [
            f"max_comparisons {self._prospect.max_comparisons} would end {forecast.undecided:.0%} of the "
            f"experiments with {_effect_words(forecast.effect)} undecided."
            for forecast in self._forecasts
            if self._prospect.max_comparisons is not None and forecast.undecided > _MANY
        ]

    def too_slow(self) -> list[str]:
        """Ways to shorten an experiment that takes long."""
        prospect, medium = self._prospect, self._medium
        days = medium.days["median"]
        if days is not None and days <= _LONG_DAYS:
            return []
        length = f"{days:.0f} days" if days is not None else f"more than {medium.horizon_days:.0f} days"
        ways = [f"collect more feedback than {prospect.feedback_rate:.0%}"]
        if prospect.share < 1:
            faster = "" if days is None else f" (1.0: {days * prospect.share:.0f} days)"
            ways.append(f"raise traffic.share above {prospect.share:g}{faster}")
        ways.append(f"raise epsilon above {prospect.epsilon:g}")
        if prospect.policies > FEWEST_POLICIES:
            ways.append(f"drop some of the {prospect.policies} policies")
        return [f"A medium effect would take {length} at this traffic: {', or '.join(ways)}."]

    def capped(self) -> list[str]:
        """The cost of the exposure caps."""
        medium = self._medium
        if medium.without_caps is None:
            return []
        within, without = medium.days["median"], medium.without_caps.days["median"]
        if within is None or without is None:
            longer = f"more than {medium.horizon_days:.0f} days"
        else:
            longer = f"{within / without:.1f} times as long as without them"
        case = "if the policy with the tightest cap is the best"
        return [f"With the exposure caps a medium effect takes {longer}, {case}."]

    def users_needed(self) -> list[str]:
        """How many users it takes where each has only so many votes."""
        cap = self._prospect.voter_cap_per_experiment
        median = self._medium.comparisons["median"]
        if cap is None or median is None:
            return []
        users = math.ceil(median * self._prospect.votes_per_comparison / cap)
        votes = "one vote" if cap == 1 else f"at most {cap} votes"
        takes = f"a medium effect takes those of at least {users:,} users"
        return [f"With voter_cap_per_experiment {cap} a user has {votes} in all: {takes}."]

    def held_back(self) -> list[str]:
        """The minimum that delays the decision although the evidence would suffice earlier."""
        prospect, forecasts = self._prospect, self._forecasts
        fewest = prospect.fewest_comparisons
        held = [
            forecast.effect
            for forecast in forecasts
            if (median := forecast.comparisons["median"]) is not None
            and median <= (fewest + prospect.in_flight) * 1.05
        ]
        if not held:
            return []
        which = "min_comparisons" if fewest == prospect.min_comparisons else "min_duration"
        effects = " and ".join(_effect_words(effect) for effect in held)
        return [f"With {effects} the decision waits for {which} ({fewest} comparisons)."]

    def below_the_margin(self) -> list[str]:
        """Which effects are within the margin."""
        prospect, forecasts = self._prospect, self._forecasts
        hidden = [
            forecast.effect
            for forecast in forecasts
            if forecast.effect != "none" and EFFECTS[forecast.effect] <= 0.5 + prospect.epsilon
        ]
        if not hidden:
            return []
        effects = " and ".join(_effect_words(effect) for effect in hidden)
        return [
            f"{effects} within epsilon {prospect.epsilon:g}: any policy may then be promoted as no worse."
        ]


def _effect_words(effect: str) -> str:
    return "no effect" if effect == "none" else f"a {effect} effect"
