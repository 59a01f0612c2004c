"""The structured space: comparisons to a decision, wrong promotions, and how often a fit is doubted.

    python benchmarks/structured.py [--seeds 200] [--processes 2]

Writes benchmarks/results/structured.md. In the cases of equal policies and near ties a promotion is easily
wrong; their runs end at a budget.
"""

from __future__ import annotations

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy: as many processes as cores instead

import argparse
import datetime as dt
import math
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.pages import save_page
from gateway.llm_po.lab import worlds
from gateway.llm_po.lab.simulate import Trial, simulate
from gateway.llm_po.lab.worlds import World
from gateway.llm_po.samplers import Situation
from gateway.llm_po.structured.goodness_of_fit import goodness_of_fit
from gateway.llm_po.structured.sampler import StructuredSampler

RESULTS = Path(__file__).parent / "results" / "structured.md"
DELTA = 0.05
LOOKS = (100, 300, 1000)
EFFECTS = {
    "model": {"a": 0.0, "b": -0.4, "c": -0.7, "d": -0.2},
    "prompt": {"w": 0.0, "x": -0.5, "y": -0.3, "z": -0.8},
    "temperature": {"0": 0.0, "0.7": -0.3},
}


@dataclass(frozen=True)
class Case:
    """A trial and how many of the asked runs it gets."""

    trial: Trial
    share: float = 1.0


def cases() -> list[Case]:
    """Every row of the first table."""
    grid = worlds.grid("grid-4x4x2", EFFECTS)
    eight = worlds.bradley_terry("bt-8", np.linspace(0.5, -1.5, 8))
    tie = worlds.bradley_terry("near-tie-5", [math.log(0.52 / 0.48), 0.0, -0.4, -0.7, -1.0])
    edge = worlds.bradley_terry("one-just-better-8", [math.log(0.5201 / 0.4799), *[0.0] * 7])
    exact, asymptotic = {"delta": DELTA}, {"delta": DELTA, "stopping": "lr-mixture"}
    return [
        Case(Trial(worlds.bradley_terry("bt-5", [0.8, 0.3, 0.1, -0.2, -1.0]), **asymptotic)),
        Case(Trial(eight, **asymptotic)),
        Case(Trial(grid, **asymptotic), 0.5),
        Case(Trial(grid, method="round-robin", **asymptotic), 0.25),
        Case(Trial(grid, **exact), 0.1),
        Case(Trial(grid, epsilon=0.02, **asymptotic), 0.25),
        Case(Trial(tie, max_comparisons=40_000, **asymptotic), 2),
        Case(Trial(worlds.named("equals-3", np.full((3, 3), 0.5)), max_comparisons=3_000, **asymptotic), 2),
        Case(Trial(worlds.named("equals-8", np.full((8, 8), 0.5)), max_comparisons=3_000, **asymptotic)),
        Case(Trial(edge, epsilon=0.02, max_comparisons=6_000, **asymptotic)),
    ]


def run(case: Case, seeds: int) -> str:
    """One row."""
    trial = case.trial
    summary = simulate(trial, max(int(seeds * case.share), 2), seed=1)
    yardstick = trial.yardstick
    decided = summary.outcomes["inconclusive"] == 0 and math.isfinite(yardstick)
    multiple = f"{summary.mean / yardstick:.2f} ± {summary.stderr / yardstick:.2f}" if decided else ""
    ended = ", ".join(f"{count} {kind}" for kind, count in summary.outcomes.items() if count)
    return (
        f"| {trial.world.name} | {trial.method} | {trial.stopping} | {trial.epsilon:g} "
        f"| {len(summary.endings)} | {summary.mean:.0f} ± {summary.stderr:.0f} | {multiple} "
        f"| {summary.wrong} | {ended} |"
    )


def p_values(world: World, policies_fit: World, seed: int) -> list[float]:
    """The p-values of the fit at each check, in a run that chooses pairs as the planner does."""
    features = Trial(policies_fit, stopping="lr-mixture").features
    design = Trial(world, stopping="lr-mixture").design
    sampler, rng = StructuredSampler(features), np.random.default_rng(seed)
    wins = np.zeros((1, world.policies, world.policies), dtype=np.int64)
    nobody, found = np.zeros((1, world.policies), dtype=np.bool_), []
    for look in LOOKS:
        while (counted := int(wins.sum())) < look:
            block = min(max(10, counted // 8), look - counted)
            for first, second in sampler.pairs(Situation(wins, wins * 0, nobody, design), block, rng)[0]:
                won = rng.random() < world.preferences[first, second]
                wins[0, first if won else second, second if won else first] += 1
        found.append(goodness_of_fit(wins[0], features).p_value)
    return found


def fit_rows(seeds: int, pool: ProcessPoolExecutor) -> list[str]:
    """How often a fit is doubted at 1 %, in worlds that follow the structure and in worlds that do not."""
    grid = worlds.grid("grid-4x4x2", EFFECTS)
    eight = worlds.bradley_terry("bt-8", np.linspace(0.5, -1.5, 8))
    bent = worlds.misfit("bt-8 with pair effects of 0.5", np.linspace(0.5, -1.5, 8), 0.5, 0.3, 8)
    cyclic = worlds.cycle("cycle-5 at 0.7", 5, 0.7)
    rows = []
    for world, fitted in ((grid, grid), (eight, eight), (bent, eight), (cyclic, cyclic)):
        found = np.array(list(pool.map(partial(p_values, world, fitted), range(seeds))))
        doubted = " | ".join(f"{share:.1%}" for share in (found < 0.01).mean(axis=0))
        rows.append(f"| {world.name} | {seeds} | {doubted} |")
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Simulate and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    command = f"python benchmarks/structured.py {' '.join(sys.argv[1:])}".strip()
    rows = []
    with ProcessPoolExecutor(arguments.processes) as pool:
        for line in pool.map(partial(run, seeds=arguments.seeds), cases()):
            rows.append(line)
            print(line, flush=True)
        fits = fit_rows(arguments.seeds // 2, pool)
    page = [
        "# The structured space",
        "",
        f"`{command}`, {dt.datetime.now(tz=dt.UTC):%Y-%m-%d}. Means ± standard errors; delta = {DELTA}.",
        "T = hardness of the space assumed x log(1/delta).",
        "",
        "| world | method | stopping | epsilon | runs | comparisons | multiple of T | wrong | outcomes |",
        "|---|---|---|---|---|---|---|---|---|",
        *rows,
        "",
        "## Fits doubted at 1 %, after so many comparisons dealt as the planner deals them",
        "",
        f"| world | runs | {' | '.join(map(str, LOOKS))} |",
        "|---|---|---|---|---|",
        *fits,
    ]
    save_page(RESULTS, "\n".join(page))


if __name__ == "__main__":
    main()
