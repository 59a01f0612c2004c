"""What an experiment will take, before anything runs: comparisons, days and money to a decision.

The experiment itself is simulated, with its number of policies, its error level and margin, ties, and the
outcomes that are on their way at its traffic, in worlds in which one policy is better than all the others by
a known margin. Not known beforehand is which of these worlds is the real one: hence several effects.

A tie moves no evidence, so only decisive comparisons are simulated, and the ties that fall between them are
drawn afterwards: the same distribution in a fraction of the time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from gateway.errors import GatewayError
from gateway.llm_po import worlds
from gateway.llm_po.simulate import Summary, Trial
from gateway.llm_po.wins import FEWEST_POLICIES, FloatArray
from gateway.llm_po.worlds import World
from gateway.simulation.runner import Job, run_jobs

EFFECTS = {"none": 0.5, "small": 0.55, "medium": 0.6, "large": 0.7}
"""How often the best policy is preferred to each other one, of the comparisons that are no tie."""

HORIZON = 20_000
"""Decisive comparisons after which a simulated run is given up; longer ones are reported as more."""

_CELLS = 5_000  # policies squared times runs, by default: keeps an estimate within seconds
_FEWEST_RUNS, _MOST_RUNS = 20, 60
_LONG_DAYS = 60.0
_TIES_SEED = 7
_QUANTILES = {"p10": 0.1, "median": 0.5, "p90": 0.9}
_MANY = 0.1  # share of undecided runs worth a word


class EstimateError(GatewayError):
    """An experiment that cannot be estimated: no traffic reaches it, or a number is out of range."""


@dataclass(frozen=True, slots=True)
class Question:
    """An experiment and the traffic it will see.

    Attributes:
        experiment: Its name.
        policies: K.
        incumbent: Index of the policy serving now.
        costs: Declared cost per request of each policy; any one unit.
        delta: Error level.
        epsilon: Margin.
        collect: `matched`: two units make a comparison; `side_by_side`: one does.
        share: Share of the units that take part.
        min_comparisons: No decision before so many.
        min_days: No decision before so many days.
        max_comparisons: Budget, or None.
        units_per_day: Requests, or sessions where a session is the unit.
        feedback_rate: Share of the units that report.
        feedback_delay_days: How long a report takes.
        tie_rate: Share of comparisons that are ties; with `success_rate` it follows from the effect.
        success_rate: Chance that an outcome of an ordinary policy is good, where outcomes are good or bad;
            None: they are graded.
        prices: Money per request of each policy, or None where not known.

    Raises:
        EstimateError: If a number is out of range or nothing would ever be compared.
    """

    experiment: str
    policies: int
    incumbent: int
    costs: tuple[float, ...]
    delta: float
    epsilon: float
    collect: Literal["matched", "side_by_side"]
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
                "days cannot be; give more than 0 and at least 0."
            )

    @property
    def units_per_comparison(self) -> float:
        """Units answered for each comparison, those that never report included."""
        return (2 if self.collect == "matched" else 1) / self.feedback_rate

    @property
    def answers_per_unit(self) -> int:
        """Answers paid for per unit."""
        return 1 if self.collect == "matched" else 2

    @property
    def comparisons_per_day(self) -> float:
        """At this traffic."""
        return self.units_per_day * self.share / self.units_per_comparison

    @property
    def in_flight(self) -> int:
        """Comparisons assigned and not yet counted at any time."""
        return round(self.comparisons_per_day * self.feedback_delay_days)

    def decisive_share(self, effect: str) -> float:
        """Share of the comparisons of the best policy with another that are no tie."""
        if self.success_rate is None:
            return 1 - self.tie_rate
        best, base = self.best_success_rate(effect), self.success_rate
        return best * (1 - base) + base * (1 - best)

    def best_success_rate(self, effect: str) -> float:
        """Chance of a good outcome of the best policy; `success_rate` is that of the others."""
        base, preferred = self.success_rate or 0.5, EFFECTS[effect]
        better, worse = base * preferred, (1 - base) * (1 - preferred)
        return better / (better + worse)

    def world(self, effect: str) -> World:
        """One policy is preferred to every other as often as the effect says; the others are equal."""
        best, preferred = (1 if self.incumbent == 0 else 0), EFFECTS[effect]
        advantage = np.zeros(self.policies)
        advantage[best] = math.log(preferred / (1 - preferred))
        return worlds.bradley_terry(effect, advantage)

    def job(self, effect: str, runs: int | None, seed: int) -> Job:
        """What to simulate for an effect. The budget is left out, to see what it would cut off."""
        decisive = self.decisive_share(effect)
        trial = Trial(
            self.world(effect),
            delta=self.delta,
            epsilon=self.epsilon,
            max_comparisons=HORIZON,
            in_flight=min(round(self.in_flight * decisive), HORIZON // 2),
            incumbent=self.incumbent,
            costs=self.costs,
            min_comparisons=min(round(self.fewest_comparisons * decisive), HORIZON),
        )
        usual = min(_MOST_RUNS, max(_FEWEST_RUNS, _CELLS // self.policies**2))
        few = _FEWEST_RUNS if effect == "none" else usual  # equals take longest, and all about as long
        return Job(effect, trial, runs or few, seed)

    @property
    def fewest_comparisons(self) -> int:
        """No decision before so many, whichever of the two minimums is later."""
        return max(self.min_comparisons, math.ceil(self.min_days * self.comparisons_per_day))


@dataclass(frozen=True, slots=True)
class Forecast:
    """What one effect would take.

    Attributes:
        effect: A key of `EFFECTS`.
        summary: The simulated runs, without the experiment's budget.
        question: What was asked.
    """

    effect: str
    summary: Summary
    question: Question

    @property
    def taken(self) -> FloatArray:
        """Comparisons of each run until its decision, ties included; infinite beyond the horizon."""
        endings, decisive = self.summary.endings, self.question.decisive_share(self.effect)
        counts = np.array([ending.comparisons for ending in endings])
        rng = np.random.default_rng([_TIES_SEED, len(counts)])
        taken = (counts + rng.negative_binomial(counts, decisive)).astype(np.float64)
        taken[[ending.kind == "inconclusive" for ending in endings]] = np.inf
        return taken

    @property
    def horizon(self) -> float:
        """Comparisons a run is followed for."""
        return HORIZON / self.question.decisive_share(self.effect)

    @property
    def comparisons(self) -> dict[str, float | None]:
        """10 %, half and 90 % of the runs are decided by so many; None: beyond the horizon."""
        found = {name: float(np.quantile(self.taken, q, method="higher")) for name, q in _QUANTILES.items()}
        return {name: value if math.isfinite(value) else None for name, value in found.items()}

    @property
    def days(self) -> dict[str, float | None]:
        """The same in days at this traffic."""
        return self._scaled(1 / self.question.comparisons_per_day)

    @property
    def money(self) -> dict[str, float | None] | None:
        """What answers in the experiment cost until then, or None where prices are not known.

        Policies are taken to answer equally often.
        """
        question = self.question
        if question.prices is None:
            return None
        answers = question.units_per_comparison * question.answers_per_unit
        return self._scaled(answers * float(np.mean(question.prices)))

    @property
    def extra_money(self) -> dict[str, float | None] | None:
        """How much more that is than if the incumbent alone had answered these units."""
        question = self.question
        if question.prices is None:
            return None
        each = (
            question.answers_per_unit * float(np.mean(question.prices)) - question.prices[question.incumbent]
        )
        return self._scaled(question.units_per_comparison * each)

    @property
    def undecided(self) -> float:
        """Share of the runs that the experiment's budget, or the horizon, would cut off."""
        return float(np.mean(self.taken > (self.question.max_comparisons or self.horizon)))

    @property
    def best_promoted(self) -> float | None:
        """Share of the decided runs that promote the better policy; None where all are equal."""
        champion = self.summary.trial.world.champion
        decided = [ending.promoted for ending in self.summary.endings if ending.kind != "inconclusive"]
        if champion is None or not decided:
            return None
        return float(np.mean([promoted == champion for promoted in decided]))

    def _scaled(self, factor: float) -> dict[str, float | None]:
        return {name: None if count is None else count * factor for name, count in self.comparisons.items()}

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "effect": self.effect,
            "preferred": EFFECTS[self.effect],
            "comparisons": self.comparisons,
            "days": self.days,
            "cost": self.money,
            "extra_cost": self.extra_money,
            "decisive_share": self.question.decisive_share(self.effect),
            "undecided": self.undecided,
            "best_promoted": self.best_promoted,
            "runs": len(self.summary.endings),
        }


