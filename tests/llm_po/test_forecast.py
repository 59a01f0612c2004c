"""Forecasts assume what their bets need to be true, and come without draws from the same posterior."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gateway.llm_po import forecast
from gateway.llm_po.bradley_terry import Fit, fit, logistic
from gateway.llm_po.draws import draw_pairs, information_below
from gateway.llm_po.forecast import bets, expected_information
from gateway.llm_po.lab.worlds import bradley_terry

WINS = np.array([[0, 4, 9, 0], [3, 0, 6, 1], [2, 5, 0, 1], [0, 0, 0, 0]])
DRAWS = 40_000


@pytest.fixture(scope="module")
def fitted() -> Fit:
    """The posterior after some thirty comparisons of four policies."""
    return fit(WINS[None])


@pytest.fixture(scope="module")
def of_many() -> Fit:
    """The posterior of two runs after ten comparisons of each pair of twenty policies."""
    preferences = bradley_terry("b", np.linspace(0.5, -2.5, 20)).preferences
    won = np.triu(np.random.default_rng(20).binomial(10, preferences, (2, 20, 20)), 1)
    return fit(won + np.tril(10 - won.swapaxes(1, 2), -1))


def _drawn(fitted: Fit) -> np.ndarray:
    return draw_pairs(fitted, DRAWS, np.random.default_rng(1)).logits()[0]


@pytest.mark.parametrize("epsilon", [0.0, 0.02, 0.2])
def test_bet_on_a_pair_alone_assumes_that_the_policy_is_behind(fitted: Fit, epsilon: float) -> None:
    """Each side's forecast is the mean over the draws in which its hypothesis is wrong."""
    q = bets(fitted, epsilon, over_rivals=False).forecasts[0]
    chance = logistic(_drawn(fitted))

    for j, k in zip(*np.nonzero(~np.eye(4, dtype=bool)), strict=True):
        draws = chance[:, j, k]
        assert q[j, k] == pytest.approx(draws[draws < 0.5 + epsilon].mean(), abs=0.006)
    assert (q + q.T < 1 + 2 * epsilon).all()


def test_bet_over_rivals_assumes_that_the_policy_is_not_the_best(fitted: Fit) -> None:
    """The forecast is near the mean over draws in which a rival is ahead, but needs no draws."""
    q = bets(fitted, 0.0, over_rivals=True).forecasts[0]
    logits = _drawn(fitted)
    is_best = (logits + 9 * np.eye(4) > 0).all(axis=2)

    for j, k in zip(*np.nonzero(~np.eye(4, dtype=bool)), strict=True):
        chance = logistic(logits[:, j, k])
        assert q[j, k] == pytest.approx(chance[~is_best[:, j]].mean(), abs=0.025)


def test_of_two_policies_both_bets_are_the_same() -> None:
    """A policy that is not the best of two is behind the other one."""
    two = fit(np.array([[[0, 7], [5, 0]]]))

    pair, rivals = (bets(two, 0.0, over_rivals=each).forecasts for each in (False, True))

    assert (pair[0, 0, 1], pair[0, 1, 0]) == pytest.approx((rivals[0, 0, 1], rivals[0, 1, 0]), abs=0.003)


def test_policy_that_cannot_be_the_best_is_forecast_by_the_posterior_mean() -> None:
    """Nothing is assumed of it that is not known anyway."""
    wins = np.array([[[0, 400, 400], [100, 0, 300], [100, 200, 0]]])
    fitted = fit(wins)

    q = bets(fitted, 0.0, over_rivals=True).forecasts[0]

    assert q[1, 2] == pytest.approx(logistic(_drawn(fitted))[:, 1, 2].mean(), abs=0.003)


@pytest.mark.parametrize("over_rivals", [False, True])
def test_forecasts_are_numbers_after_any_counts(over_rivals: bool) -> None:
    """If a bet's assumption is very unlikely, the bet is close to nothing."""
    wins = np.array([[[0, 10**7, 0], [0, 0, 10**7], [10**7, 0, 0]], np.zeros((3, 3), dtype=np.int64)])
    sure = np.array([[[0, 10**7], [10, 0]]])

    assert np.isfinite(bets(fit(wins), 0.0, over_rivals=over_rivals).forecasts).all()
    assert bets(fit(sure), 0.0, over_rivals=over_rivals).forecasts[0, 0, 1] > 0.49


@pytest.mark.parametrize("over_rivals", [False, True])
def test_cells_left_out_change_no_forecast(
    of_many: Fit, over_rivals: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forecasts over the cells that matter are those over all, also of pairs that are hardly behind."""
    found = bets(of_many, 0.02, over_rivals=over_rivals).forecasts
    assert (of_many.weights.max(axis=0) < 1e-30).any(), "a cell must be unlikely enough to be left out"

    monkeypatch.setattr(forecast, "_NEGLIGIBLE_NATS", math.inf)

    assert found == pytest.approx(bets(of_many, 0.02, over_rivals=over_rivals).forecasts, rel=1e-12, abs=0)


def test_a_cell_far_less_likely_than_others_counts_where_those_leave_less_to_it() -> None:
    """Between policies known to differ, a forecast is that of the cell in which the loser may be ahead."""
    log_weights = np.log([[1e-30, 1.0]])
    near, far = np.full((2, 2), -0.5), np.full((2, 2), -20.0)

    assert forecast._that_matter(log_weights, np.stack([near, far])[None]).tolist() == [True, True]
    assert forecast._that_matter(log_weights, np.stack([near, near])[None]).tolist() == [False, True]


def test_expected_information_is_the_mean_over_all_nodes(of_many: Fit) -> None:
    """Pairs that no node can tell anything of are left out, which changes nothing."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(9)
    points = of_many.logits + np.multiply.outer(nodes, np.sqrt(of_many.logit_variance))
    told = np.tensordot(weights / weights.sum(), information_below(points, 0.52), 1)

    found = expected_information(of_many, 0.52)

    assert found == pytest.approx(np.einsum("rg,rgij->rij", of_many.weights, told), abs=1e-12)
    assert (found[:, ~np.eye(20, dtype=np.bool_)] == 0).any()


def test_chance_of_not_being_best_is_integrated_over_what_rivals_share(of_many: Fit) -> None:
    """The odds of being behind, moved by each node, give what logarithms of their sums give."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(9)
    behind = forecast._behind(of_many, 0.5)
    chance = np.clip(behind.chance, 1e-15, 1 - 1e-15)
    odds = math.sqrt(1 + math.pi / 8 * 1.702**2) * np.log((1 - chance) / chance)
    odds[:, np.arange(20), np.arange(20)] = np.inf
    best = [np.exp(-np.logaddexp(0.0, -odds - 1.702 * node).sum(axis=2)) for node in nodes]

    expected = 1 - np.tensordot(weights / weights.sum(), best, 1)
    assert behind.chance_not_best == pytest.approx(expected, abs=1e-12)
