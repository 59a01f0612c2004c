"""Comparisons to a decision with a forecast for each side of a pair, against one forecast for both sides.

    python -m benchmarks.forecast_sides [--seeds 100] [--only WORLD ...]

Writes benchmarks/results/forecast_sides.json and .md. Both kinds of forecasts meet the same outcomes: the
n-th comparison of two policies has the same outcome in a run, whenever it comes. So differences are paired.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmarks.identification import BUDGET, DELTA, MARGIN, clear_worlds, equals, near_ties
from benchmarks.identification import ROOT as PROJECT
from benchmarks.reporting import mean_and_error, run_cases, table
from gateway.llm_po import samplers
from gateway.llm_po.betting import HEAVIEST
from gateway.llm_po.bradley_terry import Fit, Scales, fit, logistic
from gateway.llm_po.forecast import Bets
from gateway.llm_po.lab import simulate
from gateway.llm_po.lab.simulate import Trial, batches
from gateway.llm_po.lab.world_files import load_world
from gateway.llm_po.lab.worlds import World
from gateway.llm_po.wins import BoolArray, FloatArray, IntArray

SEED = 1
CLEAR = ("bt-2", "bt-5", "bt-8-normal")
WITH_MARGIN = ("bt-2", "bt-5", "pandalm_human_5")


def staying(forecasts: FloatArray) -> Bets:
    """Bets with these forecasts until the next plan."""
    return Bets(forecasts, np.full_like(forecasts, HEAVIEST))


def posterior_means(fit: Fit, epsilon: float, *, over_rivals: bool) -> Bets:  # noqa: ARG001 - as `bets`
    """The former forecasts: one for each pair, used for the bets of both sides."""
    scaled = fit.logits / np.sqrt(1 + np.pi / 8 * fit.logit_variance)
    return staying(np.asarray(np.einsum("rg,rgij->rij", fit.weights, logistic(scaled))))


EARLIER_SCALES = Scales.grid([(0.5, 0.0, 0.5), (0.5, 0.15, 1 / 6), (0.5, 0.5, 1 / 6), (0.5, 1.5, 1 / 6)])


def earlier_fit(wins: IntArray, scales: Scales = EARLIER_SCALES, start: Fit | None = None) -> Fit:  # noqa: ARG001 - as `fit`
    """The former fit: always over the former grid."""
    return fit(wins, EARLIER_SCALES, start)


KINDS = {
    "earlier": (posterior_means, earlier_fit),
    "each side": (simulate.bets, fit),
}


class Coupled(simulate._Batch):  # noqa: SLF001 - all but the outcomes is as in every simulation
    """Runs whose outcomes follow from run, policies and how often those were compared."""

    def __init__(self, trial: Trial, runs: int, first: int) -> None:
        super().__init__(trial, runs, np.random.default_rng([SEED, first]), ())
        self._numbers = first + np.arange(runs)
        self._compared_before = np.zeros((runs, trial.world.policies, trial.world.policies), dtype=np.int64)

    def _drawn(self, pairs: IntArray) -> IntArray:
        first, second = self._original(pairs[..., 0]), self._original(pairs[..., 1])
        low, high = np.minimum(first, second), np.maximum(first, second)
        before, runs = np.empty_like(low), np.arange(len(low))
        for column, (a, b) in enumerate(zip(low.T, high.T, strict=True)):
            before[:, column] = self._compared_before[runs, a, b]
            self._compared_before[runs, a, b] += 1
        point = _uniform(self._numbers[:, None], low, high, before)
        chance = self._trial.world.preferences[low, high]
        is_preferred = (point < chance) == (first < second)
        return np.concatenate([pairs, is_preferred.astype(np.int64)[..., None]], axis=2)

    def _keep(self, runs: BoolArray) -> None:
        super()._keep(runs)
        self._numbers, self._compared_before = self._numbers[runs], self._compared_before[runs]

    def _ending(self, run: int, reached: Any) -> Any:
        ending = super()._ending(run, reached)
        ENDINGS[int(self._numbers[run])] = (ending.comparisons, ending.is_wrong)
        return ending


ENDINGS: dict[int, tuple[int, bool]] = {}
"""Comparisons and whether the promotion was wrong, by the number of the run, of the trial at hand."""


def _uniform(*keys: IntArray) -> FloatArray:
    """Numbers in [0, 1) that look random and follow from the keys (splitmix64)."""
    mixed = np.uint64(SEED)
    for key in keys:
        mixed = (mixed ^ key.astype(np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed = mixed ^ (mixed >> np.uint64(31))
    return np.asarray((mixed >> np.uint64(11)).astype(np.float64) / 2**53)


@dataclass(frozen=True)
class Case:
    """A promise in a world."""

    promised: str
    trial: Trial


def cases() -> list[Case]:
    """Every row, in the order of the report."""
    matrix = load_world(PROJECT / "tests" / "data" / "worlds" / "pandalm_human_5.json")
    clear = [world for world in clear_worlds() if world.name in CLEAR]
    decided = [*clear, *near_ties(), matrix]
    some = [world for world in decided if world.name in WITH_MARGIN]
    than_best = {"epsilon": MARGIN, "promise": "no_worse_than_best"}
    return [
        *(Case("winner", _trial(world)) for world in decided),
        *(Case("no worse than any", _trial(world, epsilon=MARGIN)) for world in [*some, equals()[0]]),
        *(Case("no worse than the best", _trial(world, **than_best)) for world in some),
    ]


def _trial(world: World, **promised: Any) -> Trial:
    return Trial(world, delta=DELTA, max_comparisons=BUDGET, **promised)


def coupled(
    trial: Trial, seeds: int, made: Callable[[Trial, int, int], Coupled] = Coupled
) -> tuple[FloatArray, int]:
    """The comparisons of every run, and how many promoted wrongly.

    Args:
        trial: What is simulated.
        seeds: How many runs.
        made: Makes runs from the trial, their number and the number of the first one.
    """
    ENDINGS.clear()
    for batch in batches(trial, seeds):
        made(trial, batch.runs, batch.first).run()
    comparisons = np.array([ENDINGS[number][0] for number in range(seeds)], dtype=np.float64)
    return comparisons, sum(wrong for _, wrong in ENDINGS.values())


def taken(case: Case, seeds: int, kind: str) -> tuple[FloatArray, int]:
    """The comparisons of every run as multiples of T, and how many promoted wrongly."""
    simulate.bets, samplers.fit = KINDS[kind]  # type: ignore[assignment]
    simulate.fit = samplers.fit
    comparisons, wrong = coupled(case.trial, seeds)
    return comparisons / case.trial.yardstick, wrong


def row(case: Case, seeds: int) -> dict[str, Any]:
    """One row of the report."""
    (before, wrong_before), (after, wrong_after) = (taken(case, seeds, kind) for kind in KINDS)
    return {
        "promised": case.promised,
        "world": case.trial.world.name,
        "runs": seeds,
        "before": mean_and_error(before),
        "after": mean_and_error(after),
        "difference": mean_and_error(after - before),
        "wrong": [wrong_before, wrong_after],
    }


def cells(found: dict[str, Any]) -> list[str]:
    """The cells of one row."""
    pairs = [f"{found[name][0]:.2f} ± {found[name][1]:.2f}" for name in ("before", "after")]
    wrong = f"{found['wrong'][0]}, {found['wrong'][1]} of {found['runs']}"
    difference = f"{found['difference'][0]:+.3f} ± {found['difference'][1]:.3f}"
    return [found["promised"], found["world"], *pairs, difference, wrong]


def page(rows: list[dict[str, Any]], origin: str) -> str:
    """The Markdown page."""
    headings = ["promised", "world", "earlier", "each side", "difference", "wrong"]
    return "\n".join(
        [
            "# Forecasts for each side of a pair",
            "",
            f"{origin}. Comparisons to a decision as multiples of T = hardness x log(1/delta),",
            f"delta = {DELTA}, margin {MARGIN}; mean of runs ± standard error. `earlier`: the posterior",
            "mean for the bets of both sides of a pair, one scale of scores. `each side`: the forecasts of",
            "`gateway/llm_po/forecast.py`, with a second scale for policies that hardly differ. Both meet",
            "the same outcomes, so differences are between paired runs.",
            "",
            *table(headings, [cells(each) for each in rows]),
            "",
        ]
    )


def main() -> None:
    """Run every case and write both files."""
    work = [(case.trial.world.name, partial(row, case)) for case in cases()]
    run_cases("forecast_sides", __doc__, 100, work, cells, page)


if __name__ == "__main__":
    main()
