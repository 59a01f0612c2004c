"""What slow feedback and drifting preferences cost: outcomes in flight, a plan every 50 comparisons.

    python benchmarks/delay.py [--seeds 200] [--processes N] [--state FILE]

Writes benchmarks/results/delay.json and .md. In the drifting world the scores change between two sets every
1,000 comparisons. The same policy is best in both sets, but in one of them its lead is less than half as
large.

With outcomes in flight an experiment starts blind: many comparisons are assigned before the first is counted.
No choice of pairs avoids this, so it is measured by itself, in runs that begin with as many comparisons from
one plan and go on without delay.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from reporting import finished, options_of, plus_minus, save, table

from gateway.llm_po.lab import worlds
from gateway.llm_po.lab.simulate import Trial
from gateway.llm_po.lab.worlds import World
from gateway.llm_po.lines import Promise
from gateway.simulation.runner import Job

DELTA = 0.05
MARGIN = 0.02
REFRESH_EVERY = 50
IN_FLIGHT = (0, 50, 200, 1_000)
BUDGET = 100_000


def cases() -> list[tuple[World, Promise | None]]:
    """Worlds with what is promised about them: the winner, or no worse with a margin."""
    five = [0.8, 0.3, 0.1, -0.2, -1.0]
    sixteen = worlds.bradley_terry("16 policies, linear", np.linspace(0.5, -2.5, 16))
    return [
        (worlds.bradley_terry("5 policies", five), None),
        (sixteen, None),
        (sixteen, "no_worse_than_any"),
        (sixteen, "no_worse_than_best"),
        (worlds.drifting("5 policies, drifting", five, [0.8, 0.0, 0.6, 0.4, -0.5], 1_000), None),
    ]


def jobs(world: World, promise: Promise | None, flying: int, seeds: int) -> Iterator[Job]:
    """Runs with outcomes in flight, and runs that only start as blind as those."""
    plain = Trial(world, delta=DELTA, max_comparisons=BUDGET, refresh_every=REFRESH_EVERY)
    trial = plain if promise is None else replace(plain, epsilon=MARGIN, promise=promise)
    name = f"{world.name}, {promise or 'winner'}, {flying}"
    yield Job(f"{name} in flight", replace(trial, in_flight=flying), seeds, seed=1)
    if flying:
        blind = replace(trial, blind_start=flying + REFRESH_EVERY)
        yield Job(f"{name} blind", blind, seeds, seed=1)


def delay(trial: Trial) -> dict[str, Any]:
    """What a row says of the delay that was simulated."""
    blind = trial.blind_start
    flying = blind - REFRESH_EVERY if blind else trial.in_flight
    return {"in_flight": flying, "is_blind_start": blind > 0}


def report(rows: list[dict[str, Any]], origin: str) -> str:
    """The Markdown page."""
    lines = [
        "# Slow feedback and drifting preferences",
        "",
        f"{origin}. {rows[0]['seeds']} runs each, mean comparisons ± standard error, those in flight at",
        f"the end included; delta = {DELTA}, exact rule, a new plan every {REFRESH_EVERY} comparisons.",
        "`of sum`: the mean divided by (mean without delay + outcomes in flight). `of blind start`: the mean",
        "divided by what the blind start alone explains, which is the mean of runs that begin with as many",
        "comparisons from one plan and go on without delay, + outcomes in flight.",
        "",
    ]
    body = []
    for row in rows:
        if row["is_blind_start"]:
            continue
        share, of_blind = (_share(row, rows, is_blind_start=is_blind) for is_blind in (False, True))
        body.append(
            [
                *(row["world"], promised(row), str(row["in_flight"])),
                *(plus_minus(row), f"{share:.2f}", f"{of_blind:.2f}", str(row["wrong"])),
            ]
        )
    columns = ["world", "promise", "in flight", "comparisons", "of sum", "of blind start", "wrong"]
    lines += table(columns, body)
    return "\n".join(lines) + "\n"


def promised(row: dict[str, Any]) -> str:
    """The promise in words."""
    return row["promise"].replace("_", " ") if row["epsilon"] else "winner"


def _share(row: dict[str, Any], rows: list[dict[str, Any]], *, is_blind_start: bool) -> float:
    """A row's mean over the runs without delay, those that start as blind or those that do not."""
    base = next(
        other["mean_comparisons"]
        for other in rows
        if (other["world"], promised(other)) == (row["world"], promised(row))
        and (other["is_blind_start"], other["in_flight"])
        == ((True, row["in_flight"]) if is_blind_start and row["in_flight"] else (False, 0))
    )
    return float(row["mean_comparisons"] / (base + row["in_flight"]))


def main() -> None:
    """Run every case and write both files."""
    options = options_of(__doc__, 200).parse_args()
    work = [
        job
        for world, promise in cases()
        for flying in IN_FLIGHT
        for job in jobs(world, promise, flying, options.seeds)
    ]
    summaries = finished(work, options)
    rows = [{**summaries[job.name].to_json(), **delay(job.trial)} for job in work]
    command = f"python benchmarks/delay.py --seeds {options.seeds}"
    save("delay", command, rows, lambda origin: report(rows, origin))


if __name__ == "__main__":
    main()
