"""Guardrails: how often a policy that is no worse is found worse, and after how many pairs one that is.

    python benchmarks/guardrails.py [--seeds 2000]

Writes benchmarks/results/guardrails.json and .md. In each run pairs of answers are counted one by one, and
the evidence is looked at after every pair: over all pairs, and over those of the present hour. The level is
the default, and an hour has 200 pairs.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from reporting import save, table

from gateway.llm_po.guardrails import GRAIN, SHARES, Contrast, tripping_nats

LEVEL: Final = 0.01
PAIRS: Final = 5_000
HOUR: Final = 200
LATE: Final = 3_000
Numbers = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True)
class World:
    """What two policies' answers are like.

    Attributes:
        name: For the page.
        contrast: What is tested.
        draw: The numbers of both in each pair.
        is_no_worse: Whether the hypothesis holds.
        starts: The pair from which the policy is worse.
    """

    name: str
    contrast: Contrast
    draw: Callable[[np.random.Generator], Numbers]
    is_no_worse: bool
    starts: int = 0


def rates(candidate: Any, incumbent: Any) -> Callable[[np.random.Generator], Numbers]:
    """Answers that fail with these probabilities, one each or one for each pair."""

    def draw(rng: np.random.Generator) -> Numbers:
        both = [rng.random(PAIRS) < np.broadcast_to(chance, PAIRS) for chance in (candidate, incumbent)]
        return both[0].astype(np.float64), both[1].astype(np.float64)

    return draw


def amounts(factor: float) -> Callable[[np.random.Generator], Numbers]:
    """Real numbers around a third of the range, the candidate's larger by a factor."""

    def draw(rng: np.random.Generator) -> Numbers:
        both = rng.beta(4, 8, (2, PAIRS)) * 0.7
        return both[0] * factor, both[1]

    return draw


POINT: Final = Contrast(1.0, -1.0, -0.01)
FIFTH: Final = Contrast(1.0, -1.2, 0.0)
TAIL: Final = Contrast(1.0, -1.0, 0.0)
OUTAGES: Final = np.where(np.arange(PAIRS) % 500 < 60, 0.5, 0.01)
WORLDS: Final = (
    World("errors: 1% and 1%", POINT, rates(0.01, 0.01), True),
    World("errors: 2% and 1%, just the tolerance", POINT, rates(0.02, 0.01), True),
    World("errors: 21% and 20%, just the tolerance", POINT, rates(0.21, 0.2), True),
    World("errors: just the tolerance, in outages of both", POINT, rates(OUTAGES + 0.01, OUTAGES), True),
    World("cost: as much", FIFTH, amounts(1.0), True),
    World("cost: a fifth more, just the tolerance", FIFTH, amounts(1.2), True),
    World("slower than the usual p95 as often as the incumbent", TAIL, rates(0.05, 0.05), True),
    World("errors: 3% and 1%", POINT, rates(0.03, 0.01), False),
    World("errors: 5% and 1%", POINT, rates(0.05, 0.01), False),
    World("errors: 10% and 1%", POINT, rates(0.1, 0.01), False),
    World("errors: 50% and 1%", POINT, rates(0.5, 0.01), False),
    World("cost: 1.4 times", FIFTH, amounts(1.4), False),
    World("slower than the usual p95 twice as often", TAIL, rates(0.1, 0.05), False),
    World("slower than the usual p95 four times as often", TAIL, rates(0.2, 0.05), False),
    World(
        f"errors: 1%, and 20% after {LATE} pairs",
        POINT,
        rates(np.where(np.arange(PAIRS) < LATE, 0.01, 0.2), 0.01),
        False,
        LATE,
    ),
)


def found_at(world: World, rng: np.random.Generator, *, by_hours: bool = True) -> int | None:
    """The pair after which a run finds the policy worse, or None."""
    candidate, incumbent = (
        np.minimum(np.floor(each * GRAIN + rng.random(PAIRS)), GRAIN) / GRAIN for each in world.draw(rng)
    )
    contrast = world.contrast
    lowest = min(
        contrast.candidate * c + contrast.incumbent * i + contrast.offset for c in (0, 1) for i in (0, 1)
    )
    worse_by = contrast.candidate * candidate + contrast.incumbent * incumbent + contrast.offset
    gains = np.log1p(np.asarray(SHARES)[:, None] * worse_by / -lowest)
    above = _evidence(np.cumsum(gains, axis=1)) >= tripping_nats(LEVEL)
    if by_hours:
        each_hour = np.cumsum(gains.reshape(len(SHARES), -1, HOUR), axis=2).reshape(len(SHARES), -1)
        lines = np.repeat([tripping_nats(LEVEL, hour) for hour in range(1, PAIRS // HOUR + 1)], HOUR)
        above |= _evidence(each_hour) >= lines
    return int(np.argmax(above)) + 1 if above.any() else None


def _evidence(gains: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.logaddexp.reduce(gains, axis=0) - np.log(len(SHARES)))


def measured(seeds: int) -> Iterator[dict[str, Any]]:
    """A row for each world, and for the last one also without the tests of single hours."""
    for world in WORLDS:
        for by_hours in (True, False) if world.starts else (True,):
            ends = [found_at(world, np.random.default_rng(seed), by_hours=by_hours) for seed in range(seeds)]
            after = sorted(end - world.starts for end in ends if end is not None)
            yield {
                "world": world.name + ("" if by_hours else ", without tests of single hours"),
                "no_worse": world.is_no_worse,
                "runs": seeds,
                "found_worse": len(after),
                "median_pair": after[len(after) // 2] if after else None,
                "slowest_tenth": after[9 * len(after) // 10] if after else None,
            }


def report(rows: list[dict[str, Any]], origin: str) -> str:
    """The page."""
    no_worse = [row for row in rows if row["no_worse"]]
    worse = [row for row in rows if not row["no_worse"]]
    most = max(row["found_worse"] / row["runs"] for row in no_worse)
    told = (
        f"Level {LEVEL}, {PAIRS:,} pairs in each run, looked at after every pair; an hour has {HOUR} pairs. "
        f"{origin}."
    )
    allowed = (
        f"Of policies that are no worse, at most {LEVEL:.0%} may be found worse. The most found in a world "
        f"are {most:.2%}:"
    )
    return "\n".join(
        [
            "# Guardrails",
            "",
            told,
            "",
            allowed,
            "",
            *table(
                ["policy and incumbent", "runs", "found worse"],
                [
                    [row["world"], f"{row['runs']:,}", f"{row['found_worse'] / row['runs']:.2%}"]
                    for row in no_worse
                ],
            ),
            "",
            "Policies that are worse, and how many pairs after they got worse this is found:",
            "",
            *table(
                ["policy and incumbent", "found", "median", "9 in 10 within"],
                [
                    [
                        row["world"],
                        f"{row['found_worse'] / row['runs']:.1%}",
                        f"{row['median_pair']:,}" if row["median_pair"] is not None else "-",
                        f"{row['slowest_tenth']:,}" if row["slowest_tenth"] is not None else "-",
                    ]
                    for row in worse
                ],
            ),
            "",
        ]
    )


def main() -> None:
    """Measure, and write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=2_000)
    seeds = parser.parse_args().seeds
    rows = list(measured(seeds))
    command = f"python benchmarks/guardrails.py --seeds {seeds}"
    save("guardrails", command, rows, lambda origin: report(rows, origin))


if __name__ == "__main__":
    main()
