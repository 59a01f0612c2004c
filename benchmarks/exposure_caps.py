"""What exposure caps cost: units to a decision with caps, divided by units without caps.

    python benchmarks/exposure_caps.py [--seeds 40]

Writes benchmarks/results/exposure_caps.json and .md. Every run asks `plan`, as a gateway does, after every
4 % of the units so far (at least five), and serves a block of units by the plan: a pair is compared, or
the incumbent answers alone. All units take part and one policy answers each, as with `matched`. A comparison
takes two units, so there are twice as many units as comparisons while all units are compared. Runs of a world
are paired: the same seed has the same order of policies under every cap.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from reporting import save, table

from gateway.llm_po.evidence import ComparisonResult, Ledgers
from gateway.llm_po.exposure import Caps, Mix, answered
from gateway.llm_po.lab import worlds
from gateway.llm_po.lab.worlds import World
from gateway.llm_po.plan import Design, Plan, plan

DELTA = 0.05
MOST_COMPARISONS = 20_000
SHARE = 0.04  # of the units so far, between two plans
FEWEST = 5  # comparisons between two plans
RESULTS: tuple[ComparisonResult, ...] = ("loss", "win")
BEST, SECOND, WORST = 0, 1, -1  # of a world's policies, which are listed from the best


@dataclass(frozen=True)
class Case:
    """Caps by a policy's rank, and which policy serves meanwhile."""

    name: str
    most: dict[int, float]
    incumbent: int = SECOND
    least: float = 0.0


CASES = (
    Case("none", {}),
    Case("the best: 10 %", {BEST: 0.10}),
    Case("the best: 5 %", {BEST: 0.05}),
    Case("the worst: 5 %", {WORST: 0.05}),
    Case("every candidate: 15 %", dict.fromkeys((0, 2, 3, 4), 0.15)),
    Case("none, the worst serves", {}, incumbent=WORST),
    Case("the worst serves: at least 40 %", {}, incumbent=WORST, least=0.4),
)


@dataclass(frozen=True)
class Run:
    """How one run ended; `shares` is what each policy answered, by rank."""

    comparisons: int
    units: float
    is_wrong: bool
    is_decided: bool
    shares: np.ndarray


def run(world: World, case: Case, epsilon: float, seed: int) -> Run:
    """One experiment, from nothing to its verdict."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(world.policies)  # order[i]: the world's number of policy i
    place = np.argsort(order)
    most = np.ones(world.policies)
    for rank, share in case.most.items():
        most[place[rank]] = share
    incumbent = int(place[case.incumbent])
    caps = Caps(incumbent, tuple(most.tolist()), case.least)
    design = Design(DELTA, epsilon, incumbent, (0.0,) * world.policies, MOST_COMPARISONS)
    ledgers = Ledgers(1, world.policies, DELTA, epsilon)
    shares, units, start = np.zeros(world.policies), 0.0, None
    while True:
        planned = plan(ledgers.tally(0), design, rng, start, None if case.name == "none" else caps)
        start = planned.next_start
        if planned.verdict is not None:
            break
        # Rounded at random: few comparisons of a block are a matter of chance, as its units are.
        block = max(FEWEST, SHARE * units / 2)
        mix = Mix(planned.pairs, planned.probabilities, planned.compared)
        shares += block * answered(mix, caps)
        units += 2 * block
        compared = int(block * planned.compared + rng.random())
        _count(ledgers, planned, world.preferences[np.ix_(order, order)], compared, rng)
    champion = planned.verdict.champion
    is_wrong = champion is not None and world.is_wrong(int(order[champion]), epsilon)
    by_rank = shares[place] / shares.sum()
    return Run(ledgers.comparisons, units, is_wrong, champion is not None, by_rank)


def _count(
    ledgers: Ledgers, planned: Plan, chances: np.ndarray, compared: int, rng: np.random.Generator
) -> None:
    """Comparisons as planned, their outcomes drawn and counted."""
    for index in rng.choice(len(planned.pairs), size=compared, p=planned.probabilities):
        first, second = planned.pairs[index]
        result = RESULTS[int(rng.random() < chances[first, second])]
        published = planned.forecasts_millionths
        sides = int(published[first, second]), int(published[second, first])
        ledgers.count(np.array([first]), np.array([second]), [result], [sides])


def row(world: World, case: Case, epsilon: float, runs: list[Run], free: list[Run]) -> dict[str, Any]:
    """A case against the same seeds without caps."""
    units, without = (np.array([each.units for each in some]) for some in (runs, free))
    ratio = units.mean() / without.mean()
    deviations = units - ratio * without
    return {
        "world": world.name,
        "epsilon": epsilon,
        "case": case.name,
        "seeds": len(runs),
        "mean_comparisons": float(np.mean([each.comparisons for each in runs])),
        "mean_units": float(units.mean()),
        "stderr_units": float(units.std(ddof=1) / len(runs) ** 0.5),
        "ratio": float(ratio),
        "ratio_stderr": float(deviations.std(ddof=1) / len(runs) ** 0.5 / without.mean()),
        "shares": np.mean([each.shares for each in runs], axis=0).tolist(),
        "largest_shares": np.max([each.shares for each in runs], axis=0).tolist(),
        "wrong": sum(each.is_wrong for each in runs),
        "undecided": sum(not each.is_decided for each in runs),
    }


def report(rows: list[dict[str, Any]], origin: str) -> str:
    """The Markdown page."""
    lines = [
        "# What exposure caps cost",
        "",
        f"{origin}. {rows[0]['seeds']} runs each, delta = {DELTA}, exact rule; five policies whose",
        "preferences follow Bradley-Terry, listed from the best. All units take part, and one policy answers",
        "each (`matched`). The second-best policy serves, unless another is named. `units`: mean ± standard",
        "error. `over none`: ratio to the mean without caps over the same seeds, with its standard error.",
        "`answered`: mean share of the units by policy, from the best to the worst. Without caps no policy",
        "answers more than half.",
        "",
    ]
    body = [
        [
            f"{each['world']}, epsilon {each['epsilon']:g}",
            each["case"],
            f"{each['mean_comparisons']:,.0f}",
            f"{each['mean_units']:,.0f} ± {each['stderr_units']:,.0f}",
            f"{each['ratio']:.2f} ± {each['ratio_stderr']:.2f}",
            " / ".join(f"{share:.0%}" for share in each["shares"]),
            f"{each['wrong']}, {each['undecided']}",
        ]
        for each in rows
    ]
    headings = ["world", "caps", "comparisons", "units", "over none", "answered", "wrong, undecided"]
    return "\n".join([*lines, *table(headings, body)]) + "\n"


def main() -> None:
    """Run every case and write both files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=40)
    options = parser.parse_args()
    world = worlds.bradley_terry("bt-5", [0.8, 0.3, 0.1, -0.2, -1.0])
    rows, started = [], time.monotonic()
    for epsilon in (0.0, 0.02):
        free: list[Run] = []
        for case in CASES:
            runs = [run(world, case, epsilon, seed) for seed in range(options.seeds)]
            free = free or runs
            rows.append(row(world, case, epsilon, runs, free))
            print(f"{time.monotonic() - started:.0f} s: epsilon {epsilon:g}, {case.name}", flush=True)
    command = f"python benchmarks/exposure_caps.py --seeds {options.seeds}"
    save("exposure_caps", command, rows, lambda origin: report(rows, origin))


if __name__ == "__main__":
    main()
