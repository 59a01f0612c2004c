"""The subject of an estimate: an experiment, its expected traffic, and possible worlds."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from operator import ne
from typing import Final

import numpy as np

from gateway.errors import GatewayError
from gateway.experiments.collecting import Way
from gateway.llm_po.exposure import Caps
from gateway.llm_po.lab import worlds
from gateway.llm_po.lab.judges import SimulatedJudge
from gateway.llm_po.lab.simulate import Trial
from gateway.llm_po.lab.worlds import World
from gateway.llm_po.lines import UNSTATED_PROMISE, Promise
from gateway.llm_po.stopping import Objective, StoppingRule
from gateway.llm_po.structured.features import Features
from gateway.simulation.runner import Job

EFFECTS: Final = {"none": 0.5, "small": 0.55, "medium": 0.6, "large": 0.7}
"""How often the best policy is preferred to its nearest rivals, among decisive comparisons."""

WITHIN_CAPS: Final = "within caps"
"""The suffix in the names of jobs with exposure caps."""

HORIZON: Final = 20_000
"""Decisive comparisons after which a simulated run is given up and reported as taking more."""

_CELLS: Final = 5_000  # default for policies squared times runs, so that an estimate takes seconds
_FEWEST_RUNS: Final = 20
_MOST_RUNS: Final = 60


class EstimateError(GatewayError):
    """An experiment that cannot be estimated: no traffic reaches it, or a number is out of range."""


@dataclass(frozen=True, slots=True)
class Prospect:
    """An experiment and its expected traffic.

    Attributes:
        experiment: Its name.
        policies: K.
        incumbent: Index of the policy serving now.
        costs: Declared cost per request of each policy, all in the same unit.
        delta: Error level.
        epsilon: Margin.
        way: How comparisons are collected.
        share: Share of the units that take part.
        min_comparisons: Comparisons before which nothing is decided.
        min_days: Days before which nothing is decided.
        max_comparisons: Budget, or None.
        last_look: Whether the budget ends with a last look.
        units_per_day: Requests, or sessions if a session is the unit.
        feedback_rate: Share of the units that report.
        judged_per_day: Comparisons a day that a judge makes of other units, and that are evidence too. They
            tie as often as those of users.
        feedback_delay_days: How long a report takes.
        tie_rate: Share of comparisons that are ties; with `success_rate` it follows from the effect.
        success_rate: Probability of a good outcome of an ordinary policy, if outcomes are good or bad; None
            if they are graded.
        prices: Money per request of each policy, or None if not known.
        stopping: The rule that decides.
        features: The features of the policies, or None if nothing is assumed of preferences.
        levels: The grid's level of every axis, for each policy; None if there is no grid.
        objective: What plans keep small.
        promise: The promise with a margin.
        caps: How much each policy may answer, as shares of the units taking part; None for no caps.
        informed_by: The sources that inform forecasts, as simulated.
        voter_cap_per_experiment: How many votes a user may give in all; None for any number.

    Raises:
        EstimateError: If a number is out of range or nothing would ever be compared.
    """

    experiment: str
    policies: int
    incumbent: int
    costs: tuple[float, ...]
    delta: float
    epsilon: float
    way: Way
    share: float
    min_comparisons: int
    min_days: float
    max_comparisons: int | None
    units_per_day: float
    feedback_rate: float
    feedback_delay_days: float
    tie_rate: float
    success_rate: float | None
    prices: tuple[float, ...] | None
    stopping: StoppingRule = "e-process"
    features: Features | None = None
    levels: tuple[tuple[str, ...], ...] | None = None
    objective: Objective = "comparisons"
    promise: Promise = UNSTATED_PROMISE
    caps: Caps | None = None
    last_look: bool = False
    informed_by: tuple[SimulatedJudge, ...] = ()
    voter_cap_per_experiment: int | None = None
    judged_per_day: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("share", self.share), ("feedback rate", self.feedback_rate)):
            if not 0 < value <= 1:
                raise EstimateError(
                    f"The {name} is {value:g}; nothing is ever compared unless it is in (0, 1]."
                )
        if not 0 <= self.tie_rate < 1:
            raise EstimateError(f"The tie rate is {self.tie_rate:g}; it must be in [0, 1).")
        if self.success_rate is not None and not 0 < self.success_rate < 1:
            raise EstimateError(f"The success rate is {self.success_rate:g}; it must be in (0, 1).")
        if self.units_per_day <= 0 or self.feedback_delay_days < 0:
            raise EstimateError(
                f"{self.units_per_day:g} requests a day and a feedback delay of {self.feedback_delay_days:g} "
                "days are impossible; give more than 0, and at least 0."
            )

    @property
    def units_per_comparison(self) -> float:
        """Units taking part that are answered for each comparison, including those that never report."""
        return self.units_per_day * self.share / self.comparisons_per_day

    @property
    def votes_per_comparison(self) -> float:
        """Votes that a comparison takes; a judge's verdict takes one of the user whose request it is."""
        judged = self.judged_per_day / self.comparisons_per_day
        return judged + (1 - judged) * self.way.units_per_comparison

    @property
    def answers_per_unit(self) -> int:
        """Answers paid for per unit."""
        return self.way.answers_per_unit

    @property
    def comparisons_per_day(self) -> float:
        """Comparisons a day at this traffic."""
        reported = self.units_per_day * self.share * self.feedback_rate
        return reported / self.way.units_per_comparison + self.judged_per_day

    @property
    def in_flight(self) -> int:
        """Comparisons that are assigned but not yet counted at any time."""
        return round(self.comparisons_per_day * self.feedback_delay_days)

    def decisive_share(self, effect: str) -> float:
        """Share of decisive comparisons among those of the best policy with another."""
        if self.success_rate is None:
            return 1 - self.tie_rate
        best, base = self.best_success_rate(effect), self.success_rate
        return best * (1 - base) + base * (1 - best)

    def best_success_rate(self, effect: str) -> float:
        """Probability of a good outcome of the best policy; `success_rate` is that of the others."""
        base, preferred = self.success_rate or 0.5, EFFECTS[effect]
        better, worse = base * preferred, (1 - base) * (1 - preferred)
        return better / (better + worse)

    @property
    def effects(self) -> list[str]:
        """The effects to simulate; `none` only with a margin, because otherwise equals never end."""
        return [effect for effect in EFFECTS if effect != "none" or self.epsilon > 0]

    @property
    def best(self) -> int:
        """The policy that is better in the simulated worlds: the candidate with the tightest cap.

        Comparisons with it are the rarest, so this is the case in which caps cost most.
        """
        candidates = (policy for policy in range(self.policies) if policy != self.incumbent)
        return min(candidates, key=lambda policy: 1.0 if self.caps is None else self.caps.most[policy])

    def world(self, effect: str) -> World:
        """A world in which one policy is preferred to its nearest rivals as often as the effect says.

        Without a grid the nearest are all the others, equal among themselves. In a grid the best level of
        each axis is that far ahead of the axis's other levels: the nearest differ in one axis.
        """
        best, preferred = self.best, EFFECTS[effect]
        levels = self.levels or tuple((str(policy),) for policy in range(self.policies))
        behind = [sum(map(ne, levels[best], own)) for own in levels]
        world = worlds.bradley_terry(effect, -math.log(preferred / (1 - preferred)) * np.array(behind))
        return world if self.features is None else replace(world, features=self.features)

    def job(self, effect: str, runs: int | None, seed: int, *, caps: Caps | None) -> Job:
        """The job for an effect. The budget is left out, to see how many runs it would cut off.

        With a last look it is kept, because some of those runs are decided by it.

        Args:
            effect: A key of `EFFECTS`.
            runs: How many runs, or None for as many as take seconds.
            seed: Fixes every run.
            caps: The experiment's caps, or None to simulate without them.
        """
        decisive = self.decisive_share(effect)
        # With caps a day has the same number of units but fewer comparisons.
        fewest = self.fewest_comparisons if caps is None else self.min_comparisons
        opportunities = 0.0 if caps is None else self.min_days * self.comparisons_per_day * decisive
        trial = Trial(
            self.world(effect),
            stopping=self.stopping,
            delta=self.delta,
            epsilon=self.epsilon,
            max_comparisons=self._farthest(decisive),
            last_look=self.last_look,
            in_flight=min(round(self.in_flight * decisive), HORIZON // 2),
            incumbent=self.incumbent,
            costs=self.costs,
            objective=self.objective,
            promise=self.promise,
            space="unstructured" if self.features is None else "linear",
            min_comparisons=min(round(fewest * decisive), HORIZON),
            caps=caps,
            min_opportunities=opportunities,
            judges=self.informed_by,
        )
        usual = min(_MOST_RUNS, max(_FEWEST_RUNS, _CELLS // self.policies**2))
        # Equal policies take longest and vary little; plans with caps take more time. So fewer runs suffice.
        few = _FEWEST_RUNS if effect == "none" or caps is not None else usual
        name = effect if caps is None else f"{effect} {WITHIN_CAPS}"
        return Job(name, trial, runs or few, seed)

    def _farthest(self, decisive: float) -> int:
        """The decisive comparisons after which a run is given up."""
        if not self.last_look or self.max_comparisons is None:
            return HORIZON
        return min(HORIZON, max(1, round(self.max_comparisons * decisive)))

    @property
    def fewest_comparisons(self) -> int:
        """Comparisons before which nothing is decided, by the later of the two minima."""
        return max(self.min_comparisons, math.ceil(self.min_days * self.comparisons_per_day))
