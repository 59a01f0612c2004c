"""Estimates, before anything runs, the comparisons, days and money to a decision.

The experiment itself is simulated, with its number of policies, error level, margin, ties, and the delayed
outcomes at its traffic, in worlds in which one policy is better than all others by a known amount. Because
the real one is not known beforehand, several such effects are simulated.

A tie changes no evidence, so only decisive comparisons are simulated, and the ties between them are drawn
afterwards. This gives the same distribution in a fraction of the time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from gateway.llm_po.lab.simulate import Summary
from gateway.llm_po.wins import FloatArray
from gateway.simulation.prospect import EFFECTS, HORIZON, WITHIN_CAPS, Prospect
from gateway.simulation.runner import Job, run_jobs

_TIES_SEED: Final = 7
_QUANTILES: Final = {"p10": 0.1, "median": 0.5, "p90": 0.9}


@dataclass(frozen=True, slots=True)
class EffectEstimate:
    """The estimate for one effect.

    Attributes:
        effect: A key of `EFFECTS`.
        summary: The simulated runs, without the experiment's budget.
        prospect: The experiment and its traffic.
        without_caps: The estimate without exposure caps; None if there are none.
    """

    effect: str
    summary: Summary
    prospect: Prospect
    without_caps: EffectEstimate | None = None

    @property
    def taken(self) -> FloatArray:
        """Comparisons of each run until its decision, ties included; infinite if there was none."""
        endings, decisive = self.summary.endings, self.prospect.decisive_share(self.effect)
        counts = np.array([ending.comparisons for ending in endings])
        rng = np.random.default_rng([_TIES_SEED, len(counts)])
        taken = (counts + rng.negative_binomial(counts, decisive)).astype(np.float64)
        if self.prospect.last_look and self.prospect.max_comparisons is not None:
            taken = np.minimum(
                taken, self.prospect.max_comparisons
            )  # a look decides at the end of the budget
        taken[[ending.kind == "inconclusive" for ending in endings]] = np.inf
        return taken

    @property
    def opportunities(self) -> FloatArray:
        """For each run, the comparisons that its units would have made had all been compared."""
        return np.asarray(self.taken * self._units_each)

    @property
    def _units_each(self) -> FloatArray:
        """For each run, the ratio of possible comparisons to those made; 1 without caps."""
        endings = self.summary.endings
        return np.array(
            [
                1.0 if ending.opportunities is None else ending.opportunities / ending.comparisons
                for ending in endings
            ]
        )

    @property
    def horizon(self) -> float:
        """The number of comparisons after which a run is given up."""
        return HORIZON / self.prospect.decisive_share(self.effect)

    @property
    def horizon_days(self) -> float:
        """The days of that many comparisons, if every unit that takes part is compared."""
        return self.horizon / self.prospect.comparisons_per_day

    @property
    def comparisons(self) -> dict[str, float | None]:
        """Comparisons by which 10 %, half and 90 % of the runs are decided; None: beyond the horizon."""
        return _at_quantiles(self.taken, np.ones_like(self.taken))

    @property
    def days(self) -> dict[str, float | None]:
        """How many days it takes until the units have come at this traffic."""
        rate = self.prospect.comparisons_per_day
        return _at_quantiles(self.opportunities, np.full_like(self.taken, 1 / rate))

    @property
    def money(self) -> dict[str, float | None] | None:
        """The cost of the experiment's answers until then, or None if prices are not known.

        With caps policies answer as often as in the simulation, without them all equally often.
        """
        prices = self.prospect.prices
        if prices is None:
            return None
        alone = (self._units_each - 1) * self._alone_cost(prices)
        return _at_quantiles(self.opportunities, (self._compared_costs(prices) + alone) / self._units_each)

    @property
    def extra_money(self) -> dict[str, float | None] | None:
        """The cost beyond what it would be if the incumbent alone had answered these units."""
        prices = self.prospect.prices
        if prices is None:
            return None
        extra = self._compared_costs(prices) - self._alone_cost(prices)
        return _at_quantiles(self.opportunities, extra / self._units_each)

    def _compared_costs(self, prices: tuple[float, ...]) -> FloatArray:
        """The average cost of the answers to the units of one comparison, in each run."""
        alike = (1,) * len(prices)
        shares = np.array([ending.requests or alike for ending in self.summary.endings], dtype=np.float64)
        means = shares @ prices / shares.sum(axis=1)
        return np.asarray(self.prospect.units_per_comparison * self.prospect.answers_per_unit * means)

    def _alone_cost(self, prices: tuple[float, ...]) -> float:
        """The cost of the incumbent's answers to the units of one comparison."""
        return self.prospect.units_per_comparison * prices[self.prospect.incumbent]

    @property
    def undecided(self) -> float:
        """Share of the runs that the experiment's budget, or the horizon, would cut off."""
        return float(np.mean(self.taken > (self.prospect.max_comparisons or self.horizon)))

    @property
    def best_promoted(self) -> float | None:
        """Share of the decided runs that promote the better policy; None if all are equal."""
        champion = self.summary.trial.world.champion
        decided = [ending.promoted for ending in self.summary.endings if ending.kind != "inconclusive"]
        if champion is None or not decided:
            return None
        return float(np.mean([promoted == champion for promoted in decided]))

    def to_json(self) -> dict[str, Any]:
        """Plain values; with caps also the days without them, and the share of units each policy answers."""
        exposure = {}
        if self.without_caps is not None:
            exposure = {
                "days_without_caps": self.without_caps.days,
                "answered": list(self.summary.answered),
            }
        return {
            **exposure,
            "effect": self.effect,
            "preferred": EFFECTS[self.effect],
            "comparisons": self.comparisons,
            "days": self.days,
            "cost": self.money,
            "extra_cost": self.extra_money,
            "decisive_share": self.prospect.decisive_share(self.effect),
            "undecided": self.undecided,
            "best_promoted": self.best_promoted,
            "runs": len(self.summary.endings),
        }


