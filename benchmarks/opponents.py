"""Comparisons to a decision by how the opponent of a challenger is chosen, on the same outcomes.

    python -m benchmarks.opponents [--seeds 40] [--only WORLD ...]

Writes benchmarks/results/opponents.json and .md. The rules differ in which rival a policy meets, of those
that may show that it is not the best (`RULES`). All meet the same outcomes: the n-th comparison of two
policies has the same outcome in a run, whenever it comes. So differences are paired.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np

from benchmarks.forecast_sides import Coupled, coupled
from benchmarks.identification import BUDGET, DELTA, ROOT, clear_worlds, misfits, near_ties
from benchmarks.reporting import mean_and_error, run_cases, table
from gateway.llm_po import samplers
from gateway.llm_po.bradley_terry import Fit
from gateway.llm_po.draws import information_below
from gateway.llm_po.lab.simulate import Trial
from gateway.llm_po.lab.world_files import load_world
from gateway.llm_po.lab.worlds import World
from gateway.llm_po.samplers import LlmPo, Situation
from gateway.llm_po.wins import FloatArray, IntArray

BRADLEY_TERRY: Final = ("bt-5", "bt-8-normal", "bt-16-normal")
NEAR_TIES: Final = ("near-tie-2", "near-tie-5")
MISFITS: Final = ("non-bt-8", "non-bt-16")
REAL: Final = ("pandalm_human_5", "debian_leader_9", "arxiv_rankers_6", "wmt15_eng_fin_10")
KINDS: Final = {
    "Bradley-Terry": BRADLEY_TERRY,
    "near ties": NEAR_TIES,
    "far from Bradley-Terry": MISFITS,
    "real matrices": REAL,
}
NODES, _RAW_WEIGHTS = np.polynomial.hermite_e.hermegauss(9)
WEIGHTS: Final = _RAW_WEIGHTS / _RAW_WEIGHTS.sum()

Rule = Callable[[Coupled, Situation, Fit, float], FloatArray]
"""How much each rival promises against each policy at a threshold, shape (R, K, K)."""


def mean_of_power(fitted: Fit, threshold: float, power: int) -> FloatArray:
    """The posterior mean of a power of the growth rate, shape (R, K, K)."""
    logits, deviation = fitted.logits, np.sqrt(fitted.logit_variance)
    powers = [
        weight * information_below(logits + node * deviation, threshold) ** power
        for node, weight in zip(NODES, WEIGHTS, strict=True)
    ]
    return np.asarray(np.einsum("rg,rgij->rij", fitted.weights, np.sum(powers, axis=0)))


def cubed(_: Coupled, __: Situation, fitted: Fit, threshold: float) -> FloatArray:
    """The former rule: the posterior mean of the growth rate to the power of three."""
    return mean_of_power(fitted, threshold, 3)


def optimistic(_: Coupled, situation: Situation, fitted: Fit, threshold: float) -> FloatArray:
    """The growth rate at a bound of the logit that widens as the policy is compared more often."""
    compared = (situation.wins + situation.wins.swapaxes(1, 2)).sum(axis=2)[:, :, None]
    logits, variance = _moments(fitted)
    return information_below(logits - np.sqrt(0.2 * np.log1p(compared) * variance), threshold)


def _moments(fitted: Fit) -> tuple[FloatArray, FloatArray]:
    """Posterior mean and variance of every pair's logit, shape (R, K, K)."""
    mean = np.einsum("rg,rgij->rij", fitted.weights, fitted.logits)
    around = fitted.logit_variance + (fitted.logits - mean[:, None]) ** 2
    return mean, np.einsum("rg,rgij->rij", fitted.weights, around)


def known(batch: Coupled, _: Situation, __: Fit, threshold: float) -> FloatArray:
    """The true growth rate."""
    preferences = batch._trial.world.preferences  # noqa: SLF001 - no sampler may know it
    orders = batch._orders  # noqa: SLF001
    true = information_below(np.log(preferences / (1 - preferences)), threshold)
    return np.asarray(true[orders[:, :, None], orders[:, None, :]])


RULES: Final[dict[str, Rule | None]] = {
    "cubed": cubed,
    "optimistic": optimistic,
    "looking ahead": None,
    "known": known,
}
"""None: our own."""