def estimate(
    question: Question,
    runs: int | None = None,
    seed: int = 0,
    processes: int | None = None,
    on_batch: Callable[[Job, int], None] = lambda _job, _runs: None,
) -> list[Forecast]:
    """What each effect would take; equals (`none`) only where a margin lets them end.

    Args:
        question: The experiment and its traffic.
        runs: Simulated runs per effect, or None for as many as take seconds.
        seed: Fixes every run.
        processes: How many at once, or None for one per core.
        on_batch: Told of progress.
    """
    effects = [effect for effect in EFFECTS if effect != "none" or question.epsilon > 0]
    jobs = [question.job(effect, runs, seed) for effect in effects]
    summaries = run_jobs(jobs, processes, on_batch=on_batch)
    return [Forecast(effect, summaries[effect], question) for effect in effects]


def advice(question: Question, forecasts: list[Forecast]) -> list[str]:
    """What is worth changing before the experiment starts, in sentences."""
    return [
        *_too_slow(question, forecasts),
        *_cut_off(question, forecasts),
        *_held_back(question, forecasts),
        *_below_the_margin(question, forecasts),
    ]


def _too_slow(question: Question, forecasts: list[Forecast]) -> list[str]:
    medium = next(forecast for forecast in forecasts if forecast.effect == "medium")
    days = medium.days["median"]
    if days is not None and days <= _LONG_DAYS:
        return []
    length = (
        f"{days:.0f} days"
        if days is not None
        else f"more than {medium.horizon / question.comparisons_per_day:.0f} days"
    )
    ways = [f"collect more feedback than {question.feedback_rate:.0%}"]
    if question.share < 1:
        faster = "" if days is None else f" (1.0: {days * question.share:.0f} days)"
        ways.append(f"raise traffic.share above {question.share:g}{faster}")
    ways.append(f"raise epsilon above {question.epsilon:g}")
    if question.policies > FEWEST_POLICIES:
        ways.append(f"drop some of the {question.policies} policies")
    return [f"A medium effect would take {length} at this traffic: {', or '.join(ways)}."]


