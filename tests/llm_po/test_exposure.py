"""Exposure caps: the nearest mix that keeps them, whatever the plan wants."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from gateway.llm_po.errors import DesignError
from gateway.llm_po.evidence import Tally
from gateway.llm_po.exposure import Caps, Mix, answered, keeps, within_caps
from gateway.llm_po.lab.worlds import bradley_terry
from gateway.llm_po.plan import Design, plan
from gateway.llm_po.structured.features import one_hot

SCORES = (0.8, 0.3, 0.1, -0.2, -1.0)


def _mix(policies: int, seed: int, kept: float = 0.6) -> Mix:
    """Random shares of some random pairs."""
    rng = np.random.default_rng(seed)
    pairs = np.stack(np.triu_indices(policies, 1), axis=1)
    pairs = pairs[rng.random(len(pairs)) < kept]
    return Mix(pairs, rng.dirichlet(np.ones(len(pairs))))


def _caps(policies: int, seed: int) -> Caps:
    """Random caps on about half of the candidates, and something for the incumbent."""
    rng = np.random.default_rng([seed, 1])
    most = np.where(rng.random(policies) < 0.5, rng.uniform(0.01, 0.3, policies), 1.0)
    return Caps(int(rng.integers(policies)), tuple(most.tolist()), rng.uniform(0, 0.7), (1, 2)[seed % 2])


def _counted(each: int, epsilon: float = 0.0) -> tuple[Tally, Design]:
    """What is known after `each` comparisons of every pair that came out as expected, no evidence yet."""
    chance = bradley_terry("five", SCORES).preferences
    won = np.rint(each * np.triu(chance, 1)).astype(np.int64)
    wins = won + np.triu(each - won, 1).T
    nothing = np.zeros_like(wins)
    tally = Tally(wins, nothing, nothing, np.zeros(5, dtype=np.bool_), int(wins.sum()))
    return tally, Design(0.05, epsilon, 0, (1.0,) * 5)


@pytest.mark.parametrize("seed", range(12))
def test_caps_are_kept_whatever_was_planned(seed: int) -> None:
    """Every policy keeps its cap to the last digit that counts, and the mix sums to one."""
    planned, caps = _mix(6, seed), _caps(6, seed)

    found = within_caps(planned, _mix(6, seed + 100), caps)

    assert keeps(found, caps)
    assert found.probabilities.sum() == pytest.approx(1)
    assert 0 <= found.compared <= 1
    assert (found.probabilities > 0).all()
    assert answered(found, caps).sum() == pytest.approx(1 if caps.answers == 1 else 1 + found.compared)


@pytest.mark.parametrize("seed", range(8))
def test_projection_is_the_plan_times_one_factor_per_policy(seed: int) -> None:
    """The optimum's own equations: factors below 1 where a cap binds, 1 where it does not (Csiszar 1975)."""
    planned = _mix(6, seed, kept=2)
    caps = replace(_caps(6, seed), least=0.0)

    found = within_caps(planned, planned, caps)

    wanted = dict(zip(map(tuple, planned.pairs.tolist()), planned.probabilities, strict=True))
    of_plan = np.array([wanted[first, second] for first, second in found.pairs.tolist()])
    factors = np.log(found.compared * found.probabilities / of_plan)
    of_policies = np.zeros((len(found.pairs), 6))
    np.put_along_axis(of_policies, found.pairs, 1.0, axis=1)
    of_policies[:, caps.incumbent] = 0.0
    binds = np.isclose(answered(found, caps), caps.most, atol=1e-3)
    of_policies[:, ~binds] = 0.0
    terms = np.column_stack([of_policies, np.ones(len(factors))])
    multipliers, _, rank, _ = np.linalg.lstsq(terms, factors, rcond=None)
    assert terms @ multipliers == pytest.approx(factors, abs=2e-3)
    if rank == binds.sum() + 1:
        assert (multipliers[:6] <= 2e-3).all()


def test_projection_to_four_digits_will_do() -> None:
    """A solver that stops short of eight digits is no failure: what it found is rounded to keep the caps."""
    pairs = np.array([[0, 1], [0, 2], [0, 3], [0, 4], [1, 4]])
    logs = [-3.263796, -7.848763, -0.922186, -3.061271, -0.661862]
    planned = Mix(pairs, np.exp(logs) / np.exp(logs).sum())
    caps = Caps(1, (1.0, 1.0, 1.0, 0.05, 1.0))

    found = within_caps(planned, planned, caps)

    assert answered(found, caps)[3] == pytest.approx(0.05, abs=1e-4)
    assert found.compared > 0.99


