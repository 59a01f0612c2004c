"""What the comparisons beyond the optimum are spent on: learning forecasts, the survivor check, pairs.

    python benchmarks/what_is_lost.py [--seeds 200]

Runs the winner design as it is, then with forecasts that are the truth, without the survivor check, and with
both. What remains above the hardness is then due to the choice of pairs. Writes
benchmarks/results/what_is_lost.*.
"""

from __future__ import annotations

import argparse
import math
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.forecast_sides import staying  # noqa: E402 - after the path is set
from benchmarks.identification import clear_worlds, misfits, near_ties  # noqa: E402 - after the path is set
from benchmarks.reporting import save, table  # noqa: E402 - after the path is set
from gateway.llm_po import forecast, samplers  # noqa: E402 - after the path is set
from gateway.llm_po.lab import simulate  # noqa: E402 - after the path is set
from gateway.llm_po.lab.simulate import Trial  # noqa: E402 - after the path is set
from gateway.llm_po.lab.world_files import load_world  # noqa: E402 - after the path is set
from gateway.llm_po.lab.worlds import World  # noqa: E402 - after the path is set
from gateway.llm_po.samplers import Situation  # noqa: E402 - after the path is set
from gateway.llm_po.wins import IntArray  # noqa: E402 - after the path is set

CLEAR = ("bt-5", "bt-8-linear", "bt-8-normal", "bt-16-linear")
VARIANTS = ("as it is", "true forecasts", "no survivor check", "both")
COUNT = simulate._Batch._count
CYCLIC = ROOT / "tests" / "data" / "worlds" / "cyclic_4_synthetic.json"


def _counted_with_the_truth(batch: simulate._Batch, landed: IntArray, situation: Situation) -> None:
    """Counts with forecasts that no method can make: the true preferences, as each run orders them."""
    orders = batch._orders
    truth = batch._trial.world.preferences[orders[:, :, None], orders[:, None, :]]
    with patch.object(simulate, "bets", lambda *_fit, **_which: staying(truth)):
        COUNT(batch, landed, situation)


def multiple(world: World, variant: str, seeds: int) -> tuple[float, float]:
    """Mean comparisons as a multiple of hardness x log(1/delta), and its standard error."""
    trial = Trial(world, delta=0.05, max_comparisons=100_000)
    with ExitStack() as changes:
        if variant in ("true forecasts", "both"):
            changes.enter_context(patch.object(simulate._Batch, "_count", _counted_with_the_truth))
        if variant in ("no survivor check", "both"):
            changes.enter_context(patch.object(forecast, "CLEARED", 0.0))
            changes.enter_context(patch.object(samplers, "CLEARED", 0.0))
        summary = simulate.simulate(trial, seeds, seed=1)
    yardstick = trial.hardness * math.log(1 / trial.delta)
    return summary.mean / yardstick, summary.stderr / yardstick


def page(rows: list[dict[str, Any]], command: str) -> str:
    """The Markdown page."""
    cells = [
        [
            row["world"],
            f"{row['least']:.0f}",
            *(f"{mean:.2f} ± {error:.2f}" for mean, error in row["multiples"]),
        ]
        for row in rows
    ]
    return "\n".join(
        [
            "# Where comparisons go that the optimum would not need",
            "",
            f"{command}. Winner design, epsilon = 0, delta = 0.05;",
            "means as multiples of T = hardness x log(1/delta) ± standard error. No method can have true",
            "forecasts: the column shows what learning them costs.",
            "",
            *table(["world", "T", *VARIANTS], cells),
            "",
        ]
    )


def main() -> None:
    """Run every world in every variant and write both files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=200)
    seeds = parser.parse_args().seeds
    clear = [world for world in clear_worlds() if world.name in CLEAR]
    rows = []
    for world in [*clear, *near_ties(), *misfits(), load_world(CYCLIC)]:
        multiples = [multiple(world, variant, seeds) for variant in VARIANTS]
        least = Trial(world, delta=0.05).hardness * math.log(20)
        rows.append({"world": world.name, "least": least, "multiples": multiples})
        print(world.name, *(f"{mean:.2f} ± {error:.2f}" for mean, error in multiples), flush=True)
    save(
        "what_is_lost",
        f"python benchmarks/what_is_lost.py --seeds {seeds}",
        rows,
        lambda said: page(rows, said),
    )


if __name__ == "__main__":
    main()
