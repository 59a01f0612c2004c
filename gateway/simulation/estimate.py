"""What an experiment will take, before anything runs: comparisons, days and money to a decision.

The experiment itself is simulated, with its number of policies, its error level and margin, ties, and the
outcomes that are on their way at its traffic, in worlds in which one policy is better than all the others by
a known margin. Which of these worlds is the real one is not known beforehand, so there are several effects.

A tie moves no evidence, so only decisive comparisons are simulated, and the ties that fall between them are
drawn afterwards: the same distribution in a fraction of the time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from gateway.llm_po.lab.simulate import Summary
from gateway.llm_po.wins import FloatArray
from gateway.simulation.prospect import EFFECTS, HORIZON, Prospect
from gateway.simulation.runner import Job, run_jobs

_TIES_SEED: Final = 7
_QUANTILES: Final = {"p10": 0.1, "median": 0.5, "p90": 0.9}


@dataclass(frozen=True, slots=True)
class EffectEstimate:
    """What one effect would take.

    Attributes:
        effect: A key of `EFFECTS`.
        summary: The simulated runs, without the experiment's budget.
        prospect: What was asked.
    """

    effect: str
    summary: Summary
    prospect: Prospect

    @property
    def taken(self) -> FloatArray:
        """Comparisons of each run until its decision, ties included; infinite beyond the horizon."""
        endings, decisive = self.summary.endings, self.prospect.decisive_share(self.effect)
        counts = np.array([ending.comparisons for ending in endings])
        rng = np.random.default_rng([_TIES_SEED, len(counts)])
        taken = (counts + rng.negative_binomial(counts, decisive)).astype(np.float64)
        taken[[ending.kind == "inconclusive" for ending in endings]] = np.inf
        return taken

    @property
    def horizon(self) -> float:
        """Comparisons a run is followed for."""
        return HORIZON / self.prospect.decisive_share(self.effect)

    @property
    def comparisons(self) -> dict[str, float | None]:
        """Comparisons by which 10 %, half and 90 % of the runs are decided; None is beyond the horizon."""
        found = {name: float(np.quantile(self.taken, q, method="higher")) for name, q in _QUANTILES.items()}
        return {name: value if math.isfinite(value) else None for name, value in found.items()}

    @property
    def days(self) -> dict[str, float | None]:
        """The comparisons in days at this traffic."""
        return self._scaled(1 / self.prospect.comparisons_per_day)

    @property
    def money(self) -> dict[str, float | None] | None:
        """What the experiment's answers cost until then, or None where prices are not known.

        This assumes that policies answer equally often.
        """
        prospect = self.prospect
        if prospect.prices is None:
            return None
        answers = prospect.units_per_comparison * prospect.answers_per_unit
        return self._scaled(answers * float(np.mean(prospect.prices)))

    @property
    def extra_money(self) -> dict[str, float | None] | None:
        """The cost beyond what it would be if the incumbent alone had answered these units."""
        prospect = self.prospect
        if prospect.prices is None:
            return None
        each = (
            prospect.answers_per_unit * float(np.mean(prospect.prices)) - prospect.prices[prospect.incumbent]
        )
        return self._scaled(prospect.units_per_comparison * each)

    @property
    def undecided(self) -> float:
        """Share of the runs that the experiment's budget, or the horizon, would cut off."""
        return float(np.mean(self.taken > (self.prospect.max_comparisons or self.horizon)))

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
    """What each effect would take; `none` (equal policies) only where a margin lets such a run end.

    Args:
        prospect: The experiment and its traffic.
        runs: Simulated runs per effect, or None for as many as take seconds.
        seed: Fixes every run.
        processes: How many run at once, or None for one per core.
        on_batch: Is told of every finished batch: its job, and how many runs it had.
    """
    effects = [effect for effect in EFFECTS if effect != "none" or prospect.epsilon > 0]
    jobs = [prospect.job(effect, runs, seed) for effect in effects]
    summaries = run_jobs(jobs, processes, on_batch=on_batch)
    return [EffectEstimate(effect, summaries[effect], prospect) for effect in effects]
