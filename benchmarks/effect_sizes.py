"""Comparisons to a winner with more sizes of the pairs' own effects in the prior.

    python -m benchmarks.effect_sizes [--seeds 60] [--only WORLD ...]

Writes benchmarks/results/effect_sizes.json and .md. All priors meet the same outcomes: the n-th comparison of
two policies has the same outcome in a run, whenever it comes. So differences are paired. Every prior keeps
the cells without effects, and gives half of the probability to the sizes (docs/decisions/0012-forecasts.md).
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from benchmarks.forecast_sides import Coupled, coupled
from benchmarks.identification import BUDGET, DELTA, ROOT, clear_worlds, misfits
from benchmarks.reporting import mean_and_error, run_cases, table
from gateway.llm_po.bradley_terry import DEFAULT_SCALES, Scales
from gateway.llm_po.lab.simulate import Trial
from gateway.llm_po.lab.world_files import load_world
from gateway.llm_po.wins import FloatArray

WORLDS: Final = (
    "bt-5",
    "non-bt-8",
    "arxiv_rankers_6",
    "pandalm_human_5",
    "debian_leader_9",
)
WITHOUT_EFFECTS: Final = ((0.5, 0.0, 0.35), (0.12, 0.0, 0.15))


def with_sizes(sizes: dict[float, float]) -> Scales:
    """The grid with effects of some sizes, by their relative weights."""
    total = 2 * sum(sizes.values())
    return Scales.grid([*WITHOUT_EFFECTS, *((0.5, size, weight / total) for size, weight in sizes.items())])


def half_cauchy(sizes: tuple[float, ...], scale: float) -> dict[float, float]:
    """Sizes on a geometric grid, weighted by a half-Cauchy distribution."""
    return {size: size / (1 + (size / scale) ** 2) for size in sizes}


FINE: Final = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
PRIORS: Final = {
    "now": DEFAULT_SCALES,
    "four": with_sizes(dict.fromkeys((0.1, 0.25, 0.6, 1.5), 1.0)),
    "six": with_sizes(dict.fromkeys(FINE, 1.0)),
    "six, half-Cauchy": with_sizes(half_cauchy(FINE, 0.2)),
}


def taken(trial: Trial, seeds: int, scales: Scales) -> tuple[FloatArray, int]:
    """The comparisons of every run as multiples of T, and how many promoted wrongly."""

    def made(trial: Trial, runs: int, first: int) -> Coupled:
        batch = Coupled(trial, runs, first)
        batch._alone = batch._scales = scales  # noqa: SLF001 - all but the prior is as in every simulation
        return batch

    comparisons, wrong = coupled(trial, seeds, made)
    return comparisons / trial.yardstick, wrong


def row(trial: Trial, seeds: int) -> dict[str, Any]:
    """One row of the report."""
    found = {name: taken(trial, seeds, scales) for name, scales in PRIORS.items()}
    now = found["now"][0]
    return {
        "world": trial.world.name,
        "runs": seeds,
        "now": mean_and_error(now),
        "differences": {name: mean_and_error(found[name][0] - now) for name in PRIORS if name != "now"},
        "wrong": [wrong for _, wrong in found.values()],
    }


def cells(row: dict[str, Any]) -> list[str]:
    """The cells of one row."""
    differences = [f"{mean:+.3f} ± {spread:.3f}" for mean, spread in row["differences"].values()]
    wrong = f"{', '.join(map(str, row['wrong']))} of {row['runs']}"
    return [row["world"], f"{row['now'][0]:.2f} ± {row['now'][1]:.2f}", *differences, wrong]


def page(rows: list[dict[str, Any]], origin: str) -> str:
    """The Markdown page."""
    others = [name for name in PRIORS if name != "now"]
    sizes = [
        f"{name}: {', '.join(f'{size:g}' for size in PRIORS[name].effect_sd if size > 0)}" for name in PRIORS
    ]
    return "\n".join(
        [
            "# Sizes of the pairs' own effects",
            "",
            f"{origin}. Comparisons to a winner as multiples of T = hardness x log(1/delta), delta",
            f"{DELTA}: mean of runs ± standard error with the prior of today, and the differences of",
            f"others on the same outcomes. Sizes in logits: {'; '.join(sizes)}.",
            "",
            *table(["world", "now", *others, "wrong"], [cells(each) for each in rows]),
            "",
        ]
    )


def main() -> None:
    """Run every case and write both files."""
    known = {world.name: world for world in [*clear_worlds(), *misfits()]}
    folder = ROOT / "tests" / "data" / "worlds"
    chosen = [known[name] if name in known else load_world(folder / f"{name}.json") for name in WORLDS]
    work = [(world.name, partial(row, Trial(world, delta=DELTA, max_comparisons=BUDGET))) for world in chosen]
    run_cases("effect_sizes", __doc__, 60, work, cells, page)


if __name__ == "__main__":
    main()
