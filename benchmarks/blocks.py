"""Reports to a decision if one outcome serves several comparisons of a block, against pairs.

    python -m benchmarks.blocks [--seeds 60] [--only CASE ...]

Writes benchmarks/results/blocks.json and .md. A block has one fresh outcome of its hub and one outcome of
each of up to m - 1 challengers, every one compared with the hub. A challenger is in a block with a
probability proportional to how often a plan of pairs compares it with the hub, so that the mix of
comparisons is that of the plan. Where evidence adds up over rivals, only a block's first comparison counts
against its hub (docs/decisions/0136-no-blocks.md).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from benchmarks.reporting import save, table
from gateway.llm_po.betting import MILLION, SMALLEST_FORECAST
from gateway.llm_po.evidence import ComparisonResult
from gateway.llm_po.forecast import bets
from gateway.llm_po.lab import worlds
from gateway.llm_po.lab.going_on import GoingOn
from gateway.llm_po.lab.simulate import Trial, _Batch
from gateway.llm_po.lab.trial import RunEnding
from gateway.llm_po.samplers import Situation
from gateway.llm_po.stakes import published
from gateway.llm_po.stopping import Verdict
from gateway.llm_po.wins import BoolArray, FloatArray, IntArray

SEED: Final = 7
SIZES: Final = (2, 3, 5)
MARGIN: Final = 0.02
BUDGET: Final = 100_000
DRAWS: Final = 150
"""Pairs drawn at each refresh, from which the blocks' shares follow."""
NO_BET: Final = round((1 - SMALLEST_FORECAST) * MILLION)
"""A forecast that bets nothing against any line."""
TIE: Final = 2
RESULTS: Final[tuple[ComparisonResult, ...]] = ("loss", "win", "tie")

RATES: Final = {
    "five": (0.7, 0.6, 0.55, 0.5, 0.4),
}
PROMISES: Final[dict[str, dict[str, Any]]] = {
    "no worse than any": {"epsilon": MARGIN},
    "no worse than the best": {"epsilon": MARGIN, "promise": "no_worse_than_best"},
}
CASES: Final = tuple(("five", promise) for promise in PROMISES)


@dataclass(frozen=True, slots=True)
class Taken:
    """What the runs of a case took, shape (R,) each."""

    reports: FloatArray
    comparisons: FloatArray
    wrong: int


class _Blocks(_Batch):
    """Runs whose comparisons come in blocks of good-or-bad outcomes."""

    def __init__(self, trial: Trial, runs: int, rates: tuple[float, ...], size: int) -> None:
        super().__init__(trial, runs, np.random.default_rng([SEED, size]), ())
        self._rates, self._size = np.array(rates), size
        self._reports, self._numbers = np.zeros(runs, dtype=np.int64), np.arange(runs)
        self._begins: BoolArray = np.ones(
            (runs, 0), dtype=np.bool_
        )  # whether a comparison is a block's first
        self._oriented: IntArray = np.zeros((runs, 0, 2), dtype=np.int64)  # challenger, hub
        self.taken: dict[int, tuple[int, int, bool]] = {}

    def _proposed(self, situation: Situation, assigned: int) -> IntArray:
        draws = assigned if self._size == SIZES[0] else DRAWS
        pairs = self._sampler.pairs(situation, draws, self._rng)
        if self._size == SIZES[0]:
            self._oriented, self._begins = pairs, np.ones(pairs.shape[:2], dtype=np.bool_)
            return pairs
        made = [self._dealt(own, situation.policies, assigned) for own in pairs]
        self._oriented = np.array([[pair for pair, _ in run] for run in made])
        self._begins = np.array([[begins for _, begins in run] for run in made])
        return self._oriented

    def _dealt(self, pairs: IntArray, policies: int, assigned: int) -> list[tuple[tuple[int, int], bool]]:
        """So many comparisons in blocks, each with whether it is the first of its block."""
        shares = np.zeros((policies, policies))
        np.add.at(shares, (pairs[:, 0], pairs[:, 1]), 1 / len(pairs))
        of_hub = shares.sum(axis=0)
        largest = np.maximum(shares.max(axis=0), np.finfo(np.float64).tiny)
        sizes = np.maximum(np.minimum(of_hub / largest, self._size - 1), np.finfo(np.float64).tiny)
        weights = np.where(of_hub > 0, of_hub / sizes, 0.0)
        dealt: list[tuple[tuple[int, int], bool]] = []
        while len(dealt) < assigned:
            hub = int(self._rng.choice(policies, p=weights / weights.sum()))
            chances = np.minimum(shares[:, hub] / of_hub[hub] * sizes[hub], 1.0)
            for place, challenger in enumerate(self._members(chances)):
                dealt.append(((challenger, hub), place == 0))
        return dealt[:assigned]

    def _members(self, chances: FloatArray) -> Iterator[int]:
        """Challengers drawn together, each with its own chance (systematic sampling)."""
        order = self._rng.permutation(chances.size)
        reached = np.concatenate([[0.0], np.cumsum(chances[order])]) - self._rng.random()
        yield from order[np.floor(reached[1:]) > np.floor(reached[:-1])].tolist()

    def _drawn(self, pairs: IntArray) -> IntArray:
        runs, outcomes = np.arange(len(pairs)), np.zeros(pairs.shape[:2], dtype=np.int64)
        hub_is_good = np.zeros(len(pairs), dtype=np.bool_)
        for place in range(pairs.shape[1]):
            begins, (challenger, hub) = self._begins[:, place], self._oriented[:, place].T
            fresh = self._rng.random(len(pairs)) < self._rates[self._orders[runs, hub]]
            hub_is_good = np.where(begins, fresh, hub_is_good)
            is_good = self._rng.random(len(pairs)) < self._rates[self._orders[runs, challenger]]
            is_hub_first = pairs[:, place, 0] == hub
            first = np.where(is_hub_first, hub_is_good, is_good)
            second = np.where(is_hub_first, is_good, hub_is_good)
            outcomes[:, place] = np.where(first == second, TIE, first)
            self._reports += 1 + begins
        return np.concatenate([pairs, outcomes[..., None]], axis=2)

    def _count(self, landed: IntArray, situation: Situation) -> None:
        self._fit, over_rivals = situation.fit, self._design.assumes_winner
        staked = bets(situation.fit, self._design.epsilon, over_rivals=over_rivals)
        forecasts = GoingOn(published(staked, situation))
        for place in range(landed.shape[1]):
            first, second, outcomes = landed[:, place].T
            q = forecasts.of(first, second)
            if over_rivals:
                of_run = zip(q, first, self._oriented[:, place, 1], self._begins[:, place], strict=True)
                q = [
                    each if begins or each is None else _not_against(each, low == hub)
                    for each, low, hub, begins in of_run
                ]
            self._ledgers.count(first, second, [RESULTS[outcome] for outcome in outcomes], q)
            forecasts.count(first, second, outcomes)

    def _ending(self, run: int, reached: Verdict) -> RunEnding:
        ending = super()._ending(run, reached)
        self.taken[int(self._numbers[run])] = int(self._reports[run]), ending.comparisons, ending.is_wrong
        return ending

    def _keep(self, runs: BoolArray) -> None:
        super()._keep(runs)
        self._reports, self._numbers = self._reports[runs], self._numbers[runs]