def _cut_off(question: Question, forecasts: list[Forecast]) -> list[str]:
    if question.max_comparisons is None:
        return []
    return [
        f"max_comparisons {question.max_comparisons} would end {forecast.undecided:.0%} of the experiments "
        f"with {_effect_words(forecast.effect)} undecided."
        for forecast in forecasts
        if forecast.undecided > _MANY
    ]


def _held_back(question: Question, forecasts: list[Forecast]) -> list[str]:
    fewest = question.fewest_comparisons
    held = [
        forecast.effect
        for forecast in forecasts
        if (median := forecast.comparisons["median"]) is not None
        and median <= (fewest + question.in_flight) * 1.05
    ]
    if not held:
        return []
    which = "min_comparisons" if fewest == question.min_comparisons else "min_duration"
    effects = " and ".join(_effect_words(effect) for effect in held)
    return [f"With {effects} it is {which} that the decision waits for ({fewest} comparisons)."]


def _below_the_margin(question: Question, forecasts: list[Forecast]) -> list[str]:
    hidden = [
        forecast.effect
        for forecast in forecasts
        if forecast.effect != "none" and EFFECTS[forecast.effect] <= 0.5 + question.epsilon
    ]
    if not hidden:
        return []
    effects = " and ".join(_effect_words(effect) for effect in hidden)
    return [f"{effects} within epsilon {question.epsilon:g}: any policy may then be promoted as no worse."]


def _effect_words(effect: str) -> str:
    return "no effect" if effect == "none" else f"a {effect} effect"
