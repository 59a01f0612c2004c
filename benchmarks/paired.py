"""What benchmarks share that run variants of the method on the same outcomes, world by world."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Final

import numpy as np

from benchmarks.identification import BUDGET, DELTA, MARGIN, ROOT, clear_worlds, misfits, near_ties
from benchmarks.reporting import case_options, mean_and_error, run_chosen, table
from gateway.llm_po.lab.simulate import Trial
from gateway.llm_po.lab.world_files import load_world
from gateway.llm_po.lab.worlds import World
from gateway.llm_po.wins import FloatArray

KINDS: Final = {
    "Bradley-Terry": ("bt-5", "bt-8-normal", "bt-16-normal"),
    "near ties": ("near-tie-2", "near-tie-5"),
    "far from Bradley-Terry": ("non-bt-8", "non-bt-16"),
    "real matrices": ("pandalm_human_5", "debian_leader_9", "arxiv_rankers_6", "wmt15_eng_fin_10"),
}

THAN_BEST: Final[dict[str, Any]] = {"epsilon": MARGIN, "promise": "no_worse_than_best"}

Taken = tuple[FloatArray, int]
"""The comparisons of every run as multiples of T, and how many promoted wrongly."""


def run_variants(
    stem: str,
    about: str | None,
    seeds: int,
    variants: Iterable[str],
    taken: Callable[[Trial, int, str], Taken],
) -> None:
    """Run every variant in every world and write both files; the first is what others are compared with.

    With the option `--best` every run promises no worse than the best, and the files are another pair.

    Args:
        stem: The name of the benchmark and of its results.
        about: What the command and the page say.
        seeds: How many runs each case has by default.
        variants: Their names.
        taken: What the runs of a trial take with a variant.
    """
    names = tuple(variants)
    parser = case_options(about, seeds)
    parser.add_argument("--best", action="store_true", help="promise no worse than the best")
    options = parser.parse_args()
    promised = THAN_BEST if options.best else {}

    def row(trial: Trial, seeds: int) -> dict[str, Any]:
        return _row(trial.world.name, {name: taken(trial, seeds, name) for name in names})

    work = [
        (world.name, partial(row, Trial(world, delta=DELTA, max_comparisons=BUDGET, **promised)))
        for world in _worlds()
    ]
    about = about or stem
    command = f"python -m benchmarks.{stem} {'--best ' if options.best else ''}--seeds {options.seeds}"
    run_chosen(
        f"{stem}_best" if options.best else stem,
        command,
        options,
        work,
        _cells,
        lambda rows, origin: _page(about, names, rows, origin, is_best=options.best),
    )


def _worlds() -> Iterator[World]:
    there = {world.name: world for world in [*clear_worlds(), *near_ties(), *misfits()]}
    for name in (name for names in KINDS.values() for name in names):
        yield there.get(name) or load_world(ROOT / "tests" / "data" / "worlds" / f"{name}.json")


def _row(world: str, found: dict[str, Taken]) -> dict[str, Any]:
    (_, (base, _)), *others = found.items()
    return {
        "world": world,
        "runs": base.size,
        "base": mean_and_error(base),
        "differences": {name: mean_and_error(multiples - base) for name, (multiples, _) in others},
        "wrong": [wrong for _, wrong in found.values()],
    }


def _cells(row: dict[str, Any]) -> list[str]:
    differences = [f"{mean:+.3f} ± {error:.3f}" for mean, error in row["differences"].values()]
    wrong = f"{', '.join(map(str, row['wrong']))} of {row['runs']}"
    return [row["world"], f"{row['base'][0]:.2f} ± {row['base'][1]:.2f}", *differences, wrong]


def _overall(rows: list[dict[str, Any]], worlds: tuple[str, ...], variant: str) -> str:
    """The geometric mean over worlds of what a variant takes of the first one's, and its error."""
    among = [row for row in rows if row["world"] in worlds]
    differences = np.array([row["differences"][variant] for row in among])
    before = np.array([row["base"][0] for row in among])
    shares = 1 + differences[:, 0] / before
    mean = float(np.exp(np.log(shares).mean()))
    error = mean * float(np.linalg.norm(differences[:, 1] / before / shares)) / len(among)
    return f"{mean:.3f} ± {error:.3f}"


def _multiples(rows: list[dict[str, Any]], worlds: tuple[str, ...], variant: str | None) -> str:
    """The geometric mean over worlds of the multiples of T."""
    chosen = [
        row["base"][0] + (row["differences"][variant][0] if variant else 0.0)
        for row in rows
        if row["world"] in worlds
    ]
    return f"{np.exp(np.mean(np.log(chosen))):.2f}"


def _page(
    about: str, names: tuple[str, ...], rows: list[dict[str, Any]], origin: str, *, is_best: bool
) -> str:
    first, *others = names
    title, _, rest = about.partition("\n")
    explained = rest.split("\n\n")[-1].strip()
    shares = [[kind, *(_overall(rows, worlds, name) for name in others)] for kind, worlds in KINDS.items()]
    means = [
        [kind, *(_multiples(rows, worlds, name) for name in (None, *others))]
        for kind, worlds in KINDS.items()
    ]
    heading = title.rstrip(".") + (", with a margin" if is_best else "")
    decision = f"a policy no worse than the best within {MARGIN}" if is_best else "a winner"
    return "\n".join(
        [
            f"# {heading}",
            "",
            f"{origin}. Comparisons to {decision} as multiples of T = hardness x log(1/delta), delta",
            f"{DELTA}: mean of runs ± standard error of `{first}`, and the differences of others on the same",
            f"outcomes. {explained}",
            "",
            *table(["world", first, *others, "wrong"], [_cells(each) for each in rows]),
            "",
            f"What each takes of the comparisons of `{first}`, geometric means over worlds:",
            "",
            *table(["worlds", *others], shares),
            "",
            "Multiples of T, geometric means over worlds:",
            "",
            *table(["worlds", first, *others], means),
            "",
        ]
    )
