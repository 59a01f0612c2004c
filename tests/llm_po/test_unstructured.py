"""The closed form of the unstructured space: golden values, an independent solver, invariances."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.llm_po.errors import NoChampionError, WorldError
from gateway.llm_po.lab import worlds
from gateway.llm_po.lab.reference import solve_allocation
from gateway.llm_po.lab.world_files import load_world, world_from_json
from gateway.llm_po.unstructured import (
    bernoulli_kl,
    checked_preferences,
    lower_bound,
    no_worse_hardness,
    optimal_allocation,
)
from gateway.llm_po.wins import FloatArray

DATA = Path(__file__).parent.parent / "data"
GOLDEN = json.loads((DATA / "golden_unstructured.json").read_text())


@pytest.mark.parametrize("case", GOLDEN, ids=[case["name"] for case in GOLDEN])
def test_golden_hardness_and_proportions(case: dict[str, object]) -> None:
    """Hardness and proportions agree with values worked out independently."""
    world = world_from_json(case["world"], "golden")

    allocation = optimal_allocation(world.preferences)

    assert allocation.champion == case["champion"]
    assert allocation.hardness == pytest.approx(case["hardness"], rel=2e-5)
    for pair, share in case["proportions"].items():
        loser, rival = map(int, pair.split("-"))
        assert allocation.proportions[loser, rival] == pytest.approx(share, abs=5e-5)


@pytest.mark.parametrize(
    ("name", "hardness"),
    [("arxiv_rankers_6", 681.0), ("wmt15_eng_fin_10", 178.6), ("pandalm_human_5", 52.3)],
)
def test_golden_hardness_of_real_matrices(name: str, hardness: float) -> None:
    """Real preference matrices have the hardness they are published with."""
    world = load_world(DATA / "worlds" / f"{name}.json")

    assert optimal_allocation(world.preferences).hardness == pytest.approx(hardness, abs=0.06)


@pytest.mark.parametrize("seed", range(6))
def test_closed_form_is_what_a_general_solver_finds(seed: int) -> None:
    """An independent convex solver reaches the same optimum."""
    preferences = _world_with_champion(4 + seed % 3, seed)

    closed, solved = optimal_allocation(preferences), solve_allocation(preferences)

    assert closed.champion == solved.champion
    assert closed.hardness == pytest.approx(solved.hardness, rel=1e-5)
    assert closed.proportions == pytest.approx(solved.proportions, abs=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_closed_form_with_costs_is_what_a_general_solver_finds(seed: int) -> None:
    """If pairs have different costs, the optimum buys the most evidence for the money."""
    preferences = _world_with_champion(5, seed)
    requests = np.random.default_rng(seed).uniform(0.2, 3, 5)
    costs = requests[:, None] + requests[None, :]

    closed, solved = optimal_allocation(preferences, costs), solve_allocation(preferences, costs)

    assert closed.hardness == pytest.approx(solved.hardness, rel=1e-5)
    assert closed.proportions == pytest.approx(solved.proportions, abs=1e-4)


def test_costs_that_are_all_the_same_change_nothing_but_the_unit() -> None:
    """Proportions stay; a nat costs that many times more."""
    preferences = _world_with_champion(6, 1)

    plain, dear = optimal_allocation(preferences), optimal_allocation(preferences, np.full((6, 6), 2.5))

    assert dear.proportions == pytest.approx(plain.proportions)
    assert dear.hardness == pytest.approx(2.5 * plain.hardness)


def test_a_dear_rival_is_not_worth_its_clarity() -> None:
    """If comparing 1 with 2 costs ten times as much, comparing 0 with 2 tells more for the money."""
    preferences = np.array([[0.5, 0.6, 0.7], [0.4, 0.5, 0.9], [0.3, 0.1, 0.5]])
    costs = np.array([[1.0, 1.0, 1.0], [1.0, 1.0, 10.0], [1.0, 10.0, 1.0]])

    plain, priced = optimal_allocation(preferences), optimal_allocation(preferences, costs)

    assert plain.proportions[2, 1] > 0
    assert priced.proportions[2, 1] == 0
    assert priced.hardness == pytest.approx(
        1 / float(bernoulli_kl(0.4, 0.5)) + 1 / float(bernoulli_kl(0.3, 0.5))
    )


@pytest.mark.parametrize(
    "costs",
    [np.ones((2, 2)), np.array([[1, 2, 1], [1, 1, 1], [1, 1, 1]]), np.zeros((3, 3)), np.full((3, 3), np.nan)],
)
def test_costs_that_cannot_be_are_refused(costs: FloatArray) -> None:
    """One positive cost for each pair, the same both ways."""
    preferences = np.array([[0.5, 0.6, 0.7], [0.4, 0.5, 0.9], [0.3, 0.1, 0.5]])

    with pytest.raises(WorldError, match="cost"):
        optimal_allocation(preferences, costs)


@given(st.integers(2, 9), st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_relabelling_policies_relabels_the_answer(policies: int, seed: int) -> None:
    """Names carry no information: permuting the policies permutes the proportions."""
    preferences = _world_with_champion(policies, seed)
    order = np.random.default_rng(seed + 1).permutation(policies)

    plain = optimal_allocation(preferences)
    moved = optimal_allocation(preferences[np.ix_(order, order)])

    assert order[moved.champion] == plain.champion
    assert moved.hardness == pytest.approx(plain.hardness)
    assert moved.proportions == pytest.approx(plain.proportions[np.ix_(order, order)])


@given(st.integers(2, 9), st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_proportions_lie_on_the_simplex_and_balance_the_evidence(policies: int, seed: int) -> None:
    """Shares are nonnegative, sum to one, and eliminate every loser at the same pace."""
    preferences = _world_with_champion(policies, seed)

    allocation = optimal_allocation(preferences)

    pace = (allocation.proportions * bernoulli_kl(preferences, 0.5)).sum(axis=1)
    losers = np.arange(policies) != allocation.champion
    assert (allocation.proportions >= 0).all()
    assert allocation.proportions.sum() == pytest.approx(1.0)
    assert pace[losers] == pytest.approx(1 / allocation.hardness)
    assert not allocation.proportions[allocation.champion].any()


def test_lower_bound_is_below_the_yardstick() -> None:
    """T* kl(delta, 1 - delta) stays below T* log(1/delta)."""
    assert lower_bound(100.0, 0.05) == pytest.approx(100 * (0.9 * math.log(19)))
    assert lower_bound(100.0, 0.05) < 100 * math.log(20)


def test_no_worse_hardness_counts_every_rival_of_the_cheapest_policy() -> None:
    """The hardness of two equals depends on the margin alone: 1 / kl(1/2, 1/2 + epsilon)."""
    equal = np.full((2, 2), 0.5)

    assert no_worse_hardness(equal, 0.1) == pytest.approx(1 / float(bernoulli_kl(0.5, 0.6)))
    assert no_worse_hardness(worlds.cycle("c", 3, 0.8).preferences, 0.02) == math.inf


def test_cycle_has_no_hardness() -> None:
    """If no policy beats all others there is no winner to identify, and the error says so."""
    with pytest.raises(NoChampionError, match="margin epsilon"):
        optimal_allocation(worlds.cycle("rock-paper-scissors", 3, 0.8).preferences)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ([[0.5]], "K >= 2"),
        ([[0.5, 0.6, 0.1], [0.4, 0.5, 0.2]], "shape"),
        ([[0.5, 0.6], [0.6, 0.5]], "add up to 1"),
        ([[0.5, math.nan], [0.4, 0.5]], "probabilities"),
        ([[0.5, 1.4], [-0.4, 0.5]], "probabilities"),
        ([["a", "b"], ["c", "d"]], "numeric"),
    ],
)
def test_what_is_no_preference_matrix_is_refused(matrix: list[list[float]], message: str) -> None:
    """A matrix that cannot be one of preferences is refused by what is wrong with it."""
    with pytest.raises(WorldError, match=message):
        checked_preferences(matrix)


def _world_with_champion(policies: int, seed: int) -> FloatArray:
    """A random matrix, far from Bradley-Terry, in which one policy beats all others."""
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.uniform(0.05, 0.95, (policies, policies)), 1)
    matrix = upper + np.tril(1 - upper.T, -1) + 0.5 * np.eye(policies)
    champion = int(rng.integers(policies))
    wins = rng.uniform(0.52, 0.9, policies)
    matrix[champion], matrix[:, champion] = wins, 1 - wins
    matrix[champion, champion] = 0.5
    return matrix