class Choosing(LlmPo):
    """Our sampler with another rule for opponents."""

    def __init__(self, rule: Callable[[Situation, Fit, float], FloatArray]) -> None:
        self._rule = rule

    def pairs(self, situation: Situation, draws: int, rng: np.random.Generator) -> IntArray:
        """Pairs drawn as ours are, but for the opponents."""

        def promise(fitted: Fit, _: FloatArray, threshold: float, __: FloatArray) -> FloatArray:
            return np.where(np.eye(situation.policies), -1.0, self._rule(situation, fitted, threshold))

        ours, samplers.promise = samplers.promise, promise
        try:
            return super().pairs(situation, draws, rng)
        finally:
            samplers.promise = ours


def taken(trial: Trial, seeds: int, rule: Rule | None) -> tuple[FloatArray, int]:
    """The comparisons of every run as multiples of T, and how many promoted wrongly."""

    def made(trial: Trial, runs: int, first: int) -> Coupled:
        batch = Coupled(trial, runs, first)
        if rule is not None:
            batch._sampler = Choosing(partial(rule, batch))  # noqa: SLF001
        return batch

    comparisons, wrong = coupled(trial, seeds, made)
    return comparisons / trial.yardstick, wrong


def row(trial: Trial, seeds: int) -> dict[str, Any]:
    """One row of the report."""
    found = {name: taken(trial, seeds, rule) for name, rule in RULES.items()}
    before = found["cubed"][0]
    return {
        "world": trial.world.name,
        "runs": seeds,
        "cubed": mean_and_error(before),
        "differences": {
            name: mean_and_error(multiples - before)
            for name, (multiples, _) in found.items()
            if name != "cubed"
        },
        "wrong": [wrong for _, wrong in found.values()],
    }


def cells(row: dict[str, Any]) -> list[str]:
    """The cells of one row."""
    differences = [f"{mean:+.3f} ± {error:.3f}" for mean, error in row["differences"].values()]
    wrong = f"{', '.join(map(str, row['wrong']))} of {row['runs']}"
    return [row["world"], f"{row['cubed'][0]:.2f} ± {row['cubed'][1]:.2f}", *differences, wrong]


def overall(rows: list[dict[str, Any]], worlds: tuple[str, ...], rule: str) -> str:
    """The geometric mean over worlds of what a rule takes of the former one's comparisons, and its error."""
    among = [row for row in rows if row["world"] in worlds]
    differences, before = (
        np.array([pick(row) for row in among])
        for pick in (lambda r: r["differences"][rule], lambda r: r["cubed"][0])
    )
    shares = 1 + differences[:, 0] / before
    mean = float(np.exp(np.log(shares).mean()))
    error = mean * float(np.linalg.norm(differences[:, 1] / before / shares)) / len(among)
    return f"{mean:.3f} ± {error:.3f}"


def page(rows: list[dict[str, Any]], origin: str) -> str:
    """The Markdown page."""
    others = [name for name in RULES if name != "cubed"]
    means = [[kind, *(overall(rows, worlds, rule) for rule in others)] for kind, worlds in KINDS.items()]
    return "\n".join(
        [
            "# Which opponent shows best that a policy is not the best",
            "",
            f"{origin}. Comparisons to a winner as multiples of T = hardness x log(1/delta), delta",
            f"{DELTA}: mean of runs ± standard error with the former rule (`cubed`: the posterior mean of",
            "the growth rate of evidence to the power of three), and the differences of others on the same",
            "outcomes. `optimistic`: the growth rate at an upper bound, after Sandoval, Waudby-Smith and",
            "Jordan. `looking ahead`: ours, its mean plus what a few comparisons may find for those that",
            "follow. `known`: the true growth rates, which no sampler knows.",
            "",
            *table(["world", "cubed", *others, "wrong"], [cells(each) for each in rows]),
            "",
            "What each takes of the comparisons of the former rule, geometric means over worlds:",
            "",
            *table(["worlds", *others], means),
            "",
        ]
    )


def main() -> None:
    """Run every case and write both files."""
    folder = ROOT / "tests" / "data" / "worlds"
    there = {world.name: world for world in [*clear_worlds(), *near_ties(), *misfits()]}
    chosen: list[World] = [
        there[name] if name in there else load_world(folder / f"{name}.json")
        for names in KINDS.values()
        for name in names
    ]
    work = [(world.name, partial(row, Trial(world, delta=DELTA, max_comparisons=BUDGET))) for world in chosen]
    run_cases("opponents", __doc__, 40, work, cells, page)


if __name__ == "__main__":
    main()
