"""Correct selection against budget, and comparisons to a decision: 16 policies unstructured, 32 structured.

    python benchmarks/paper_tables.py [--seeds 500] [--policies 16 32] [--rule glr|glr-customary]
        [--processes N] [--state FILE] [--plan]

Writes benchmarks/results/paper_tables.json and .md. All methods sample until the same likelihood-ratio rule
stops them, so that only the choice of pairs differs.

The 16 policies have no structure. All methods stop by `glr`. Its customary threshold ignores the number of
rivals and sometimes stops by luck, so the proven threshold is the default. Ours also runs with its exact
rule. Families, by the logits of scores: `normal`: 0.7 times standard normal, the best at least 0.3 ahead;
`linear`: evenly from 0.5 to -2.5; `one close rival`: 0.3 behind, all others 1.5; `many close rivals`: all
others 0.4 behind.

32 policies, a grid of 4 models x 4 prompts x 2 temperatures whose effects add up: all methods stop by
`lr-mixture`. Families, by the effects of levels beyond the best: `mixed`: between -0.2 and -0.8; `linear`:
evenly down to -1.5; `one close rival`: -0.3 for the temperature, -1.2 for all else; `many close rivals`:
all -0.4.

With --state an interrupted run is resumed; --plan says how long it will take, from a few runs of each kind,
and stops.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from reporting import finished, options_of, plus_minus, save, table

from gateway.llm_po.glr import THRESHOLDS
from gateway.llm_po.lab import worlds
from gateway.llm_po.lab.simulate import METHODS, Summary, Trial, batches, run_batch
from gateway.llm_po.lab.worlds import World
from gateway.simulation.runner import Job

DELTA = 0.05
BUDGETS = {16: 30_000, 32: 60_000}  # a run undecided by then counts as this long
CHECKPOINTS = (100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000)
EXACT = "e-process"
STRUCTURED = "lr-mixture"
GRIDS = {  # effects of models, prompts, temperatures
    "mixed": ((0, -0.4, -0.7, -0.2), (0, -0.5, -0.3, -0.8), (0, -0.3)),
    "linear": ((0, -0.5, -1.0, -1.5), (0, -0.5, -1.0, -1.5), (0, -0.5)),
    "one close rival": ((0, -1.2, -1.2, -1.2), (0, -1.2, -1.2, -1.2), (0, -0.3)),
    "many close rivals": ((0, -0.4, -0.4, -0.4), (0, -0.4, -0.4, -0.4), (0, -0.4)),
}
AXES = ("model", "prompt", "temperature")
PLANNED = 4  # runs timed per job


def families(policies: int) -> list[World]:
    """The worlds of one size."""
    if policies == 32:
        return [_grid(name, effects) for name, effects in GRIDS.items()]
    scores = {
        "normal": _normal(policies),
        "linear": np.linspace(0.5, -2.5, policies),
        "one close rival": np.array([0.0, -0.3, *[-1.5] * (policies - 2)]),
        "many close rivals": np.array([0.0, *[-0.4] * (policies - 1)]),
    }
    return [worlds.bradley_terry(f"{policies}, {name}", values) for name, values in scores.items()]


def _grid(name: str, effects: tuple[tuple[float, ...], ...]) -> World:
    levels = [{f"level {index}": effect for index, effect in enumerate(axis)} for axis in effects]
    return worlds.grid(f"32, {name}", dict(zip(AXES, levels, strict=True)))


def _normal(policies: int) -> np.ndarray:
    scores = np.sort(np.random.default_rng(policies).normal(0, 0.7, policies))[::-1].copy()
    scores[0] = max(scores[0], scores[1] + 0.3)
    return scores


def jobs(sizes: list[int], seeds: int, rule: str) -> list[Job]:
    """Every method in every world, ours first; without a structure ours with both rules."""
    rules = {16: [("llm-po", EXACT), *((method, rule) for method in METHODS)]}
    rules[32] = [(method, STRUCTURED) for method in METHODS]
    return [
        Job(
            f"{world.name}, {method}, {stopping}",
            Trial(world, method, stopping, DELTA, max_comparisons=BUDGETS[size]),
            seeds,
            seed=1,
            budgets=CHECKPOINTS,
        )
        for size in sizes
        for world in families(size)
        for method, stopping in rules[size]
    ]


def row(job: Job, summary: Summary) -> dict[str, Any]:
    """One line of the report."""
    leads = np.array([ending.leads for ending in summary.endings], dtype=np.float64)
    return {
        **summary.to_json(),
        "policies": job.trial.world.policies,
        "median_comparisons": float(np.median([ending.comparisons for ending in summary.endings])),
        "selection": dict(zip(map(str, CHECKPOINTS), leads.mean(axis=0).tolist(), strict=True)),
    }


def report(rows: list[dict[str, Any]], origin: str) -> str:
    """The Markdown page."""
    lines = [
        "# Correct selection against budget, and comparisons to a decision",
        "",
        f"{origin}. {rows[0]['seeds']} runs each, means ± standard error, delta = {DELTA}; policies in",
        "random order in every run. Under a number of comparisons: share of the runs led by the best",
        f"policy then; a run that has stopped keeps what it promoted. Runs end undecided at {BUDGETS[16]:,}",
        f"comparisons (16 policies) and {BUDGETS[32]:,} (32). Leaders are read from one fit for all methods.",
        "With 32 policies the rule knows the structure for all methods, but only ours uses it to choose",
        "pairs.",
    ]
    for world in dict.fromkeys(each["world"] for each in rows):
        chosen = [each for each in rows if each["world"] == world]
        lines += ["", f"## {world} (T* = {chosen[0]['hardness']:.0f})", "", *_table(chosen)]
    return "\n".join(lines) + "\n"


def _table(rows: list[dict[str, Any]]) -> list[str]:
    ours = rows[0]["mean_comparisons"]
    headings = [
        "method, rule",
        *(f"{budget:,}" for budget in CHECKPOINTS),
        "comparisons",
        "of ours",
        "wrong",
        "undecided",
    ]
    return table(
        headings,
        [
            [
                f"{each['method']}, {each['stopping']}",
                *(f"{share:.0%}" for share in each["selection"].values()),
                plus_minus(each),
                f"{each['mean_comparisons'] / ours:.2f}",
                str(each["wrong"]),
                str(each["outcomes"]["inconclusive"]),
            ]
            for each in rows
        ],
    )


def plan(work: list[Job], processes: int) -> None:
    """Say how long the work will take: a few runs of each job, scaled to a batch and to all batches."""
    total = 0.0
    for job in work:
        whole = batches(job.trial, job.seeds)
        started = time.process_time()
        run_batch(job.trial, batches(job.trial, min(PLANNED, job.seeds))[0], job.seed, job.budgets)
        few = time.process_time() - started
        # A batch advances together: more runs cost far less than in proportion. Measured: the square root.
        seconds = few * sum((batch.runs / PLANNED) ** 0.5 for batch in whole)
        total += seconds
        print(f"{seconds:7.0f} s  {job.name} ({len(whole)} batches)", flush=True)
    print(
        f"{total / 60:.0f} minutes of processor time, about {total / processes / 60:.0f} on {processes} cores"
    )


def main() -> None:
    """Run every job and write both files."""
    parser = options_of(__doc__, 500)
    parser.add_argument("--policies", type=int, nargs="+", choices=sorted(BUDGETS), default=sorted(BUDGETS))
    parser.add_argument("--rule", choices=sorted(THRESHOLDS), default="glr", help="what stops 16")
    parser.add_argument("--plan", action="store_true", help="say how long it will take")
    options = parser.parse_args()
    work = jobs(options.policies, options.seeds, options.rule)
    if options.plan:
        plan(work, options.processes)
        return
    summaries = finished(work, options)
    rows = [row(job, summaries[job.name]) for job in work]
    sizes = " ".join(map(str, options.policies))
    command = (
        f"python benchmarks/paper_tables.py --seeds {options.seeds} --policies {sizes} --rule {options.rule}"
    )
    save("paper_tables", command, rows, lambda origin: report(rows, origin))


if __name__ == "__main__":
    main()
