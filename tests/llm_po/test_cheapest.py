"""The policy that is cheapest to certify is found as if every policy had been weighed."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.llm_po.bradley_terry import fit
from gateway.llm_po.cheapest import SMALLEST_NO_WORSE_PACE, cheapest_to_certify
from gateway.llm_po.draws import draw_pairs, information_below
from gateway.llm_po.lab import worlds
from gateway.llm_po.wins import FloatArray

RUNS, DRAWS = 4, 60


@pytest.mark.parametrize("elsewhere", [0.0, 0.01])
@pytest.mark.parametrize("each", [0, 3, 200])
@pytest.mark.parametrize(
    "preferences",
    [
        worlds.bradley_terry("b", np.linspace(0.6, -0.6, 6)).preferences,
        worlds.cycle("c", 3, 0.6).preferences,
        np.full((4, 4), 0.5),
        worlds.bradley_terry("b", np.linspace(0.3, -0.3, 14)).preferences,
        np.full((10, 10), 0.5),
    ],
    ids=["scores", "cycle", "equals", "many scores", "many equals"],
)
def test_no_policy_costs_less_than_the_one_found(
    preferences: FloatArray, each: int, elsewhere: float
) -> None:
    """Its cost is the least of all, and its column is the work that its rivals still need."""
    rng = np.random.default_rng(each)
    policies = len(preferences)
    upper = np.triu(rng.binomial(each, preferences, (RUNS, policies, policies)), 1)
    wins = upper + np.tril(each - upper.swapaxes(1, 2), -1)
    needed = np.maximum(rng.normal(2.0, 3.0, wins.shape), 0.0) * (1 - np.eye(policies))
    prices = rng.uniform(1.0, 2.0, (1, policies, policies))
    by_others = elsewhere * rng.random((RUNS, DRAWS, policies))
    drawn = draw_pairs(fit(wins), DRAWS, rng)

    chosen, work = cheapest_to_certify(drawn, needed, prices, 0.52, by_others)

    pace = np.maximum(information_below(drawn.logits(), 0.52), by_others[..., None])
    every = needed[:, None] / np.maximum(pace, SMALLEST_NO_WORSE_PACE)
    costs = (every * prices[:, None]).sum(axis=2)
    assert np.take_along_axis(costs, chosen[..., None], 2)[..., 0] == pytest.approx(costs.min(axis=2))
    assert work == pytest.approx(np.take_along_axis(every, chosen[..., None, None], 3)[..., 0])
