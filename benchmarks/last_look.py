"""How many more experiments a last look decides, and how often they are wrong.

    python -m benchmarks.last_look [--seeds 3000] [--only WORLD ...]

Writes benchmarks/results/last_look.json and .md. Every case runs with and without the look, with the same
outcomes: only what happens at the end of the budget differs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np

from benchmarks.reporting import run_cases, table
from gateway.llm_po.lab import worlds
from gateway.llm_po.lab.simulate import Trial, simulate
from gateway.llm_po.lab.worlds import World

DELTA: Final = 0.05
MARGIN: Final = 0.02
SEED: Final = 5
BEST: Final = {"epsilon": MARGIN, "promise": "no_worse_than_best"}
ANY: Final = {"epsilon": MARGIN}


@dataclass(frozen=True, slots=True)
class Case:
    """A world with what is promised and a budget, and whether it is made to be decided wrongly."""

    trial: Trial
    is_hard: bool


def _ahead(policies: int, lead: float) -> World:
    """One policy preferred to every other with the probability given; the others are equals."""
    preferences = np.full((policies, policies), 0.5)
    preferences[0, 1:], preferences[1:, 0] = lead, 1 - lead
    return worlds.named(f"{policies} policies, one ahead by {lead:g}", preferences)


def _case(world: World, budget: int | None = None, *, is_hard: bool = False, **promised: Any) -> Case:
    """A case with a budget of one T, or the one given."""
    trial = Trial(world, delta=DELTA, **promised)
    trial = replace(trial, max_comparisons=round(trial.yardstick) if budget is None else budget)
    return Case(trial, is_hard)


def cases() -> list[Case]:
    """The cases: first those with something to find, then the hard ones."""
    five = worlds.bradley_terry("bt-5", [0.8, 0.3, 0.1, -0.2, -1.0])
    circle = worlds.cycle("circle of 3 at .55", 3, 0.55)
    return [
        *(_case(_ahead(2, lead)) for lead in (0.6, 0.55)),
        _case(five),
        *(_case(each, **promised) for each in (_ahead(2, 0.6), five) for promised in (ANY, BEST)),
        _case(_ahead(2, 0.5005), 300, is_hard=True),
        _case(_ahead(3, 0.5005), 300, is_hard=True),
        *(_case(_ahead(policies, 0.5205), 300, is_hard=True, **ANY) for policies in (2, 3)),
        *(_case(_ahead(policies, 0.5205), 300, is_hard=True, **BEST) for policies in (2, 3)),
        _case(circle, 300, is_hard=True, **ANY),
    ]


def row(case: Case, seeds: int) -> dict[str, Any]:
    """One row of the report."""
    found = [simulate(replace(case.trial, last_look=look), seeds, SEED) for look in (False, True)]
    promise = case.trial.promise if case.trial.epsilon else "winner"
    return {
        "world": case.trial.world.name,
        "promise": promise,
        "is_hard": case.is_hard,
        "budget": case.trial.max_comparisons,
        "runs": seeds,
        "decided": [seeds - each.outcomes["inconclusive"] for each in found],
        "wrong": [each.wrong for each in found],
    }


def cells(found: dict[str, Any]) -> list[str]:
    """The cells of one row."""
    shares = [_share(count, found["runs"]) for name in ("decided", "wrong") for count in found[name]]
    return [found["world"], found["promise"].replace("_", " "), str(found["budget"]), *shares]


def _share(count: int, runs: int) -> str:
    share = count / runs
    return f"{100 * share:.1f} ± {100 * math.sqrt(share * (1 - share) / runs):.1f} %"


def page(rows: list[dict[str, Any]], origin: str) -> str:
    """The Markdown page."""
    ends = ["decided, without", "with", "wrong, without", "with"]
    headings = ["world", "promise", "budget", *ends]
    easy, hard = ([each for each in rows if each["is_hard"] is kind] for kind in (False, True))
    return "\n".join(
        [
            "# The last look",
            "",
            f"{origin}. Share of {rows[0]['runs']:,} runs, ± its standard error; delta {DELTA},",
            f"margin {MARGIN} where there is one. With and without the look the outcomes are the same.",
            "",
            "Something to find; the budget is one T = hardness x log(1/delta):",
            "",
            *table(headings, [cells(each) for each in easy]),
            "",
            "Made to be wrong (at most 5 % of the runs may be):",
            "",
            *table(headings, [cells(each) for each in hard]),
            "",
        ]
    )


def main() -> None:
    """Run every case and write both files."""
    work = [(case.trial.world.name, partial(row, case)) for case in cases()]
    run_cases("last_look", __doc__, 3_000, work, cells, page)


if __name__ == "__main__":
    main()
