"""Watches over promotions: which policies are rolled back, and after how many comparisons.

    python benchmarks/watched_promotions.py [--seeds 1000]

Writes benchmarks/results/watched_promotions.json and .md. A promoted policy is compared with the one before
it 500 times; the probability that it is preferred is fixed or changes on the way. Outcomes are counted with
the watch's own bets, forecasts are published every ten comparisons, as a planner does at moderate traffic. A
promotion is taken back at the first comparison at which the evidence reaches the line of the level.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from statistics import median
from typing import Any, Final

import numpy as np
from reporting import save, table

from gateway.llm_po.holdback import MEMORY, Holdback

COMPARISONS: Final = 500
BETWEEN_FORECASTS: Final = 10
LEVEL: Final = 0.05
MARGIN: Final = 0.02
HALF: Final = COMPARISONS // 2
WORLDS: Final[dict[str, list[float]]] = {
    "steady, preferred in 60%": [0.6] * COMPARISONS,
    "steady, as good as the one before": [0.5] * COMPARISONS,
    "steady, worse by just the margin": [0.5 - MARGIN] * COMPARISONS,
    "goes up and down above the line": (0.55 + 0.07 * np.sin(np.arange(COMPARISONS) / 25)).tolist(),
    "fades at half-time, 60% to 50%": [0.6] * HALF + [0.5] * HALF,
    "fades at half-time, 60% to 35%": [0.6] * HALF + [0.35] * HALF,
    "fades at half-time, 60% to 30%": [0.6] * HALF + [0.3] * HALF,
    "fades slowly, 65% to 25%": np.linspace(0.65, 0.25, COMPARISONS).tolist(),
    "worse from the start, 40%": [0.4] * COMPARISONS,
    "worse from the start, 35%": [0.35] * COMPARISONS,
}
MEMORIES: Final = (("forgets", MEMORY), ("forgets nothing", 1.0))


def rolled_back_at(world: list[float], holdback: Holdback, memory: float, rng: random.Random) -> int | None:
    """The comparison at which one watch takes the promotion back, or None."""
    latest: list[bool] = []
    nano_nats, increments = 0, (0, 0, 0, 0)
    for number, chance in enumerate(world):
        if number % BETWEEN_FORECASTS == 0:
            increments = holdback.increments(holdback.forecast(reversed(latest), memory))
        is_preferred = rng.random() < chance
        latest.append(is_preferred)
        nano_nats += increments[0 if is_preferred else 1]
        if nano_nats >= holdback.line_nano_nats:
            return number + 1
    return None


def measured(seeds: int) -> Iterator[dict[str, Any]]:
    """A row for each world and kind of forecast."""
    holdback = Holdback(champion=0, previous=1, level=LEVEL, margin=MARGIN)
    for name, world in WORLDS.items():
        for kind, memory in MEMORIES:
            ends = [rolled_back_at(world, holdback, memory, random.Random(seed)) for seed in range(seeds)]
            ended = [end for end in ends if end is not None]
            yield {
                "world": name,
                "forecast": kind,
                "no_worse": min(world) >= 0.5 - MARGIN,
                "seeds": seeds,
                "rolled_back": len(ended),
                "median_comparison": median(ended) if ended else None,
            }


def report(rows: list[dict[str, Any]], origin: str) -> str:
    """The page."""
    told = (
        f"A promoted policy is compared with the one before it {COMPARISONS} times, at level {LEVEL} and "
        f"margin {MARGIN}. Of policies that are no worse throughout, at most {LEVEL:.0%} may be rolled back. "
        "The forecast of the gateway *forgets*: it rests on about the last hundred outcomes. A forecast that "
        "*forgets nothing* keeps the level too, but does not find an effect that fades."
    )
    body = table(
        ["the promoted policy", "no worse", "forecast", "rolled back", "median comparison"],
        [
            [
                row["world"],
                "yes" if row["no_worse"] else "no",
                row["forecast"],
                f"{row['rolled_back'] / row['seeds']:.1%}",
                "-" if row["median_comparison"] is None else f"{row['median_comparison']:.0f}",
            ]
            for row in rows
        ],
    )
    return "\n".join(["# Watches over promotions", "", f"{origin}. {told}", "", *body]) + "\n"


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=1000)
    options = parser.parse_args()
    rows = list(measured(options.seeds))
    command = f"python benchmarks/watched_promotions.py --seeds {options.seeds}"
    save("watched_promotions", command, rows, lambda origin: report(rows, origin))


if __name__ == "__main__":
    main()