def estimate(
    prospect: Prospect,
    runs: int | None = None,
    seed: int = 0,
    processes: int | None = None,
    on_batch: Callable[[Job, int], None] = lambda _job, _runs: None,
) -> list[EffectEstimate]:
    """The estimate for each effect; `none` (equal policies) only if a margin lets such a run end.

    Args:
        prospect: The experiment and its traffic.
        runs: Simulated runs per effect, or None for as many as take seconds.
        seed: Fixes every run.
        processes: How many run at once, or None for one per core.
        on_batch: Called for every finished batch with its job and its number of runs.
    """
    effects = prospect.effects
    summaries = run_jobs(estimate_jobs(prospect, runs, seed), processes, on_batch=on_batch)
    free = [EffectEstimate(effect, summaries[effect], prospect) for effect in effects]
    if prospect.caps is None:
        return free
    return [
        EffectEstimate(each.effect, summaries[f"{each.effect} {WITHIN_CAPS}"], prospect, without_caps=each)
        for each in free
    ]


def estimate_jobs(prospect: Prospect, runs: int | None, seed: int) -> list[Job]:
    """The jobs that `estimate` simulates: every effect without caps and, if there are caps, with them."""
    kept = [None] if prospect.caps is None else [None, prospect.caps]
    return [prospect.job(effect, runs, seed, caps=caps) for caps in kept for effect in prospect.effects]


def _at_quantiles(amounts: FloatArray, each: FloatArray) -> dict[str, float | None]:
    """The quantiles of some amounts, times a rate per unit of each run; None if infinite."""
    order = np.argsort(amounts, kind="stable")
    runs = {name: int(order[math.ceil(q * (amounts.size - 1))]) for name, q in _QUANTILES.items()}
    return {
        name: float(amounts[run] * each[run]) if math.isfinite(amounts[run]) else None
        for name, run in runs.items()
    }
