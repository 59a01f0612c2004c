"""Comparisons to a decision with outcomes in flight, if the sampler knows which comparisons these are.

    python -m benchmarks.in_flight [--seeds 40] [--only WORLD ...]

Writes benchmarks/results/in_flight.json and .md. Every sampler meets the same outcomes: the n-th comparison
of two policies has the same outcome in a run, whenever it comes. So differences are paired. `counted`: what
is in flight counts as evidence, as much as the posterior expects of it, and challengers are drawn by what
each will then still need. `foreseen`: moreover, pairs are drawn from the posterior after the outcomes that
are expected. Both know each comparison in flight, which a gateway could only estimate.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np

from benchmarks.forecast_sides import Coupled, coupled
from benchmarks.identification import BUDGET, DELTA, MARGIN, clear_worlds
from benchmarks.opponents import mean_of_power
from benchmarks.reporting import mean_and_error, run_cases, table
from gateway.llm_po.bradley_terry import Fit, fit, logistic
from gateway.llm_po.lab.simulate import Trial
from gateway.llm_po.samplers import LlmPo, Situation
from gateway.llm_po.wins import FloatArray, IntArray

WORLDS: Final = ("bt-16-linear",)
IN_FLIGHT: Final = (200, 1_000)
REFRESH_EVERY: Final = 50
PROMISES: Final[dict[str, dict[str, Any]]] = {
    "no worse than any": {"epsilon": MARGIN},
    "no worse than the best": {"epsilon": MARGIN, "promise": "no_worse_than_best"},
}
SAMPLERS: Final = ("now", "counted", "foreseen")
_SPREAD: Final = 1e-9  # nats; keeps a division defined where nothing is in flight


class Counting(LlmPo):
    """Our sampler, knowing what is in flight.

    Args:
        batch: The runs, which know.
        foresees: Whether pairs are drawn from the posterior after the outcomes that are expected.
    """

    def __init__(self, batch: Coupled, *, foresees: bool) -> None:
        self._batch, self._foresees = batch, foresees

    def pairs(self, situation: Situation, draws: int, rng: np.random.Generator) -> IntArray:
        """Pairs drawn as if what is in flight had brought what is expected of it."""
        flying = in_flight(self._batch)
        if not flying.any():
            return super().pairs(situation, draws, rng)
        expecting = replace(situation)
        known = expecting.__dict__  # where the cached properties of a situation are kept
        known["needed_against_rivals"] = missing_against_rivals(situation, flying)
        known["fit"] = foreseen(situation, flying) if self._foresees else situation.fit
        return super().pairs(expecting, draws, rng)


def in_flight(batch: Coupled) -> FloatArray:
    """How many comparisons of each pair are assigned and not counted, shape (R, K, K), symmetric."""
    flying = batch._flying  # noqa: SLF001 - samplers do not know it
    numbers = np.zeros(batch._ledgers.wins.shape)  # noqa: SLF001
    np.add.at(numbers, (np.arange(len(flying))[:, None], flying[..., 0], flying[..., 1]), 1.0)
    return np.asarray(numbers + numbers.swapaxes(1, 2))


def expected(situation: Situation, flying: FloatArray, threshold: float) -> tuple[FloatArray, FloatArray]:
    """Mean and variance of the evidence that will come of each ordered pair, shape (R, K, K).

    The variance has two parts: that of a logarithm of likelihood ratios, twice its mean, and what is not
    known of the preference.
    """
    rate, square = (mean_of_power(situation.fit, threshold, power) for power in (1, 2))
    return rate * flying, 2 * rate * flying + np.maximum(square - rate**2, 0.0) * flying**2


def shortfall(needed: FloatArray, mean: FloatArray, variance: FloatArray) -> FloatArray:
    """The nats that are expected to be missing yet, if what will come is normal."""
    deviation = np.sqrt(variance) + _SPREAD
    cut = (needed - mean) / deviation
    below = logistic(1.702 * cut)  # about the normal distribution function
    density = np.exp(-(cut**2) / 2) / np.sqrt(2 * np.pi)
    return np.where(needed > 0, np.maximum((needed - mean) * below + deviation * density, 0.0), 0.0)


def missing_against_rivals(situation: Situation, flying: FloatArray) -> FloatArray:
    """The nats still to come against each rival j of each policy s, shape (R, K, K): `[r, j, s]`."""
    mean, variance = expected(situation, flying, 0.5 + situation.design.epsilon)
    if situation.design.assumes_winner:  # comparisons of j with others count at one half
        half_mean, half_variance = expected(situation, flying, 0.5)
        mean = half_mean.sum(axis=2, keepdims=True) - half_mean + mean
        variance = half_variance.sum(axis=2, keepdims=True) - half_variance + variance
    return shortfall(situation.needed_against_rivals, mean, variance) * (1 - np.eye(situation.policies))


def foreseen(situation: Situation, flying: FloatArray) -> Fit:
    """The posterior after the outcomes that are expected, which do not tell how large the effects are."""
    now = situation.fit
    scaled = logistic(now.logits / np.sqrt(1 + np.pi / 8 * now.logit_variance))
    votes = flying * np.einsum("rg,rgij->rij", now.weights, scaled)
    return replace(
        fit(situation.wins, replace(situation.scales, votes=votes[:, None]), now), weights=now.weights
    )


def taken(trial: Trial, seeds: int, sampler: str) -> tuple[FloatArray, int]:
    """The comparisons of every run, and how many promoted wrongly."""

    def made(trial: Trial, runs: int, first: int) -> Coupled:
        batch = Coupled(trial, runs, first)
        if sampler != "now":
            batch._sampler = Counting(batch, foresees=sampler == "foreseen")  # noqa: SLF001
        return batch

    return coupled(trial, seeds, made)


def row(promised: str, trial: Trial, seeds: int) -> dict[str, Any]:
    """One row of the report."""
    found = {name: taken(trial, seeds, name) for name in SAMPLERS}
    now = found["now"][0]
    undelayed = float(taken(replace(trial, in_flight=0), seeds, "now")[0].mean())
    return {
        "promised": promised,
        "world": trial.world.name,
        "in_flight": trial.in_flight,
        "runs": seeds,
        "now": mean_and_error(now),
        "of_sum": float(now.mean()) / (undelayed + trial.in_flight),
        "shares": {
            name: mean_and_error((comparisons - now) / now.mean())
            for name, (comparisons, _) in found.items()
            if name != "now"
        },
        "wrong": [wrong for _, wrong in found.values()],
    }


def cells(row: dict[str, Any]) -> list[str]:
    """The cells of one row."""
    now = f"{row['now'][0]:,.0f} ± {row['now'][1]:,.0f}"
    shares = [f"{mean:+.1%} ± {error:.1%}" for mean, error in row["shares"].values()]
    wrong = f"{', '.join(map(str, row['wrong']))} of {row['runs']}"
    return [row["promised"], row["world"], str(row["in_flight"]), now, f"{row['of_sum']:.2f}", *shares, wrong]


def page(rows: list[dict[str, Any]], origin: str) -> str:
    """The Markdown page."""
    return "\n".join(
        [
            "# If the sampler knew what is in flight",
            "",
            f"{origin}. Comparisons to a decision, those in flight at the end included: mean of runs ±",
            f"standard error, delta {DELTA}, margin {MARGIN}, a new plan every {REFRESH_EVERY} comparisons;",
            "and how many more two samplers take that know each comparison in flight, on the same outcomes.",
            "`of sum`: today's mean divided by (its mean without delay + outcomes in flight). `counted`:",
            "what is in flight counts as the evidence expected of it. `foreseen`: moreover, pairs are drawn",
            "from the posterior after the outcomes that are expected.",
            "",
            *table(
                ["promised", "world", "in flight", "now", "of sum", *SAMPLERS[1:], "wrong"],
                [cells(each) for each in rows],
            ),
            "",
        ]
    )


def main() -> None:
    """Run every case and write both files."""
    chosen = [world for world in clear_worlds() if world.name in WORLDS]
    work = [
        (
            world.name,
            partial(
                row,
                promised,
                Trial(
                    world,
                    delta=DELTA,
                    max_comparisons=BUDGET,
                    in_flight=flying,
                    refresh_every=REFRESH_EVERY,
                    **options,
                ),
            ),
        )
        for promised, options in PROMISES.items()
        for world in chosen
        for flying in IN_FLIGHT
    ]
    run_cases("in_flight", __doc__, 40, work, cells, page)


if __name__ == "__main__":
    main()
