"""How many comparisons two policies take, by what the bets expect of the difference between them.

    python -m benchmarks.known_scale [--seeds 1000] [--only GAP ...]

Writes benchmarks/results/known_scale.json and .md. Nothing of the gateway is run: the bets are exact mixtures
over how far the worse policy is behind, so a row shows the best that any forecast made from such a prior can
do. All priors meet the same outcomes. What is learnt about one size of difference is paid for at others.

A prior is a half-normal distribution of the difference in logits, or a mixture of some. `clear`: standard
deviation .7. `middle`: .35. `near`: .17. `two`: half `clear`, half `near`. `three`: .3 of .7, .3 of .25 and
.4 of .1. `known`: bets with the true preference, which nobody knows.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Final

import numpy as np

from benchmarks.identification import DELTA
from benchmarks.reporting import mean_and_error, run_cases, table
from gateway.llm_po.bradley_terry import logistic
from gateway.llm_po.wins import FloatArray, IntArray

GAPS: Final = (0.08, 0.2, 0.4, 0.8)
"""Logits by which one policy is ahead: it is preferred in 52, 55, 60 and 69 % of comparisons."""

BEHIND: Final = np.geomspace(0.005, 4, 160)
"""Differences in logits that a mixture is made of."""

LOOKS: Final = 400  # at most so many verdicts are read in a run
LONGEST: Final = 8  # multiples of T after which a run counts as ended
TOGETHER: Final = 50  # runs side by side; bounds the memory

Mixture = tuple[tuple[float, float], ...]
PRIORS: Final[dict[str, Mixture]] = {
    "clear": ((1.0, 0.7),),
    "middle": ((1.0, 0.35),),
    "near": ((1.0, 0.17),),
    "two": ((0.5, 0.7), (0.5, 0.17)),
    "three": ((0.3, 0.7), (0.3, 0.25), (0.4, 0.1)),
}
"""Probabilities and standard deviations of the half-normal distributions of a mixture."""


def chances(mixture: Mixture) -> FloatArray:
    """The probability of each difference of `BEHIND`, shape (N,)."""
    parts = [(share, np.exp(-((BEHIND / scale) ** 2) / 2) * BEHIND) for share, scale in mixture]
    return np.asarray(sum(share * part / part.sum() for share, part in parts))


def log_wealth(won: IntArray, compared: IntArray, differences: FloatArray) -> FloatArray:
    """Log wealth of bets on each difference after `won` of `compared`, against "at least even"; (..., N)."""
    chance = logistic(-differences)
    lost = compared - won
    return np.asarray(won[..., None] * np.log(2 * chance) + lost[..., None] * np.log(2 * (1 - chance)))


def ends(evidence: FloatArray, looks: IntArray) -> FloatArray:
    """The look at which each run's evidence first reaches the threshold; the last one if it does not."""
    reached = evidence >= math.log(1 / DELTA)
    return np.asarray(looks[np.where(reached.any(axis=1), reached.argmax(axis=1), looks.size - 1)] * 1.0)


def taken(gap: float, seeds: int) -> dict[str, FloatArray]:
    """The comparisons of every run with each prior, as multiples of T."""
    chance = float(logistic(np.array(-gap)))
    told = chance * math.log(2 * chance) + (1 - chance) * math.log(2 * (1 - chance))
    yardstick = math.log(1 / DELTA) / told
    length = int(LONGEST * yardstick)
    looks = np.unique(np.linspace(1, length, LOOKS).astype(np.int64))
    found: dict[str, list[FloatArray]] = {name: [] for name in ("known", *PRIORS)}
    for first in range(0, seeds, TOGETHER):
        runs = min(TOGETHER, seeds - first)
        is_won = np.random.default_rng([1, first]).random((runs, length)) < chance
        won = is_won.cumsum(axis=1)[:, looks - 1]
        found["known"].append(ends(log_wealth(won, looks, np.array([gap]))[..., 0], looks))
        wealth = log_wealth(won, looks, BEHIND)
        highest = wealth.max(axis=2, keepdims=True)
        shares = np.exp(wealth - highest)
        for name, mixture in PRIORS.items():
            found[name].append(ends(np.log(shares @ chances(mixture)) + highest[..., 0], looks))
    return {name: np.concatenate(runs) / yardstick for name, runs in found.items()}


def row(gap: float, seeds: int) -> dict[str, Any]:
    """One row of the report."""
    found = taken(gap, seeds)
    return {
        "gap": gap,
        "preferred": float(logistic(np.array(gap))),
        "runs": seeds,
        "multiples": {name: mean_and_error(multiples) for name, multiples in found.items()},
    }


def cells(found: dict[str, Any]) -> list[str]:
    """The cells of one row."""
    multiples = [f"{mean:.2f} ± {error:.2f}" for mean, error in found["multiples"].values()]
    return [f"{found['preferred']:.0%}", *multiples]


def page(rows: list[dict[str, Any]], origin: str) -> str:
    """The Markdown page."""
    *_, explained = (__doc__ or "").strip().split("\n\n")
    return "\n".join(
        [
            "# Two policies, by what bets expect of their difference",
            "",
            f"{origin}. Comparisons until the worse of two policies is ruled out, epsilon 0, delta {DELTA},",
            "as multiples of T = hardness x log(1/delta): mean of runs ± standard error, all priors on the",
            f"same outcomes, {len(rows) and rows[0]['runs']:,} runs a row. Bets are exact mixtures, so no",
            f"forecast made from such a prior does better. {explained}",
            "",
            *table(["preferred", "known", *PRIORS], [cells(each) for each in rows]),
            "",
        ]
    )


def main() -> None:
    """Run every gap and write both files."""
    run_cases("known_scale", __doc__, 1000, [(f"{gap:g}", partial(row, gap)) for gap in GAPS], cells, page)


if __name__ == "__main__":
    main()
