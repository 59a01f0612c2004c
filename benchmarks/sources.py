"""Votes to a decision with each source of comparisons: the table by which to choose sources.

    python -m benchmarks.sources [--seeds 100] [--only WORLD ...]

Writes benchmarks/results/sources.json and .md. Votes of users alone; votes with a judge, an offline run or
both informing the forecasts; and votes with implicit signals as evidence beside them. Rows in which only
votes are evidence meet the same votes: the n-th comparison of two policies has the same outcome in a run,
whenever it comes. So their ratios are of paired runs. A promotion is wrong if users' votes would, with
certainty, prefer another policy, whatever else was counted. Seed 1, in one process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import numpy as np

from benchmarks.forecast_sides import SEED, coupled
from benchmarks.identification import BUDGET, DELTA
from benchmarks.priors import known_worlds
from benchmarks.reporting import mean_and_error, run_cases, table
from gateway.experiments.source_standing import share_interval
from gateway.llm_po.lab.judges import SimulatedJudge
from gateway.llm_po.lab.simulate import Trial
from gateway.llm_po.lab.worlds import World
from gateway.llm_po.wins import FloatArray
from gateway.simulation.runner import Job, run_jobs

VOTES_A_DAY = 200
SIGNALS_A_DAY = 2_000
Z = 1.959964  # of a 95 % interval
RUN_PAIRS = 20  # comparisons of each pair in an offline run

# From how many runs to the comparisons of each, and how many promoted wrongly.
Runs = Callable[[int], tuple[FloatArray, int]]


@dataclass(frozen=True)
class Setting:
    """What counts, and what informs.

    Attributes:
        name: The row's name.
        judges: What informs forecasts.
        follows: With which probability an implicit signal prefers what the user's vote would, where both
            are evidence; None where only votes are.
    """

    name: str
    judges: tuple[SimulatedJudge, ...] = ()
    follows: float | None = None


OFFLINE = SimulatedJudge(0.9, per_pair=RUN_PAIRS)
SETTINGS = (
    Setting("votes alone"),
    *(
        Setting(
            f"votes; a judge informs, right about {agreement:.0%} of the pairs", (SimulatedJudge(agreement),)
        )
        for agreement in (0.7, 0.8, 0.9, 0.3)
    ),
    Setting("votes; an offline run informs, right about 90%", (OFFLINE,)),
    Setting("votes; a judge (80%) and an offline run (90%) inform", (SimulatedJudge(0.8), OFFLINE)),
    *(
        Setting(f"votes and implicit signals that follow votes in {follows:.0%}", follows=follows)
        for follows in (0.8, 0.6, 0.3)
    ),
)


def row(world: World, setting: Setting, alone: Runs, seeds: int) -> dict[str, Any]:
    """One row: comparisons until the decision, and what they are over votes alone."""
    (base, _), (taken, wrong) = alone(seeds), _runs(world, setting, alone)(seeds)
    a_day = VOTES_A_DAY + (SIGNALS_A_DAY if setting.follows else 0)
    votes = taken * (VOTES_A_DAY / a_day)
    ratio = float(votes.mean() / base.mean())
    return {
        "world": world.name,
        "policies": world.policies,
        "setting": setting.name,
        "runs": seeds,
        "comparisons": float(taken.mean()),
        "votes": float(votes.mean()),
        "votes_spread": Z * mean_and_error(votes)[1],
        "ratio": ratio,
        "ratio_spread": Z * _ratio_stderr(votes, base, ratio, is_paired=setting.follows is None),
        "days": float(taken.mean()) / a_day,
        "wrong": wrong,
        "wrong_at_most": share_interval(wrong, seeds)[1],
    }


def _runs(world: World, setting: Setting, alone: Runs) -> Runs:
    """The runs of a setting; those of votes alone serve every row of a world."""
    if setting == SETTINGS[0]:
        return alone
    return partial(_evidence_of_both if setting.follows else _votes, world, setting)


def _votes(world: World, setting: Setting, seeds: int) -> tuple[FloatArray, int]:
    """Comparisons of every run, and wrong promotions, where only votes are evidence."""
    return coupled(Trial(world, delta=DELTA, max_comparisons=BUDGET, judges=setting.judges), seeds)


def _evidence_of_both(world: World, setting: Setting, seeds: int) -> tuple[FloatArray, int]:
    """The same where implicit signals are evidence as well; wrong is what votes alone say is wrong."""
    follows, share = setting.follows or 0.0, VOTES_A_DAY / (VOTES_A_DAY + SIGNALS_A_DAY)
    signalled = follows * world.preferences + (1 - follows) * (1 - world.preferences)
    mixed = replace(world, preferences=share * world.preferences + (1 - share) * signalled)
    job = Job(setting.name, Trial(mixed, delta=DELTA, max_comparisons=BUDGET), seeds, SEED)
    endings = run_jobs([job], processes=1)[job.name].endings
    wrong = sum(ending.promoted is not None and world.is_wrong(ending.promoted, 0.0) for ending in endings)
    return np.array([ending.comparisons for ending in endings], dtype=np.float64), wrong


def _ratio_stderr(values: FloatArray, base: FloatArray, ratio: float, *, is_paired: bool) -> float:
    if is_paired:
        return mean_and_error(values - ratio * base)[1] / float(base.mean())
    errors = mean_and_error(values)[1], ratio * mean_and_error(base)[1]
    return float(np.hypot(*errors)) / float(base.mean())


def cells(found: dict[str, Any]) -> list[str]:
    """The cells of one row."""
    is_base = found["setting"] == SETTINGS[0].name
    return [
        found["world"],
        found["setting"],
        f"{found['votes']:,.0f} ± {found['votes_spread']:,.0f}",
        "" if is_base else f"{found['ratio']:.2f} ± {found['ratio_spread']:.2f}",
        f"{found['days']:.1f}",
        f"{found['wrong']} of {found['runs']} (at most {found['wrong_at_most']:.1%})",
    ]


def cases() -> Iterator[tuple[str, Callable[[int], dict[str, Any]]]]:
    """Every row, by the name of its world."""
    for world in known_worlds(is_large=False):
        alone = cache(partial(_votes, world, SETTINGS[0]))
        for setting in SETTINGS:
            yield world.name, partial(row, world, setting, alone)


def page(found: list[dict[str, Any]], origin: str) -> str:
    """The Markdown page."""
    headings = ["world", "what counts and informs", "votes", "over votes alone", "days", "wrong promotions"]
    return "\n".join(
        [
            "# What each source of comparisons is worth",
            "",
            f"{origin}, seed {SEED}. Votes of users until a decision (winner, delta = {DELTA}): mean with a",
            "95 % interval. `wrong` has the upper end of a 95 % interval. bt-2: two policies, one preferred",
            "in 60 %; bt-5: five, the best preferred to the second in 62 %; pandalm_human_5: five models, as",
            f"people judged them. Days are at {VOTES_A_DAY} votes and {SIGNALS_A_DAY:,} implicit signals a",
            "day, and votes are those among all that was counted.",
            "",
            *table(headings, [cells(each) for each in found]),
            "",
            "A judge that informs compared every pair 100 times beforehand, an offline run",
            f"{RUN_PAIRS} times. Each is right about a pair with the stated probability, and otherwise",
            "prefers the other policy",
            "as clearly as users prefer theirs. With 30% a judge is wrong about most pairs: that is what a",
            "misleading one costs. The bound on wrong promotions holds whatever informs, because forecasts",
            "may be anything ([proof](../../docs/proofs/informed-forecasts.md)).",
            "",
            "Implicit signals as evidence (`promote_on` with `implicit`, or not given) prefer what a user's",
            "vote would with the stated probability. The decision is then about what users say and do",
            "together. Signals that follow votes in less than half of the cases promote the policy that",
            "voters like least, whatever the confidence. So let them inform first (`promote_on:",
            "[explicit]`), and look at the console, which shows whether they agree with votes.",
            "",
        ]
    )


if __name__ == "__main__":
    run_cases("sources", __doc__, 100, cases(), cells, page)
