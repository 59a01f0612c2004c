"""What each way to fewer votes saves a user.

    python -m benchmarks.votes [--seeds 60]

Writes benchmarks/results/votes.json and .md. The two promises are measured here; forecasts and the last look
are taken from forecast_sides.json and last_look.json.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any, Final

from benchmarks.identification import BUDGET, DELTA, MARGIN, clear_worlds, near_ties
from benchmarks.reporting import RESULTS, save, table
from gateway.llm_po.lab.simulate import Trial, simulate
from gateway.llm_po.lab.world_files import load_world
from gateway.llm_po.lab.worlds import World

SEED: Final = 1
WORLDS: Final = ("bt-5", "pandalm_human_5")
MATRIX: Final = Path(__file__).parents[1] / "tests" / "data" / "worlds" / "pandalm_human_5.json"
REQUESTS: Final = 1_000
FEEDBACK: Final = 0.03
VOTES_EACH: Final = 2
"""Votes of a matched comparison: one for each of its two units."""
SOURCES: Final = ("forecast_sides", "last_look")


def worlds() -> list[World]:
    """The worlds in which the promises are compared."""
    known = {world.name: world for world in (*clear_worlds(), *near_ties(), load_world(MATRIX))}
    return [known[name] for name in WORLDS]


def promises(world: World, seeds: int) -> dict[str, Any]:
    """1: comparisons with each promise, with standard errors."""
    found: dict[str, Any] = {"world": world.name, "runs": seeds}
    for promise in ("no_worse_than_any", "no_worse_than_best"):
        trial = Trial(world, delta=DELTA, epsilon=MARGIN, max_comparisons=BUDGET, promise=promise)
        summary = simulate(trial, seeds, SEED)
        found[promise] = [summary.mean, summary.stderr]
    print(found, flush=True)
    return found


def cells(way: str, world: str, before: float, after: float, spread: float) -> list[str]:
    """A row, from comparisons before and after, and the standard error of their ratio."""
    votes = [VOTES_EACH * each for each in (before, after)]
    saved = f"{100 * (1 - after / before):.0f} ± {100 * spread:.0f} %"
    days = [f"{each / (REQUESTS * FEEDBACK):,.0f}" for each in votes]
    return [way, world, *(f"{each:,.0f}" for each in votes), saved, *days]


def by_promise(row: dict[str, Any]) -> list[str]:
    """The row of a world for the two promises."""
    (before, error), (after, after_error) = row["no_worse_than_any"], row["no_worse_than_best"]
    spread = after / before * math.hypot(error / before, after_error / after)
    return cells("1, `no_worse_than_best`", row["world"], before, after, spread)


def by_forecasts(row: dict[str, Any]) -> list[str]:
    """The row of a world for forecasts of each side; its figures are multiples of T."""
    known = {world.name: world for world in (*clear_worlds(), *near_ties(), load_world(MATRIX))}
    unit = Trial(known[row["world"]], delta=DELTA).yardstick
    (before, _), (after, _), (_, spread) = row["before"], row["after"], row["difference"]
    return cells("2 and 8, forecasts", row["world"], before * unit, after * unit, spread / before)


def by_look(row: dict[str, Any]) -> list[str]:
    """The row of a case of the last look."""
    shares = [f"{100 * decided / row['runs']:.0f} %" for decided in row["decided"]]
    return [row["world"], row["promise"].replace("_", " "), str(row["budget"]), *shares]


def page(rows: list[dict[str, Any]], origin: str) -> str:
    """The Markdown page."""
    sided, looked = (json.loads((RESULTS / f"{stem}.json").read_text(encoding="utf-8")) for stem in SOURCES)
    sources = ", ".join(f"`{each['command']}` ({each['date']})" for each in (sided, looked))
    winner = [row for row in sided["rows"] if row["promised"] == "winner"]
    saved = [*map(by_promise, rows), *map(by_forecasts, winner)]
    looks = [by_look(row) for row in looked["rows"] if not row["is_hard"]]
    return "\n".join(
        [
            "# What fewer votes mean",
            "",
            f"{origin}, with results of {sources}.",
            f"Means until a decision at delta {DELTA}, margin {MARGIN} where there is one. Days are",
            f"at {REQUESTS:,} requests a day of which {100 * FEEDBACK:.0f} % get",
            "feedback, all taking part, with `matched`: a comparison takes two votes. Ties come on top. With",
            "`side_by_side` a comparison takes one vote, so everything is half. Savings ± standard error.",
            "",
            "1 is `promise: no_worse_than_best` instead of `no_worse_than_any`. 2 and 8 are a forecast for",
            "each side of a pair and a finer prior; they are always on, and measured with `epsilon: 0`.",
            "",
            *table(["way", "world", "votes before", "after", "saved", "days before", "after"], saved),
            "",
            "7 is `last_look`. It takes no vote more or less; a budget of one T = hardness x log(1/delta)",
            "decides more experiments:",
            "",
            *table(["world", "promise", "budget", "decided without", "with"], looks),
            "",
            "6, blocks, is not built: it saves too little",
            "([0136](../../docs/decisions/0136-no-blocks.md)).",
            "",
        ]
    )


def main() -> None:
    """Measure the promises and write both files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=60)
    options = parser.parse_args()
    rows = [promises(world, options.seeds) for world in worlds()]
    command = f"python -m benchmarks.votes --seeds {options.seeds}"
    save("votes", command, rows, lambda origin: page(rows, origin))


if __name__ == "__main__":
    main()
