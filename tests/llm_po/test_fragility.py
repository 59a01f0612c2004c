"""The figures on a certificate: without any fewer comparisons, or voters, the decision is the same."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from gateway.llm_po.certificate import certificate
from gateway.llm_po.evidence import Ledger
from gateway.llm_po.fragility import Fragility, fragile_count
from gateway.llm_po.lab.worlds import bradley_terry
from gateway.llm_po.plan import Design, plan
from gateway.llm_po.stopping import qualified
from tests.llm_po.running import Line, play

BEST: dict[str, Any] = {"promise": "no_worse_than_best"}
CASES = [(0.0, {}), (0.02, {}), (0.02, BEST)]


@dataclass(frozen=True)
class Voted:
    """A logged comparison with voters."""

    number: int
    first: int
    second: int
    result: str
    probability_millionths: int
    second_millionths: int | None
    plan_version: int
    voters: tuple[str, ...]


def decided(epsilon: float, changes: dict[str, Any], seed: int) -> tuple[dict[str, Any], Design, list[Voted]]:
    """A finished run: its certificate, its design, and its log, in which few voters vote often."""
    world = bradley_terry("b", [1.2, 0.0, -0.4])
    design = Design(0.05, epsilon, 0, (0.0,) * 3, max_comparisons=3_000, **changes)
    ledger, log = play(world, design, seed=seed, most=4_000, ties=0.1)
    reached = plan(ledger.tally(), design, np.random.default_rng(0)).verdict
    assert reached is not None
    stored = certificate(reached, ledger.tally(), design, ledger.eliminated_at)
    rng = np.random.default_rng(seed)
    voted = [Voted(**_fields(line), voters=_voters(rng)) for line in log]
    return json.loads(json.dumps(stored)), design, voted


def _fields(line: Line) -> dict[str, Any]:
    names = ("number", "first", "second", "result", "probability_millionths", "plan_version")
    return {**{name: getattr(line, name) for name in names}, "second_millionths": line.second_millionths}


def _voters(rng: np.random.Generator) -> tuple[str, ...]:
    return tuple("" if each > 20 else f"v{each}" for each in rng.integers(0, 30, size=2))


def certifies(stored: dict[str, Any], design: Design, log: list[Voted]) -> bool:
    """Whether the rest of a log certifies the same champion."""
    ledger = Ledger(design.policies, design.delta, design.epsilon, design.promise)
    for line in log:
        forecast = line.probability_millionths if line.plan_version else None
        ledger.count(line.first, line.second, line.result, forecast, line.second_millionths)  # type: ignore[arg-type]
    tally = ledger.tally()
    if design.epsilon == 0:
        return all(tally.eliminated[rival] for rival in range(3) if rival != stored["champion"])
    return bool(qualified(tally, design)[stored["champion"]])


def found(stored: dict[str, Any], log: list[Voted]) -> Fragility:
    """The figures."""
    count = fragile_count(stored)
    assert count is not None
    for line in log:
        count.take(line)
    return count.found()


def lead(stored: dict[str, Any], log: list[Voted]) -> int:
    """How many more comparisons the champion won than it lost."""
    decisive = [line for line in log if line.result != "tie"]
    won = {"win": "first", "loss": "second"}
    return sum(
        (getattr(line, won[line.result]) == stored["champion"]) * 2 - 1
        for line in decisive
        if stored["champion"] in (line.first, line.second)
    )


@pytest.mark.parametrize(("epsilon", "changes"), CASES)
@pytest.mark.parametrize("seed", range(4))
def test_without_any_fewer_comparisons_the_champion_stands(
    epsilon: float, changes: dict[str, Any], seed: int
) -> None:
    """Whichever go: many choices of them, those with the most evidence among them, change nothing."""
    stored, design, log = decided(epsilon, changes, seed)
    least = found(stored, log).undecided
    assert least is not None
    fewest, voters = least.comparisons or 0, least.voters or 0
    assert 1 <= voters <= fewest
    rng = np.random.default_rng(seed)
    decisive = [line for line in log if line.result != "tie" and line.plan_version]
    for _ in range(20):
        gone = {decisive[each].number for each in rng.permutation(len(decisive))[: fewest - 1]}
        assert certifies(stored, design, [line for line in log if line.number not in gone])
    known = sorted({voter for line in log for voter in line.voters if voter})
    for _ in range(10):
        leaving = set(rng.permutation(known)[: voters - 1])
        assert certifies(stored, design, [line for line in log if not leaving & set(line.voters)])


@pytest.mark.parametrize("seed", range(4))
def test_without_any_fewer_the_champion_has_a_lead(seed: int) -> None:
    """So many wins less and it has none; fewer voters, whichever they are, leave it one."""
    stored, _, log = decided(0.02, {}, seed)
    least = found(stored, log).even
    assert least.comparisons == lead(stored, log) > 0
    known = sorted({voter for line in log for voter in line.voters if voter})
    rng = np.random.default_rng(seed)
    for _ in range(50):
        leaving = set(rng.permutation(known)[: (least.voters or 0) - 1])
        assert lead(stored, [line for line in log if not leaving & set(line.voters)]) > 0


def test_one_voter_with_all_the_votes_decides_alone() -> None:
    """The figure for voters says what the one for comparisons does not."""
    stored, _, log = decided(0.02, {}, 1)
    least = found(stored, [replace(line, voters=("ann", "ann")) for line in log]).even
    assert (least.comparisons or 0) > 5
    assert least.voters == 1


def test_unknown_voters_are_one_each() -> None:
    """Nobody can say that they are not."""
    stored, _, log = decided(0.02, {}, 1)
    least = found(stored, [replace(line, voters=("",)) for line in log]).even
    assert least.voters == least.comparisons


def test_without_a_champion_or_an_exact_rule_there_is_less_to_say() -> None:
    """Nothing is claimed of other decisions."""
    stored, _, log = decided(0.02, {}, 1)
    assert fragile_count({**stored, "outcome": "inconclusive", "champion": None}) is None
    assert found({**stored, "stopping": "lr-mixture"}, log).undecided is None
