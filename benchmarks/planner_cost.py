"""What a planner refresh and the structured solver cost, by number of policies.

    python benchmarks/planner_cost.py [--repeats 7] [--policies 2 8 16 32 64 128]
    python benchmarks/planner_cost.py --against PATH [--rounds 5] [--repeats 7] [--policies 32 128]

The first writes benchmarks/results/planner_cost.md. Linear algebra has one thread, as in the planner's
process. Times are medians in milliseconds of processor time; memory is the peak one call allocates
(tracemalloc), in MB. The second prints how many times as long a refresh takes as in another checkout, which
takes turns with this one.
"""

from __future__ import annotations

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy: what the planner's process sets

import argparse
import datetime as dt
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pages import save_page
from gateway.llm_po.evidence import Tally
from gateway.llm_po.lab.worlds import bradley_terry
from gateway.llm_po.plan import plan
from gateway.llm_po.stopping import Design
from gateway.llm_po.structured.features import one_hot
from gateway.llm_po.structured.solver import solve

RESULTS = Path(__file__).parent / "results" / "planner_cost.md"
PER_PAIR = 10  # comparisons of each pair in the counts planned from
TOLERANCE = 0.01


def counted(policies: int) -> Tally:
    """Counts in the middle of a run: scores from 0.5 to -2.5, as in the golden cases."""
    preferences = bradley_terry("b", np.linspace(0.5, -2.5, policies)).preferences
    won = np.triu(np.random.default_rng(policies).binomial(PER_PAIR, preferences), 1)
    wins = won + np.tril(PER_PAIR - won.T, -1)
    return replace(Tally.empty(policies), wins=wins, comparisons=int(wins.sum()))


def later(tally: Tally) -> Tally:
    """The run when 2 % more comparisons have been counted."""
    rng = np.random.default_rng(tally.policies)
    preferences = bradley_terry("b", np.linspace(0.5, -2.5, tally.policies)).preferences
    wins = tally.wins.copy()
    more = max(1, tally.comparisons // 50)
    for _ in range(more):
        first, second = rng.choice(tally.policies, 2, replace=False)
        is_first = rng.random() < preferences[first, second]
        wins[(first, second) if is_first else (second, first)] += 1
    return replace(tally, wins=wins, comparisons=tally.comparisons + more)


def design(policies: int, *, is_structured: bool) -> Design:
    """The default experiment, in either space."""
    plain = Design(0.05, 0.02, 0, (0.0,) * policies)
    if not is_structured:
        return plain
    return replace(plain, features=one_hot(policies), stopping="lr-mixture")


def measured(call: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Median milliseconds, and peak MB of one call."""
    call()
    times = []
    for _ in range(repeats):
        started = time.process_time()
        call()
        times.append((time.process_time() - started) * 1e3)
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    return statistics.median(times), peak


def row(policies: int, repeats: int) -> str:
    """One line of the table."""
    tally, rng = counted(policies), np.random.default_rng(1)
    cells = [str(policies)]
    for is_structured in (False, True):
        about = design(policies, is_structured=is_structured)
        first, peak = measured(lambda about=about: plan(tally, about, rng), repeats)
        start, grown = plan(tally, about, rng).next_start, later(tally)
        following, _ = measured(
            lambda about=about, start=start, grown=grown: plan(grown, about, rng, start), repeats
        )
        cells += [f"{first:.1f}", f"{following:.1f}", f"{peak:.1f}"]
    scores, features = np.linspace(0.5, -2.5, policies)[None], one_hot(policies)
    cold, peak = measured(lambda: solve(scores, features, tolerance=TOLERANCE), repeats)
    before = solve(scores * 0.98, features, tolerance=TOLERANCE)
    warm, _ = measured(lambda: solve(scores, features, tolerance=TOLERANCE, start=before), repeats)
    steps = solve(scores, features, tolerance=TOLERANCE).iterations
    cells += [f"{cold:.1f}", f"{warm:.1f}", str(steps), f"{peak:.1f}"]
    return "| " + " | ".join(cells) + " |"


_REFRESH = """
import sys
from benchmarks.planner_cost import counted, design, later, measured, np, plan
policies, repeats = map(int, sys.argv[1:])
tally, about, rng = counted(policies), design(policies, is_structured=False), np.random.default_rng(1)
start, grown = plan(tally, about, rng).next_start, later(tally)
print(measured(lambda: plan(grown, about, rng, start), repeats)[0])
"""


def refresh_in(tree: Path, policies: int, repeats: int) -> float:
    """Median milliseconds of a refresh that goes on from the last plan, by the code of a checkout."""
    command = [sys.executable, "-c", _REFRESH, str(policies), str(repeats)]
    said = subprocess.run(
        command, cwd=tree, env={**os.environ, "PYTHONPATH": str(tree)}, check=True, stdout=subprocess.PIPE
    )
    return float(said.stdout)


def compare(other: Path, policies: list[int], repeats: int, rounds: int) -> None:
    """Print this checkout's refreshes as multiples of another's, by rounds in which both take turns."""
    for number in policies:
        ratios = [
            refresh_in(RESULTS.parents[2], number, repeats) / refresh_in(other, number, repeats)
            for _ in range(rounds)
        ]
        print(f"K = {number}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--policies", type=int, nargs="+", default=[2, 8, 16, 32, 64, 128])
    parser.add_argument("--against", type=Path, metavar="PATH", help="another checkout of this project")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.against is not None:
        compare(arguments.against.resolve(), arguments.policies, arguments.repeats, arguments.rounds)
        return
    command = f"python benchmarks/planner_cost.py {' '.join(sys.argv[1:])}".strip()
    lines = [
        "# What planning costs",
        "",
        f"`{command}`, {dt.datetime.now(tz=dt.UTC):%Y-%m-%d}. Median milliseconds of processor time,",
        f"{arguments.repeats} calls; peak MB allocated by one call. Refresh: fit, forecasts, pair",
        f"distribution, progress, verdict, from {PER_PAIR} comparisons of each pair; next: going on from it,",
        "2 % more comparisons later. Structured: one-hot, by likelihood ratios. Solver: one-hot, scores",
        f"0.5 to -2.5, certified gap {TOLERANCE:.0%}; warm: from the solution of scores 2 % smaller.",
        "",
        "| K | unstructured refresh | next | MB | structured | next | MB | solver | warm | steps | MB |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for policies in arguments.policies:
        lines.append(row(policies, arguments.repeats))
        print(lines[-1], flush=True)
    save_page(RESULTS, "\n".join(lines))


if __name__ == "__main__":
    main()
