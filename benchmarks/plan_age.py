"""What it costs to plan rarely, with forecasts that go on within a plan and with such that stay.

    python -m benchmarks.plan_age [--seeds 100] [--only WORLD ...]

Writes benchmarks/results/plan_age.json and .md. Pairs are drawn by the last plan, and a verdict is read when
a plan is made. A gateway plans every second (`plan_interval_seconds`), so many comparisons come under one
plan where there are many a second, or where feedback is uploaded in batches. Both kinds of forecasts meet
the same outcomes.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, Final

from benchmarks.forecast_sides import coupled, staying
from benchmarks.identification import BUDGET, DELTA, MARGIN, ROOT, clear_worlds, misfits, near_ties
from benchmarks.reporting import mean_and_error, run_cases, table
from gateway.llm_po.forecast import Bets, bets
from gateway.llm_po.lab import simulate
from gateway.llm_po.lab.simulate import Trial
from gateway.llm_po.lab.world_files import load_world
from gateway.llm_po.lab.worlds import World
from gateway.llm_po.wins import FloatArray

EVERY: Final = (None, 20, 100, 1_000)
"""Comparisons between two plans; None for 2 % of those so far, as in identification.md."""

CHOSEN: Final = ("bt-2", "bt-5", "bt-8-normal", "near-tie-2", "near-tie-5", "non-bt-8", "arxiv_rankers_6")


def chosen_worlds() -> list[World]:
    """Clear differences, near ties, no Bradley-Terry, and a real matrix."""
    real = load_world(ROOT / "tests" / "data" / "worlds" / "arxiv_rankers_6.json")
    return [each for each in (*clear_worlds(), *near_ties(), *misfits(), real) if each.name in CHOSEN]


def trials() -> list[Trial]:
    """What is promised of each world."""
    plain = [Trial(world, delta=DELTA, max_comparisons=BUDGET) for world in chosen_worlds()]
    best = {"epsilon": MARGIN, "promise": "no_worse_than_best"}
    margin = [Trial(world, delta=DELTA, max_comparisons=BUDGET, **best) for world in chosen_worlds()]
    return [*plain, *margin]


def bets_that_stay(*fitted: Any, **options: Any) -> Bets:
    """The bets of today, with forecasts that stay what they are until the next plan."""
    return staying(bets(*fitted, **options).forecasts)


def taken(trial: Trial, seeds: int, *, go_on: bool) -> tuple[FloatArray, int]:
    """The comparisons of every run, and how many promoted wrongly."""
    simulate.bets = bets if go_on else bets_that_stay
    return coupled(trial, seeds)


def row(trial: Trial, every: int | None, seeds: int) -> dict[str, Any]:
    """One world, at one age of the plan."""
    aged = replace(trial, refresh_every=every)
    (moving, wrong), (still, wrong_still) = (taken(aged, seeds, go_on=each) for each in (True, False))
    return {
        "promised": "no worse than the best" if trial.epsilon else "winner",
        "world": trial.world.name,
        "every": every,
        "runs": seeds,
        "yardstick": trial.yardstick,
        "staying": mean_and_error(still),
        "going_on": mean_and_error(moving),
        "difference": mean_and_error(moving - still),
        "wrong": [wrong_still, wrong],
    }


def cells(found: dict[str, Any]) -> list[str]:
    """The cells of one row."""
    every = "2 %" if found["every"] is None else f"{found['every']:,}"
    means = [f"{found[name][0]:,.0f} ± {found[name][1]:,.0f}" for name in ("staying", "going_on")]
    difference, error = (100 * each / found["staying"][0] for each in found["difference"])
    wrong = f"{found['wrong'][0]}, {found['wrong'][1]} of {found['runs']}"
    return [found["promised"], found["world"], every, *means, f"{difference:+.0f} ± {error:.0f} %", wrong]


def page(rows: list[dict[str, Any]], origin: str) -> str:
    """The Markdown page."""
    headings = ["promised", "world", "a plan every", "staying", "going on", "difference", "wrong"]
    return "\n".join(
        [
            "# How often to plan",
            "",
            f"{origin}. Comparisons to a decision: mean of runs ± standard error, delta = {DELTA}, margin",
            f"{MARGIN} for no worse than the best. A plan is made and a verdict read after so many",
            "comparisons; 2 %: of those so far, as in identification.md. `staying`: all comparisons under a",
            "plan are counted with the forecasts it published. `going on`: each moves them, as in a gateway.",
            "Both meet the same outcomes, so differences are between paired runs.",
            "",
            *table(headings, [cells(each) for each in rows]),
            "",
        ]
    )


def main() -> None:
    """Run every case and write both files."""
    work = [(trial.world.name, partial(row, trial, every)) for trial in trials() for every in EVERY]
    run_cases("plan_age", __doc__, 100, work, cells, page)


if __name__ == "__main__":
    main()
