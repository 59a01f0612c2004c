"""Where pairs differ in cost: the fast solver, the general one, and hardness as money per nat."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.llm_po.errors import SolverError
from gateway.llm_po.lab.reference import solve_structured
from gateway.llm_po.lab.trial import Trial
from gateway.llm_po.lab.worlds import bradley_terry, cycle, grid
from gateway.llm_po.structured.features import Features, Grid, one_hot
from gateway.llm_po.structured.solver import solve
from gateway.llm_po.unstructured import bernoulli_kl, no_worse_hardness, optimal_allocation
from gateway.llm_po.wins import FloatArray

GRID = Grid({"m": "abc", "p": "xy"}).features()
WORLD = bradley_terry("b", [0.9, 0.2, -0.1, -0.6])
REQUESTS = (20.0, 1.0, 3.0, 0.5)
PAIRS = np.add.outer(REQUESTS, REQUESTS)


@pytest.mark.parametrize("ridge", [0.0, 5.0])
@pytest.mark.parametrize("features", [one_hot(5), GRID], ids=["one-hot", "grid"])
@pytest.mark.parametrize("seed", range(3))
def test_general_solver_finds_the_same_optimum_under_costs(
    features: Features, ridge: float, seed: int
) -> None:
    """The objective agrees within 0.1 %, and spending per pair as closely as a flat optimum allows."""
    rng = np.random.default_rng(seed)
    scores = features.basis @ rng.normal(0, 1.5, features.rank)
    costs = _pair_costs(rng.uniform(0.1, 5, features.policies))

    expected, objective = solve_structured(scores, features, ridge, costs=costs)
    found = solve([scores], features, ridge=ridge, costs=costs, tolerance=1e-5)

    weights = np.triu(found.weights[0])
    assert found.worst[0] + ridge / 2 * (weights**2).sum() == pytest.approx(objective, rel=1e-3)
    assert (expected * costs).sum() == pytest.approx(1.0)
    assert weights * costs == pytest.approx(expected * costs, abs=0.03)


def test_general_solver_does_not_mind_the_unit() -> None:
    """Costs in millionths of the unit are a million times as large, and nothing else changes."""
    scores = [0.8, 0.3, 0.0, -0.5]

    weights, objective = solve_structured(scores, one_hot(4), costs=PAIRS)
    in_millionths, dearer = solve_structured(scores, one_hot(4), costs=PAIRS * 1e6)

    assert dearer == pytest.approx(objective * 1e6, rel=1e-4)
    assert in_millionths * 1e6 == pytest.approx(weights, abs=1e-4)


def test_general_solver_says_where_its_answers_cannot_be_trusted() -> None:
    """Preferences so extreme that it was seen to report wrong optima are refused."""
    with pytest.raises(SolverError, match=r"use the fast solver"):
        solve_structured([20.0, 0.0, -3.0], one_hot(3))


def test_no_worse_hardness_pays_for_every_rival() -> None:
    """Worked by hand: two policies, one pair, at what it costs."""
    equal = np.full((2, 2), 0.5)

    assert no_worse_hardness(equal, 0.1, np.full((2, 2), 7.0)) == pytest.approx(
        7 / float(bernoulli_kl(0.5, 0.6))
    )


def test_no_worse_hardness_takes_the_cheapest_to_certify() -> None:
    """Among equals it is the one whose comparisons cost least, whichever policy is expensive."""
    equal = np.full((3, 3), 0.5)
    costs = _pair_costs(np.array([1.0, 2.0, 50.0]))

    each = 1 / float(bernoulli_kl(0.5, 0.6))
    assert no_worse_hardness(equal, 0.1, costs) == pytest.approx((3 + 51) * each)


def test_hardness_of_a_trial_is_of_what_it_saves() -> None:
    """The objective `cost` counts money per nat, and costs alone change nothing."""
    plain, costed = Trial(WORLD), Trial(WORLD, costs=REQUESTS)
    saving = Trial(WORLD, costs=REQUESTS, objective="cost")

    assert costed.hardness == plain.hardness
    assert saving.hardness == optimal_allocation(WORLD.preferences, PAIRS).hardness


def test_hardness_of_a_trial_with_a_margin_is_of_cost_too() -> None:
    """The result is that of `no_worse_hardness`, even if no policy is best."""
    saving = Trial(WORLD, costs=REQUESTS, objective="cost", epsilon=0.05)
    cyclic = Trial(cycle("c", 3, 0.8), costs=(1.0, 2.0, 3.0), objective="cost", epsilon=0.02)

    assert saving.hardness == no_worse_hardness(WORLD.preferences, 0.05, PAIRS)
    assert cyclic.hardness == np.inf


def test_structured_hardness_of_a_trial_is_of_cost_too() -> None:
    """The result is the structured program's under costs, and never above that of ignoring costs."""
    world = grid("g", {"m": {"a": 0.0, "b": -0.5}, "p": {"x": 0.0, "y": -0.7}})
    saving = Trial(world, stopping="lr-mixture", costs=REQUESTS, objective="cost")
    plain = solve([world.scores], saving.features or one_hot(4), tolerance=1e-4)

    _, objective = solve_structured(world.scores, saving.features or one_hot(4), costs=PAIRS)
    ignoring = float(plain.hardness[0]) * float((plain.proportions[0] * PAIRS).sum() / 2)

    assert saving.hardness == pytest.approx(2 * objective, rel=2e-3)
    assert saving.hardness < ignoring


def _pair_costs(requests: FloatArray) -> FloatArray:
    return requests[:, None] + requests[None, :]