def test_incumbent_alone_answers_what_the_pairs_in_question_cannot_fill() -> None:
    """Two policies left, one of which may answer a tenth: four fifths of the units are not compared."""
    left = Mix(np.array([[0, 1]]), np.array([1.0]))

    found = within_caps(left, left, Caps(0, (1.0, 0.1, 1.0)))

    assert found.pairs.tolist() == [[0, 1]]
    assert found.compared == pytest.approx(0.2, abs=1e-6)


@pytest.mark.parametrize(("answers", "compared"), [(1, 0.4), (2, 0.2)])
def test_incumbent_has_its_share_when_it_is_not_among_the_pairs(answers: int, compared: float) -> None:
    """Eliminated, it still answers what was promised: outside the comparison, unless a spare pair has it."""
    left = Mix(np.array([[1, 2]]), np.array([1.0]))

    caps = Caps(0, (1.0,) * 3, least=1 - compared, answers=answers)  # type: ignore[arg-type]
    found = within_caps(left, left, caps)

    assert found.compared == pytest.approx(compared, abs=1e-6)
    assert answered(found, caps)[0] == pytest.approx(1 - compared, abs=1e-6)


@pytest.mark.parametrize("epsilon", [0.0, 0.02])
@pytest.mark.parametrize("space", ["unstructured", "structured"])
def test_plan_keeps_its_caps_and_its_verdict(space: str, epsilon: float) -> None:
    """Caps change who is compared, and nothing that evidence says."""
    tally, design = _counted(12, epsilon)
    if space == "structured":
        design = replace(design, features=one_hot(5), stopping="lr-mixture")
    caps = Caps(0, (1.0, 0.1, 1.0, 0.05, 1.0))

    free = plan(tally, design, np.random.default_rng(1))
    bound = plan(tally, design, np.random.default_rng(1), caps=caps)

    assert not keeps(Mix(free.pairs, free.probabilities), caps)
    assert keeps(Mix(bound.pairs, bound.probabilities, bound.compared), caps)
    assert bound.verdict == free.verdict
    assert (bound.forecasts_millionths == free.forecasts_millionths).all()


def test_capped_favourite_leaves_the_other_comparisons_to_the_others() -> None:
    """If the best opponent of every loser is capped, the next best rival takes over."""
    tally, design = _counted(40)

    bound = plan(tally, design, np.random.default_rng(1), caps=Caps(1, (0.05, 1.0, 1.0, 1.0, 1.0)))

    assert bound.compared > 0.9
    assert (bound.pairs != 0).all(axis=1) @ bound.probabilities > 0.8


def test_caps_that_are_kept_anyway_change_nothing_and_load_nothing() -> None:
    """A clean interpreter imports no solver without caps or while the plan keeps them."""
    program = """
import sys
import numpy as np
from gateway.llm_po.exposure import Caps
from gateway.llm_po.plan import Design, Tally, plan
none = np.zeros((3, 3), dtype=np.int64)
tally, design = Tally(none, none, none, np.zeros(3, dtype=np.bool_), 0), Design(0.05, 0.02, 0, (1.0,) * 3)
free = plan(tally, design, np.random.default_rng(1))
bound = plan(tally, design, np.random.default_rng(1), caps=Caps(0, (1.0, 0.9, 0.9)))
assert (free.probabilities == bound.probabilities).all() and bound.compared == 1
print("cvxpy" in sys.modules)
plan(tally, design, np.random.default_rng(1), caps=Caps(0, (1.0, 0.1, 1.0)))
print("cvxpy" in sys.modules)
"""
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert printed.stdout.split() == ["False", "True"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"incumbent": 3}, "incumbent is 3"),
        ({"most": (1.0, 0.0, 1.0)}, "a share above 0"),
        ({"most": 0.5}, "most is 0.5"),
        ({"least": 1.1}, "from 0 to 1"),
        ({"answers": 3}, "one or both"),
    ],
)
def test_caps_that_are_none_are_refused(change: dict[str, object], message: str) -> None:
    """Every refusal names the value."""
    arguments = {"incumbent": 0, "most": (1.0, 0.5, 1.0), **change}
    with pytest.raises(DesignError, match=message):
        Caps(**arguments)  # type: ignore[arg-type]


def test_caps_of_other_policies_are_refused() -> None:
    """A plan for five policies takes caps for five."""
    tally, design = _counted(1)
    with pytest.raises(DesignError, match="caps for 3 policies"):
        plan(tally, design, np.random.default_rng(1), caps=Caps(0, (1.0, 0.5, 1.0)))
