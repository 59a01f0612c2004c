"""What slow feedback and drifting preferences cost: outcomes in flight, a plan every 50 comparisons.

    python benchmarks/delay.py [--seeds 200] [--processes N] [--state FILE]

Writes benchmarks/results/delay.json and .md. In the drifting world the scores change between two sets every
1,000 comparisons. The same policy is best in both sets, but in one of them its lead is less than half as
large.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from reporting import finished, options_of, plus_minus, save, table

from gateway.llm_po.lab import worlds
from gateway.llm_po.lab.simulate import Trial
from gateway.llm_po.lab.worlds import World
from gateway.simulation.runner import Job

DELTA = 0.05
MARGIN = 0.02
REFRESH_EVERY = 50
IN_FLIGHT = (0, 50, 200, 1_000)
BUDGET = 100_000


def cases() -> list[tuple[World, float]]:
    """Worlds with the margin to run them with."""
    five = [0.8, 0.3, 0.1, -0.2, -1.0]
    sixteen = worlds.bradley_terry("16 policies, linear", np.linspace(0.5, -2.5, 16))
    return [
        (worlds.bradley_terry("5 policies", five), 0.0),
        (sixteen, 0.0),
        (sixteen, MARGIN),
        (worlds.drifting("5 policies, drifting", five, [0.8, 0.0, 0.6, 0.4, -0.5], 1_000), 0.0),
    ]


def report(rows: list[dict[str, Any]], origin: str) -> str:
    """The Markdown page."""
    lines = [
        "# Slow feedback and drifting preferences",
        "",
        f"{origin}. {rows[0]['seeds']} runs each, mean comparisons ± standard error, those in flight at",
        f"the end included; delta = {DELTA}, exact rule, a new plan every {REFRESH_EVERY} comparisons.",
        "`of sum`: the mean divided by (mean without delay + outcomes in flight).",
        "",
    ]
    body = []
    for row in rows:
        base = next(
            other
            for other in rows
            if other["in_flight"] == 0
            and (other["world"], other["epsilon"]) == (row["world"], row["epsilon"])
        )
        share = row["mean_comparisons"] / (base["mean_comparisons"] + row["in_flight"])
        body.append(
            [
                *(row["world"], f"{row['epsilon']:g}", str(row["in_flight"])),
                *(plus_minus(row), f"{share:.2f}", str(row["wrong"])),
            ]
        )
    lines += table(["world", "epsilon", "in flight", "comparisons", "of sum", "wrong"], body)
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run every case and write both files."""
    options = options_of(__doc__, 200).parse_args()
    work = [
        Job(
            f"{world.name}, epsilon {epsilon:g}, {flying} in flight",
            Trial(
                world,
                delta=DELTA,
                epsilon=epsilon,
                max_comparisons=BUDGET,
                in_flight=flying,
                refresh_every=REFRESH_EVERY,
            ),
            options.seeds,
            seed=1,
        )
        for world, epsilon in cases()
        for flying in IN_FLIGHT
    ]
    summaries = finished(work, options)
    rows = [{**summaries[job.name].to_json(), "in_flight": job.trial.in_flight} for job in work]
    command = f"python benchmarks/delay.py --seeds {options.seeds}"
    save("delay", command, rows, lambda origin: report(rows, origin))


if __name__ == "__main__":
    main()
