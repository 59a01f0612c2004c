"""Comparisons to a decision by the prior of the pairs' own effects.

    python -m benchmarks.effect_sizes [--best] [--seeds 100] [--only WORLD ...]

Writes benchmarks/results/effect_sizes.json and .md; with --best, where a margin is allowed and the promise is
no worse than the best, effect_sizes_best.json and .md. All priors meet the same outcomes: the n-th comparison
of two policies has the same outcome in a run, whenever it comes. So differences are paired.

A prior is a grid of sizes of effects in logits, beside two scales of scores without any
(docs/decisions/0012 and 0168). `former`: .15, .5 and 1.5 with probability 1/6 each. `now`: .16, .16 and .08.
`half-Cauchy`: .1, .3 and .9 weighted by a half-Cauchy distribution of scale .2, together .4. `finer`: the
same with .05 to 1.6, doubling. `unlikely`: .1, .3 and .9 weighted like this, together .1. `none`: no effects.
"""

from __future__ import annotations

from typing import Final

from benchmarks.forecast_sides import Coupled, coupled
from benchmarks.paired import Taken, run_variants
from gateway.llm_po.bradley_terry import OVER_RIVALS_SCALES, Scales
from gateway.llm_po.lab.simulate import Trial


def with_sizes(none: float, tie: float, sizes: dict[float, float]) -> Scales:
    """The grid of effects by their relative weights, and without any.

    Args:
        none: The probability of no effects.
        tie: That of policies which hardly differ, if there are no effects.
        sizes: Relative weights of sizes.
    """
    without = [(0.5, 0.0, none * (1 - tie)), (0.12, 0.0, none * tie)]
    share = (1 - none) / sum(sizes.values()) if sizes else 0.0
    return Scales.grid([*without, *((0.5, size, share * weight) for size, weight in sizes.items())])


def half_cauchy(*sizes: float) -> dict[float, float]:
    """Sizes on a geometric grid, weighted by a half-Cauchy distribution of scale .2."""
    return {size: size / (1 + (size / 0.2) ** 2) for size in sizes}


PRIORS: Final = {
    "former": with_sizes(0.5, 0.3, dict.fromkeys((0.15, 0.5, 1.5), 1.0)),
    "now": OVER_RIVALS_SCALES,
    "half-Cauchy": with_sizes(0.6, 0.3, half_cauchy(0.1, 0.3, 0.9)),
    "finer": with_sizes(0.6, 0.3, half_cauchy(0.05, 0.1, 0.2, 0.4, 0.8, 1.6)),
    "unlikely": with_sizes(0.9, 0.3, half_cauchy(0.1, 0.3, 0.9)),
    "none": with_sizes(1.0, 0.3, {}),
}


def taken(trial: Trial, seeds: int, prior: str) -> Taken:
    """What runs take with a prior."""

    def made(trial: Trial, runs: int, first: int) -> Coupled:
        batch = Coupled(trial, runs, first)
        batch._alone = batch._scales = PRIORS[prior]  # noqa: SLF001 - all but the prior is as everywhere
        return batch

    comparisons, wrong = coupled(trial, seeds, made)
    return comparisons / trial.yardstick, wrong


if __name__ == "__main__":
    run_variants("effect_sizes", __doc__, 100, PRIORS, taken)
