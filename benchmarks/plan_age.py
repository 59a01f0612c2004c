"""What it costs to plan rarely: comparisons to a decision, by the comparisons between two plans.

    python benchmarks/plan_age.py [--seeds 400] [--processes N] [--state FILE]

Writes benchmarks/results/plan_age.json and .md. Forecasts and pairs are those of the last plan, and a verdict
is read when a plan is made. A gateway plans every second (`plan_interval_seconds`), so at fewer than five
comparisons a second a plan is never older than five of them.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from identification import BUDGET, DELTA, clear_worlds, misfits
from reporting import finished, options_of, plus_minus, save, table

from gateway.llm_po.lab.simulate import Trial
from gateway.llm_po.lab.world_files import load_world
from gateway.llm_po.lab.worlds import World
from gateway.simulation.runner import Job

ROOT = Path(__file__).parent.parent
EVERY = (5, 20, 100)
MATRICES = ("pandalm_human_5", "wmt15_eng_fin_10", "cyclic_4_synthetic")


def chosen_worlds() -> list[World]:
    """Worlds decided within about a thousand comparisons, in which the age of a plan matters most."""
    folder = ROOT / "tests" / "data" / "worlds"
    clear = [world for world in clear_worlds() if world.name == "bt-8-normal"]
    return [*clear, *misfits(), *(load_world(folder / f"{name}.json") for name in MATRICES)]


def jobs(seeds: int) -> list[Job]:
    """Every world at every age of the plan."""
    return [
        Job(
            f"{world.name}, every {every}",
            Trial(world, delta=DELTA, max_comparisons=BUDGET, refresh_every=every),
            seeds,
            seed=1,
        )
        for world in chosen_worlds()
        for every in (*EVERY, None)
    ]


def yardstick(trial: Trial) -> float:
    """T, in comparisons."""
    return trial.hardness * math.log(1 / trial.delta)


def report(rows: list[dict[str, Any]], origin: str) -> str:
    """The Markdown page."""
    lines = [
        "# How often to plan",
        "",
        f"{origin}. {rows[0]['seeds']} runs each, mean comparisons ± standard error (in multiples of T =",
        f"hardness x log(1/delta)); delta = {DELTA}, exact rule, epsilon = 0. A plan after so many",
        "comparisons each; 2 %: of those so far, as in identification.md.",
        "",
    ]
    body = []
    for world in dict.fromkeys(row["world"] for row in rows):
        chosen = [row for row in rows if row["world"] == world]
        cells = [
            f"{plus_minus(row)} ({row['mean_comparisons'] / row['yardstick']:.2f}"
            f" ± {row['stderr'] / row['yardstick']:.2f})"
            for row in chosen
        ]
        wrong = sum(row["wrong"] for row in chosen)
        body.append([world, *cells, f"{wrong} of {sum(row['seeds'] for row in chosen)}"])
    lines += table(["world", *(f"every {each}" for each in EVERY), "2 %", "wrong"], body)
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run every case and write both files."""
    options = options_of(__doc__, 400).parse_args()
    every = jobs(options.seeds)
    found = finished(every, options)
    rows = [{**found[job.name].to_json(), "yardstick": yardstick(job.trial)} for job in every]
    save(
        "plan_age", f"python benchmarks/plan_age.py --seeds {options.seeds}", rows, lambda o: report(rows, o)
    )


if __name__ == "__main__":
    main()
