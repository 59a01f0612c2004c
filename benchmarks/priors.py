"""Comparisons to a decision where a judge's comparisons inform the forecasts, over those without a judge.

    python -m benchmarks.priors [--seeds 100] [--large] [--only WORLD ...]

With --large also the worlds that take an hour. Writes benchmarks/results/priors.json and .md. The judge
compared every pair 100 times beforehand, and agrees with the users about a share of the pairs. All rows of a
world meet the same outcomes: the n-th comparison of two policies has the same outcome in a run, whenever it
comes. So ratios are of paired runs.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

from benchmarks.forecast_sides import coupled
from benchmarks.identification import BUDGET, DELTA, clear_worlds
from benchmarks.identification import ROOT as PROJECT
from benchmarks.reporting import mean_and_error, save, table
from gateway.llm_po.lab.judges import SimulatedJudge
from gateway.llm_po.lab.simulate import Trial
from gateway.llm_po.lab.world_files import load_world
from gateway.llm_po.lab.worlds import World
from gateway.llm_po.wins import FloatArray

CLEAR = ("bt-2", "bt-5")
REAL = ("pandalm_human_5",)
LARGE_CLEAR = ("bt-16-linear",)
LARGE_REAL = ("arxiv_rankers_6",)
JUDGES = (
    SimulatedJudge(0.7),
    SimulatedJudge(0.8),
    SimulatedJudge(0.9),
    SimulatedJudge(1.0),
    SimulatedJudge(0.8, errs="close"),
    SimulatedJudge(0.3),
)


def known_worlds(*, is_large: bool) -> list[World]:
    """The worlds, in the order of the report."""
    folder = PROJECT / "tests" / "data" / "worlds"
    names = (*CLEAR, *LARGE_CLEAR) if is_large else CLEAR
    files = (*REAL, *LARGE_REAL) if is_large else REAL
    clear = [world for world in clear_worlds() if world.name in names]
    return [*clear, *(load_world(folder / f"{name}.json") for name in files)]


def rows(world: World, seeds: int) -> list[dict[str, Any]]:
    """The rows of a world: without a judge, and with each."""
    trial = Trial(world, delta=DELTA, max_comparisons=BUDGET)
    alone, wrong = coupled(trial, seeds)
    found = [_row(world, None, alone, alone, wrong)]
    for judge in JUDGES:
        informed, wrong = coupled(replace(trial, judges=(judge,)), seeds)
        found.append(_row(world, judge, informed, alone, wrong))
    return found


def _row(
    world: World, judge: SimulatedJudge | None, comparisons: FloatArray, alone: FloatArray, wrong: int
) -> dict[str, Any]:
    mean, error = mean_and_error(comparisons)
    ratio = float(comparisons.mean() / alone.mean())
    return {
        "world": world.name,
        "policies": world.policies,
        "agreement": None if judge is None else judge.agreement,
        "errs": None if judge is None else judge.errs,
        "runs": comparisons.size,
        "comparisons": mean,
        "stderr": error,
        "ratio": ratio,
        "ratio_stderr": mean_and_error(comparisons - ratio * alone)[1] / float(alone.mean()),
        "wrong": wrong,
    }


def cells(found: dict[str, Any]) -> list[str]:
    """The cells of one row."""
    agrees = "no judge" if found["agreement"] is None else f"{found['agreement']:.0%} ({found['errs']})"
    ratio = "" if found["agreement"] is None else f"{found['ratio']:.2f} ± {found['ratio_stderr']:.2f}"
    counted = f"{found['comparisons']:.0f} ± {found['stderr']:.0f}"
    return [
        found["world"],
        str(found["policies"]),
        agrees,
        counted,
        ratio,
        f"{found['wrong']} of {found['runs']}",
    ]


def page(found: list[dict[str, Any]], origin: str) -> str:
    """The Markdown page."""
    headings = ["world", "K", "judge agrees about", "comparisons", "over no judge", "wrong"]
    return "\n".join(
        [
            "# What a judge saves that only informs",
            "",
            f"{origin}. Comparisons of users to a decision (winner, delta = {DELTA}), mean ± standard error.",
            "The judge compared every pair 100 times beforehand. It agrees with the users about this",
            "share of the pairs: `anywhere`, it prefers the policies of the other pairs with one minus the",
            "users' probability, however clear it is; `close`, its logits are the users' and noise.",
            "",
            *table(headings, [cells(each) for each in found]),
            "",
        ]
    )


def main() -> None:
    """Run every world and write both files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--large", action="store_true", help="also the worlds that take an hour")
    parser.add_argument("--only", nargs="*", help="worlds to run; writes nothing")
    options = parser.parse_args()
    found = []
    for world in known_worlds(is_large=options.large or bool(options.only)):
        if not options.only or world.name in options.only:
            for row in rows(world, options.seeds):
                found.append(row)
                print(*cells(row), sep=" | ", flush=True)
    if not options.only:
        large = " --large" if options.large else ""
        command = f"python -m benchmarks.priors --seeds {options.seeds}{large}"
        save("priors", command, found, lambda origin: page(found, origin))


if __name__ == "__main__":
    main()