def _not_against(q: tuple[int, int | None], is_first: bool) -> tuple[int, int | None]:
    """Both forecasts, of which that of the hub bets nothing."""
    return (NO_BET, q[1]) if is_first else (q[0], NO_BET)


def preferences(rates: tuple[float, ...]) -> FloatArray:
    """P(row's outcome is better than column's, if one is)."""
    better = np.array(rates)[:, None] * (1 - np.array(rates)[None])
    return np.asarray(better / (better + better.T))


def runs_of(rates: tuple[float, ...], promised: dict[str, Any], size: int, seeds: int) -> Taken:
    """Run a case."""
    trial = Trial(worlds.named("rates", preferences(rates)), max_comparisons=BUDGET, **promised)
    batch = _Blocks(trial, seeds, rates, size)
    batch.run()
    found = np.array([batch.taken[run] for run in range(seeds)], dtype=np.float64)
    return Taken(found[:, 0], found[:, 1], int(found[:, 2].sum()))


def measured(job: tuple[str, str, int, int]) -> dict[str, Any]:
    """The figures of a case with blocks of one size."""
    policies, promise, size, seeds = job
    taken = runs_of(RATES[policies], PROMISES[promise], size, seeds)
    return {
        "policies": policies,
        "promise": promise,
        "size": size,
        "runs": seeds,
        "reports": float(taken.reports.mean()),
        "stderr": float(taken.reports.std(ddof=1) / math.sqrt(seeds)),
        "comparisons": float(taken.comparisons.mean()),
        "wrong": taken.wrong,
    }


def compared(row: dict[str, Any], pairs: dict[str, Any]) -> dict[str, Any]:
    """The figures, with the ratio of the reports to those of pairs."""
    ratio = row["reports"] / pairs["reports"]
    spread = ratio * math.hypot(row["stderr"] / row["reports"], pairs["stderr"] / pairs["reports"])
    return {**row, "ratio": ratio, "ratio_stderr": spread}


def cells(row: dict[str, Any]) -> list[str]:
    """The cells of one row."""
    ratio = "1" if row["size"] == SIZES[0] else f"{row['ratio']:.2f} ± {row['ratio_stderr']:.2f}"
    reports = f"{row['reports']:,.0f} ± {row['stderr']:,.0f}"
    counts = [reports, f"{row['comparisons']:,.0f}", ratio, f"{row['wrong']} of {row['runs']}"]
    return [row["policies"], row["promise"], str(row["size"]), *counts]


def page(rows: list[dict[str, Any]], origin: str) -> str:
    """The Markdown page."""
    headings = ["policies", "promise", "policies in a block", "reports", "comparisons", "of pairs", "wrong"]
    listed = "; ".join(f"{name}: {', '.join(f'{rate:.3g}' for rate in RATES[name])}" for name in RATES)
    return "\n".join(
        [
            "# Blocks",
            "",
            f"{origin}. Reports of good or bad outcomes until a decision, mean ± standard error;",
            f"delta .05, margin {MARGIN}. Comparisons include ties. The policies' shares of good outcomes:",
            f"{listed}.",
            "",
            *table(headings, [cells(row) for row in rows]),
            "",
        ]
    )


def main() -> None:
    """Run every case and write both files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=60)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", nargs="*", help="policies to run; writes nothing")
    options = parser.parse_args()
    chosen = [case for case in CASES if not options.only or case[0] in options.only]
    jobs = [(*case, size, options.seeds) for case in chosen for size in SIZES]
    with ProcessPoolExecutor(options.processes) as pool:
        found = list(pool.map(measured, jobs))
    pairs = {(row["policies"], row["promise"]): row for row in found if row["size"] == SIZES[0]}
    rows = [compared(row, pairs[row["policies"], row["promise"]]) for row in found]
    for row in rows:
        print(*cells(row), sep=" | ", flush=True)
    if not options.only:
        command = f"python -m benchmarks.blocks --seeds {options.seeds}"
        save("blocks", command, rows, lambda origin: page(rows, origin))


if __name__ == "__main__":
    main()
