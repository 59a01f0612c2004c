"""Comparisons to a decision if most of the error is not divided among the policies, but invested later.

    python -m benchmarks.invested_wealth [--seeds 100] [--only WORLD ...]

Writes benchmarks/results/invested_wealth.json and .md. `no_worse_than_any` promotes s once every exp(e[j, s])
reaches K/delta: each policy begins with 1/K of a wealth of 1. Here each begins with a smaller part, and the
rest is invested at some numbers of comparisons in the policy most likely the best, if that is likely enough
by the posterior. So s is promoted once for every rival j

    exp(e[j, s]) (part / K + sum over investments z in s of cash[z] / exp(e[j, s] at z))  >=  1/delta

Both rules meet the same outcomes: the n-th comparison of two policies has the same outcome in a run, whenever
it comes (docs/decisions/0153-no-invested-wealth.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np

from benchmarks.forecast_sides import Coupled, coupled
from benchmarks.identification import BUDGET, DELTA, MARGIN, clear_worlds, equals, near_ties
from benchmarks.reporting import mean_and_error, run_cases, table
from gateway.llm_po.draws import draw_pairs
from gateway.llm_po.lab.simulate import Trial
from gateway.llm_po.lab.worlds import World
from gateway.llm_po.lines import NANO
from gateway.llm_po.samplers import Situation
from gateway.llm_po.stopping import Verdict, beaten_nats, cheapest
from gateway.llm_po.wins import BoolArray, FloatArray

WORLDS: Final = ("bt-5", "bt-16-normal", "near-tie-5", "a-a-3")
DRAWS: Final = 200


@dataclass(frozen=True)
class Investing:
    """When how much is invested.

    Attributes:
        held: Share of the wealth that is held back at first.
        share: Share of what is left that an investment takes.
        first: Comparisons at the first opportunity; each further one comes at twice as many.
        likely: Probability of being the best from which a policy is invested in.
    """

    held: float
    share: float
    first: int
    likely: float


VARIANTS: Final = {
    "as in the prototype": Investing(0.9, 0.7, 80, 0.6),
    "earlier": Investing(0.9, 0.7, 20, 0.6),
    "half held back": Investing(0.5, 0.7, 80, 0.6),
    "half held back, earlier": Investing(0.5, 0.7, 20, 0.6),
    "likelier": Investing(0.5, 0.7, 20, 0.8),
}


class _Invested(Coupled):
    """Runs with the invested wealth."""

    def __init__(self, trial: Trial, runs: int, first: int, investing: Investing | None) -> None:
        super().__init__(trial, runs, first)
        self._investing, policies = investing, trial.world.policies
        held = 0.0 if investing is None else investing.held
        self._factors = np.full((runs, policies, policies), (1 - held) / policies)
        self._left = np.full(runs, held)
        self._next = math.inf if investing is None else investing.first

    def _situation(self) -> Situation:
        situation = super()._situation()
        if self._investing is not None and self._ledgers.comparisons >= self._next:
            self._invest(situation, self._investing)
        # The sampler takes what is missing from the situation, where it is computed at its first use.
        situation.__dict__["needed_against_rivals"] = self._missing()
        return situation

    def _invest(self, situation: Situation, investing: Investing) -> None:
        rng = np.random.default_rng([self._ledgers.comparisons, *self._numbers])
        chance = (draw_pairs(situation.fit, DRAWS, rng).worst > 0).mean(axis=1)
        self._next *= 2
        for run in np.flatnonzero(chance.max(axis=1) >= investing.likely):
            policy, cash = chance[run].argmax(), investing.share * self._left[run]
            grown = np.exp(self._ledgers.evidence[run, :, policy] / NANO)
            self._factors[run, :, policy] += cash / grown
            self._left[run] -= cash

    def _missing(self) -> FloatArray:
        """Nats missing against each rival j of each policy s, shape (R, K, K)."""
        reached = self._ledgers.evidence / NANO + np.log(self._factors)
        missing = np.maximum(math.log(1 / self._trial.delta) - reached, 0.0)
        return np.asarray(missing * (1 - np.eye(self._trial.world.policies)))

    def _is_beaten(self) -> BoolArray:
        return np.asarray(
            beaten_nats(self._ledgers.wins, self._design).min(axis=1) >= self._design.no_winner_nats
        )

    def _candidates(self) -> BoolArray:
        if self._is_spent():
            return np.ones(self._orders.shape[0], dtype=np.bool_)
        return (self._missing() == 0).all(axis=1).any(axis=1) | self._is_beaten()

    def _verdict(self, run: int) -> Verdict | None:
        certified = (self._missing()[run] == 0).all(axis=0)
        champion = cheapest(certified, self._trial.relabelled_design(self._orders[run]))
        if champion is not None:
            return Verdict("no_worse", champion, None, None)
        return Verdict("no_winner" if self._is_beaten()[run] else "inconclusive", None, None, None)

    def _keep(self, runs: BoolArray) -> None:
        super()._keep(runs)
        self._factors, self._left = self._factors[runs], self._left[runs]


def taken(world: World, seeds: int, investing: Investing | None) -> tuple[FloatArray, int]:
    """The comparisons of every run, and how many promoted wrongly."""
    trial = Trial(world, delta=DELTA, epsilon=MARGIN, max_comparisons=BUDGET)
    return coupled(trial, seeds, partial(_Invested, investing=investing))


def row(world: World, seeds: int) -> dict[str, Any]:
    """One row of the report: the rule of today, and every variant on the same outcomes."""
    now, wrong = taken(world, seeds, None)
    row = {"world": world.name, "runs": seeds, "now": mean_and_error(now), "wrong": wrong, "variants": {}}
    for name, investing in VARIANTS.items():
        then, wrong = taken(world, seeds, investing)
        ratio = then.mean() / now.mean()
        spread = mean_and_error(then - ratio * now)[1] / now.mean()
        row["variants"][name] = {"taken": mean_and_error(then), "of_now": (ratio, spread), "wrong": wrong}
    return row


def cells(row: dict[str, Any]) -> list[str]:
    """The cells of one row."""
    ratios = [each["of_now"] for each in row["variants"].values()]
    wrong = [row["wrong"], *(each["wrong"] for each in row["variants"].values())]
    return [
        row["world"],
        f"{row['now'][0]:,.0f} ± {row['now'][1]:,.0f}",
        *(f"{ratio:.2f} ± {spread:.2f}" for ratio, spread in ratios),
        f"{', '.join(map(str, wrong))} of {row['runs']}",
    ]


def page(rows: list[dict[str, Any]], origin: str) -> str:
    """The Markdown page."""
    means = [
        math.exp(sum(math.log(row["variants"][name]["of_now"][0]) for row in rows) / len(rows))
        for name in VARIANTS
    ]
    headings = ["variant", "held back", "invested of what is left", "at comparisons", "if likelier than"]
    explained = [
        [name, f"{each.held:g}", f"{each.share:g}", f"{each.first} x 1, 2, 4 ...", f"{each.likely:g}"]
        for name, each in VARIANTS.items()
    ]
    return "\n".join(
        [
            "# Invested wealth",
            "",
            f"{origin}. Comparisons to a decision with the promise `no_worse_than_any`, delta {DELTA},",
            f"margin {MARGIN}: mean of runs ± standard error with the rule of today, then for each variant",
            "the ratio of the means, on the same outcomes.",
            "",
            *table(["world", "now", *VARIANTS, "wrong"], [cells(row) for row in rows]),
            f"| geometric mean | | {' | '.join(f'{mean:.2f}' for mean in means)} | |",
            "",
            *table(headings, explained),
            "",
        ]
    )


def main() -> None:
    """Run every world and write both files."""
    known = {world.name: world for world in [*clear_worlds(), *near_ties(), *equals()]}
    work = [(name, partial(row, known[name])) for name in WORLDS]
    run_cases("invested_wealth", __doc__, 100, work, cells, page)


if __name__ == "__main__":
    main()
