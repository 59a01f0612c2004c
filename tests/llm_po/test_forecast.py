"""Forecasts assume what their bets need to be true, and come without draws from the same posterior."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.llm_po.bradley_terry import Fit, fit, logistic
from gateway.llm_po.draws import draw_pairs
from gateway.llm_po.forecast import forecasts

WINS = np.array([[0, 4, 9, 0], [3, 0, 6, 1], [2, 5, 0, 1], [0, 0, 0, 0]])
DRAWS = 40_000


@pytest.fixture(scope="module")
def fitted() -> Fit:
    """The posterior after some thirty comparisons of four policies."""
    return fit(WINS[None])


def _drawn(fitted: Fit) -> np.ndarray:
    return draw_pairs(fitted, DRAWS, np.random.default_rng(1)).logits()[0]


@pytest.mark.parametrize("epsilon", [0.0, 0.02, 0.2])
def test_bet_on_a_pair_alone_assumes_that_the_policy_is_behind(fitted: Fit, epsilon: float) -> None:
    """Each side's forecast is the mean over the draws in which its hypothesis is wrong."""
    q = forecasts(fitted, epsilon, over_rivals=False)[0]
    chance = logistic(_drawn(fitted))

    for j, k in zip(*np.nonzero(~np.eye(4, dtype=bool)), strict=True):
        draws = chance[:, j, k]
        assert q[j, k] == pytest.approx(draws[draws < 0.5 + epsilon].mean(), abs=0.006)
    assert (q + q.T < 1 + 2 * epsilon).all()


def test_bet_over_rivals_assumes_that_the_policy_is_not_the_best(fitted: Fit) -> None:
    """The forecast is near the mean over draws in which a rival is ahead, but needs no draws."""
    q = forecasts(fitted, 0.0, over_rivals=True)[0]
    logits = _drawn(fitted)
    is_best = (logits + 9 * np.eye(4) > 0).all(axis=2)

    for j, k in zip(*np.nonzero(~np.eye(4, dtype=bool)), strict=True):
        chance = logistic(logits[:, j, k])
        assert q[j, k] == pytest.approx(chance[~is_best[:, j]].mean(), abs=0.025)


def test_of_two_policies_both_bets_are_the_same() -> None:
    """A policy that is not the best of two is behind the other one."""
    two = fit(np.array([[[0, 7], [5, 0]]]))

    pair, rivals = (forecasts(two, 0.0, over_rivals=each) for each in (False, True))

    assert (pair[0, 0, 1], pair[0, 1, 0]) == pytest.approx((rivals[0, 0, 1], rivals[0, 1, 0]), abs=0.003)


def test_policy_that_cannot_be_the_best_is_forecast_by_the_posterior_mean() -> None:
    """Nothing is assumed of it that is not known anyway."""
    wins = np.array([[[0, 400, 400], [100, 0, 300], [100, 200, 0]]])
    fitted = fit(wins)

    q = forecasts(fitted, 0.0, over_rivals=True)[0]

    assert q[1, 2] == pytest.approx(logistic(_drawn(fitted))[:, 1, 2].mean(), abs=0.003)


@pytest.mark.parametrize("over_rivals", [False, True])
def test_forecasts_are_numbers_after_any_counts(over_rivals: bool) -> None:
    """If a bet's assumption is very unlikely, the bet is close to nothing."""
    wins = np.array([[[0, 10**7, 0], [0, 0, 10**7], [10**7, 0, 0]], np.zeros((3, 3), dtype=np.int64)])
    sure = np.array([[[0, 10**7], [10, 0]]])

    assert np.isfinite(forecasts(fit(wins), 0.0, over_rivals=over_rivals)).all()
    assert forecasts(fit(sure), 0.0, over_rivals=over_rivals)[0, 0, 1] > 0.49
