"""Linear Bradley-Terry: the maximum is one, separated and unidentified designs are survived and named."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.llm_po.bradley_terry import differences, logistic
from gateway.llm_po.errors import FeatureError
from gateway.llm_po.structured.features import Features, Grid, one_hot
from gateway.llm_po.structured.linear import (
    constrained_fit,
    draw_scores,
    fit_structure,
    identified,
    is_separated,
)
from gateway.llm_po.wins import FloatArray, IntArray


def _grid() -> Features:
    return Grid({"model": "abcd", "prompt": "xyz"}).features()


def _counts(scores: FloatArray, each: int, seed: int) -> IntArray:
    """`each` comparisons of every pair, drawn at the given scores; shape (1, K, K)."""
    rng = np.random.default_rng(seed)
    won = np.triu(rng.binomial(each, logistic(differences(scores))), 1)
    return np.asarray(won + np.tril(each - won.T, -1))[None]


def _log_likelihood(wins: IntArray, scores: FloatArray) -> float:
    return float((wins * np.log(logistic(differences(scores)))).sum())


def test_gradient_vanishes_at_the_fit() -> None:
    """Finite differences of the likelihood in every direction are zero at the maximum."""
    features = _grid()
    wins = _counts(features.rows @ np.linspace(-0.5, 0.6, features.rows.shape[1]), 20, seed=1)
    found = fit_structure(wins, features)

    slopes = [
        _log_likelihood(wins, features.basis @ (found.theta[0] + step))
        - _log_likelihood(wins, features.basis @ (found.theta[0] - step))
        for step in 1e-4 * np.eye(features.rank)
    ]

    assert slopes == pytest.approx(np.zeros(features.rank), abs=1e-8)


def test_information_is_the_curvature_of_the_likelihood() -> None:
    """Second differences of the likelihood agree with the Fisher information (logit links: they are one)."""
    features = _grid()
    wins = _counts(np.linspace(0.5, -0.5, 12), 15, seed=2)
    found = fit_structure(wins, features)
    size = 1e-3

    for direction in np.random.default_rng(0).normal(size=(4, features.rank)):
        ahead, here, behind = (
            _log_likelihood(wins, features.basis @ (found.theta[0] + sign * size * direction))
            for sign in (1, 0, -1)
        )
        curvature = -(ahead - 2 * here + behind) / size**2
        assert curvature == pytest.approx(direction @ found.information[0] @ direction, rel=1e-5)


def test_two_policies_are_fitted_by_their_rate() -> None:
    """The maximum for one pair is the empirical log odds."""
    found = fit_structure(np.array([[[0, 30], [10, 0]]]), one_hot(2))

    assert found.scores[0, 0] - found.scores[0, 1] == pytest.approx(np.log(3), abs=1e-5)


def test_runs_side_by_side_are_fitted_as_if_alone() -> None:
    """Runs do not influence one another, and a warm start ends where a cold one does."""
    features = _grid()
    wins = np.concatenate([_counts(np.linspace(0.4, -0.4, 12), 4, seed=seed) for seed in range(3)])

    together = fit_structure(wins, features)
    warm = fit_structure(wins, features, start=fit_structure(wins // 2, features))

    for run in range(3):
        assert fit_structure(wins[run : run + 1], features).scores[0] == pytest.approx(
            together.scores[run], abs=1e-6
        )
    assert warm.scores == pytest.approx(together.scores, abs=1e-6)


def test_rescaled_features_give_the_same_fit() -> None:
    """Units of the features do not matter."""
    rows = np.random.default_rng(3).normal(size=(6, 2))
    wins = _counts(rows @ [0.5, -0.3], 10, seed=4)

    plain, scaled = (
        fit_structure(wins, Features(rows)),
        fit_structure(wins, Features(rows * [1000.0, 0.01] + 7)),
    )

    assert scaled.scores == pytest.approx(plain.scores, abs=1e-6)


def test_relabelling_relabels_the_fit() -> None:
    """Order of the policies carries no information."""
    features = _grid()
    order = np.random.default_rng(5).permutation(12)
    wins = _counts(np.linspace(0.4, -0.4, 12), 5, seed=6)

    moved = fit_structure(wins[:, order][:, :, order], features.relabelled(order))

    assert moved.scores[0] == pytest.approx(fit_structure(wins, features).scores[0, order], abs=1e-6)


def test_separated_design_stays_bounded_and_is_named() -> None:
    """A policy that won everything gets a large finite score, near the supremum of the likelihood."""
    wins = np.array([[[0, 40, 40], [0, 0, 25], [0, 15, 0]], [[0, 30, 33], [10, 0, 25], [7, 15, 0]]])

    found = fit_structure(wins, one_hot(3))

    assert is_separated(found, wins).tolist() == [True, False]
    assert np.abs(found.scores).max() < 20
    alone = fit_structure(np.array([[[0, 25], [15, 0]]]), one_hot(2)).log_likelihood[0]
    assert found.log_likelihood[0] == pytest.approx(alone, abs=1e-3)


def test_everything_separated_and_nothing_compared_are_survived() -> None:
    """A strict order in every comparison, and no comparison at all, both give finite fits."""
    strict = np.triu(np.full((8, 8), 500), 1)
    found = fit_structure(np.stack([strict, np.zeros_like(strict)]), one_hot(8))

    assert np.isfinite(found.scores).all()
    assert (np.diff(found.scores[0]) < 0).all()
    assert found.scores[1] == pytest.approx(np.zeros(8))


def test_pairs_are_identified_once_compared_policies_connect_them() -> None:
    """A chain identifies all pairs; two islands do so only if features connect them."""
    islands = np.zeros((1, 4, 4), dtype=np.int64)
    islands[0, 0, 1] = islands[0, 3, 2] = 5
    bridged = islands.copy()
    bridged[0, 1, 2] = 1

    alone = identified(islands, one_hot(4))[0]

    assert alone[0, 1]
    assert alone[2, 3]
    assert not alone[0, 2]
    assert not alone[1, 3]
    assert identified(bridged, one_hot(4)).all()
    assert identified(islands, Features(np.array([[0.0], [1.0], [2.0], [5.0]]))).all()


def test_unidentified_direction_stays_at_zero() -> None:
    """Islands never compared with each other are fitted with equal mean scores."""
    wins = np.zeros((1, 4, 4), dtype=np.int64)
    wins[0, 0, 1], wins[0, 1, 0], wins[0, 3, 2], wins[0, 2, 3] = 6, 3, 8, 2

    scores = fit_structure(wins, one_hot(4)).scores[0]

    assert scores[:2].sum() == pytest.approx(scores[2:].sum(), abs=1e-4)


def test_constrained_fit_is_the_best_on_its_hyperplane() -> None:
    """The constraint holds, and no nearby point that keeps it is more likely."""
    features = _grid()
    wins = _counts(np.linspace(0.6, -0.6, 12), 8, seed=7)
    free = fit_structure(wins, features)
    contrasts = (features.basis[0] - features.basis[1:])[None]

    held = constrained_fit(wins, features, contrasts, -0.1, free)

    assert held.theta.shape == (1, 11, features.rank)
    assert (contrasts * held.theta).sum(axis=2) == pytest.approx(np.full((1, 11), -0.1))
    rng = np.random.default_rng(8)
    for rival in range(11):
        normal = contrasts[0, rival]
        best = _log_likelihood(wins, features.basis @ held.theta[0, rival])
        assert best <= free.log_likelihood[0] + 1e-6
        for step in rng.normal(scale=0.05, size=(5, features.rank)):
            along = step - normal * (step @ normal) / (normal @ normal)
            assert _log_likelihood(wins, features.basis @ (held.theta[0, rival] + along)) < best


def test_draws_have_the_mean_and_spread_of_the_posterior() -> None:
    """Laplace draws have their mean at the mode and the inverse curvature as covariance."""
    features = Grid({"model": "abc", "prompt": "xy"}).features()
    wins = _counts(np.linspace(0.5, -0.5, 6), 10, seed=9)
    found = fit_structure(wins, features, precision=4.0)

    drawn = draw_scores(found, features, 20_000, np.random.default_rng(1))[0]

    expected = features.basis @ found.covariance[0] @ features.basis.T
    assert drawn.mean(axis=0) == pytest.approx(found.scores[0], abs=0.01)
    assert np.cov(drawn.T) == pytest.approx(expected, abs=0.002)


def test_counts_of_other_policies_are_refused() -> None:
    """Counts of three policies do not fit a description of four."""
    with pytest.raises(FeatureError, match="K = 3, the features 4"):
        fit_structure(np.zeros((1, 3, 3), dtype=np.int64), one_hot(4))
