"""Comparisons to a decision by how many pairs a plan takes from each draw of the posterior.

    python -m benchmarks.pairs_per_draw [--best] [--seeds 100] [--only WORLD ...]

Writes benchmarks/results/pairs_per_draw.json and .md; with --best, where a margin is allowed and the promise
is no worse than the best, pairs_per_draw_best.json and .md. All meet the same outcomes: the n-th comparison
of two policies has the same outcome in a run, whenever it comes. So differences are paired.

Comparisons are drawn as in a gateway, from the shares of the 128 pairs of a plan, which is made anew every
2 % of the comparisons. `one`: each pair comes from a draw of its own. `four`: ours, four pairs from each of
32 draws (docs/decisions/0178).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from benchmarks.forecast_sides import Coupled, coupled
from benchmarks.paired import Taken, run_variants
from gateway.llm_po.distribution import DRAWS, PAIRS_PER_DRAW
from gateway.llm_po.lab.simulate import Trial
from gateway.llm_po.samplers import LlmPo, Situation
from gateway.llm_po.wins import IntArray

EACH: Final = {"one": 1, "four": PAIRS_PER_DRAW}


class Published(LlmPo):
    """Our sampler, whose pairs are those of a plan, from which each run's are drawn.

    Only those draws of the posterior are made from which a pair is taken.
    """

    def pairs(self, situation: Situation, draws: int, rng: np.random.Generator) -> IntArray:
        """Pairs drawn from the shares that a plan would publish."""
        runs, each = len(situation.wins), self._each
        numbers = rng.integers(DRAWS, size=(runs, draws))
        used = [np.unique(of_run, return_inverse=True) for of_run in numbers // each]
        made = super().pairs(situation, each * max(len(distinct) for distinct, _ in used), rng)
        places = np.stack([place for _, place in used]) * each + numbers % each
        return np.take_along_axis(made, places[..., None], axis=1)


def taken(trial: Trial, seeds: int, name: str) -> Taken:
    """What runs take with so many pairs from each draw."""

    def made(trial: Trial, runs: int, first: int) -> Coupled:
        batch = Coupled(trial, runs, first)
        batch._sampler = Published(EACH[name])  # noqa: SLF001 - all but the pairs is as everywhere
        return batch

    comparisons, wrong = coupled(trial, seeds, made)
    return comparisons / trial.yardstick, wrong


if __name__ == "__main__":
    run_variants("pairs_per_draw", __doc__, 100, EACH, taken)
