"""A run as production makes it: plan, compare, count, plan again; and the log it leaves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gateway.llm_po.evidence import ComparisonResult, Ledger
from gateway.llm_po.lab.worlds import World
from gateway.llm_po.plan import Design, Plan, plan


@dataclass(frozen=True)
class Line:
    """One line of a comparison log."""

    number: int
    first: int
    second: int
    result: ComparisonResult
    probability_millionths: int
    plan_version: int
    second_millionths: int | None = None


def play(
    world: World, design: Design, *, seed: int, most: int, ties: float = 0.0
) -> tuple[Ledger, list[Line]]:
    """Compare until a verdict or `most` comparisons; a share `ties` of them are ties."""
    rng = np.random.default_rng(seed)
    ledger, log = Ledger(world.policies, design.delta, design.epsilon, design.promise), list[Line]()
    for version in range(1, most + 1):
        made = plan(ledger.tally(), design, rng)
        if made.verdict is not None:
            break
        line = _compare(world, made, version, ties, rng)
        forecasts = line.probability_millionths, line.second_millionths
        ledger.count(line.first, line.second, line.result, *forecasts)
        log.append(line)
    return ledger, log


def _compare(world: World, made: Plan, version: int, ties: float, rng: np.random.Generator) -> Line:
    first, second = map(int, made.pairs[rng.choice(len(made.pairs), p=made.probabilities)])
    result: ComparisonResult = "win" if rng.random() < world.preferences[first, second] else "loss"
    if rng.random() < ties:
        result = "tie"
    q = made.forecasts_millionths
    return Line(version, first, second, result, int(q[first, second]), version, int(q[second, first]))
