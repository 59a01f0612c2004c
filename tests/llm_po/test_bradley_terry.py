"""The fit: a mode, symmetric under relabelling, that pools where Bradley-Terry holds and yields where not."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.llm_po.bradley_terry import DEFAULT_SCALES, Fit, Scales, differences, fit, logistic
from gateway.llm_po.draws import draw_pairs
from gateway.llm_po.forecast import chance_preferred
from gateway.llm_po.lab import worlds
from gateway.llm_po.wins import FloatArray, IntArray


def _counts(preferences: FloatArray, each: int, seed: int = 0) -> IntArray:
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.binomial(each, preferences), 1)
    played = np.triu(np.full(preferences.shape, each), 1)
    return np.asarray(upper + (played - upper).T, dtype=np.int64)[None]


def _log_posterior(wins: IntArray, score: FloatArray, effect: FloatArray, scales: Scales, cell: int) -> float:
    logits = differences(score) + effect
    value = -(wins[0] * np.logaddexp(0, -logits)).sum() - (score**2).sum() / 2 / scales.score_sd[cell] ** 2
    if scales.effect_sd[cell] > 0:
        value -= (effect**2).sum() / 4 / scales.effect_sd[cell] ** 2
    return float(value)


@pytest.mark.parametrize("cell", range(5))
def test_fit_is_the_mode_of_every_cell(cell: int) -> None:
    """No small move of scores or effects makes the posterior larger."""
    wins = _counts(worlds.cycle("c", 4, 0.7).preferences, 30)
    fitted = fit(wins)
    scores, effects = fitted.scores[0, cell], fitted.effects[0, cell]
    best = _log_posterior(wins, scores, effects, DEFAULT_SCALES, cell)
    rng = np.random.default_rng(1)

    for _ in range(50):
        moved = rng.normal(0, 0.02, 4)
        shift = np.triu(rng.normal(0, 0.02, (4, 4)), 1) * (DEFAULT_SCALES.effect_sd[cell] > 0)
        there = _log_posterior(wins, scores + moved, effects + shift - shift.T, DEFAULT_SCALES, cell)
        assert there <= best + 1e-3


def test_start_from_an_earlier_fit_changes_nothing_that_matters() -> None:
    """A warm start reaches the same mode."""
    preferences = worlds.bradley_terry("b", [0.8, 0.3, 0.1, -0.2, -1.0]).preferences
    earlier, now = _counts(preferences, 20), _counts(preferences, 40, seed=1)

    cold, warm = fit(now), fit(now, start=fit(earlier))

    assert _chances(warm) == pytest.approx(_chances(cold), abs=1e-4)


def test_relabelling_policies_relabels_the__chances() -> None:
    """Indices carry no information."""
    wins = _counts(worlds.misfit("m", [0.6, 0.2, 0.0, -0.5], 0.5, 0.2, 3).preferences, 25)
    order = np.array([2, 0, 3, 1])

    moved = _chances(fit(wins[:, order][:, :, order]))

    assert moved == pytest.approx(_chances(fit(wins))[:, order][:, :, order], abs=1e-6)


def test_runs_side_by_side_do_not_touch_each_other() -> None:
    """A batch gives what each run gives alone."""
    runs = [_counts(worlds.cycle("c", 5, 0.6).preferences, each, each) for each in (0, 4, 60)]

    together = _chances(fit(np.concatenate(runs)))

    for position, wins in enumerate(runs):
        assert together[position] == pytest.approx(_chances(fit(wins))[0], abs=1e-4)


def test_pooling_estimates_a_pair_that_was_never_compared() -> None:
    """If Bradley-Terry holds, other pairs show that the best policy is well ahead of the worst."""
    preferences = worlds.bradley_terry("b", [0.8, 0.4, 0.0, -0.4, -0.8]).preferences
    wins = _counts(preferences, 200)
    wins[0, 0, 4] = wins[0, 4, 0] = 0

    assert _chances(fit(wins))[0, 0, 4] == pytest.approx(preferences[0, 4], abs=0.06)


def test_pair_that_contradicts_the_scores_is_believed() -> None:
    """The estimates of a clear cycle follow the pairs, not the equal scores."""
    preferences = worlds.cycle("c", 3, 0.8).preferences

    predicted = _chances(fit(_counts(preferences, 200)))[0]

    assert predicted == pytest.approx(preferences, abs=0.08)


def test_estimates_complement_each_other_and_know_nothing_at_first() -> None:
    """Both orders add up to 1, and every estimate is one half before the first comparison."""
    wins = _counts(worlds.cycle("c", 6, 0.7).preferences, 9)
    predicted = _chances(fit(wins))[0]

    assert predicted + predicted.T == pytest.approx(np.ones((6, 6)))
    assert _chances(fit(np.zeros((1, 3, 3), dtype=np.int64)))[0] == pytest.approx(np.full((3, 3), 0.5))


def test_shut_outs_stay_finite() -> None:
    """Thousands of wins to none cause no overflow and give an estimate near one."""
    wins = np.zeros((1, 3, 3), dtype=np.int64)
    wins[0, 0, 1], wins[0, 1, 2] = 50_000, 50_000

    predicted = _chances(fit(wins))[0]

    assert np.isfinite(predicted).all()
    assert predicted[0, 1] > 0.99


def test_draws_have_the_moments_of_the_posterior() -> None:
    """Mean and spread of the drawn logits are those of the mixture over the grid."""
    fitted = fit(_counts(worlds.bradley_terry("b", [0.5, 0.0, -0.4]).preferences, 40))
    logits = draw_pairs(fitted, 40_000, np.random.default_rng(0)).logits()

    mean, deviation = _moments(fitted)
    assert logits[0].mean(axis=0) == pytest.approx(mean, abs=0.02)
    off_diagonal = ~np.eye(3, dtype=np.bool_)
    assert logits[0].std(axis=0)[off_diagonal] == pytest.approx(deviation[off_diagonal], abs=0.02)
    assert logits == pytest.approx(-logits.swapaxes(2, 3))


def test_chance_of_being_ahead_is_the_share_of_draws_ahead() -> None:
    """The closed form and the draws agree."""
    fitted = fit(_counts(worlds.bradley_terry("b", [0.3, 0.0, -0.1]).preferences, 15))
    logits = draw_pairs(fitted, 40_000, np.random.default_rng(0)).logits()

    shares = (logits[0, :, 0] > 0).mean(axis=0)

    assert chance_preferred(fitted, 0)[0, 1:] == pytest.approx(shares[1:], abs=0.01)


def test_logistic_does_not_overflow() -> None:
    """Extreme logits give 0 and 1 without a warning."""
    assert logistic(np.array([-1e4, 0.0, 1e4])).tolist() == [0.0, 0.5, 1.0]


def _chances(fitted: Fit) -> FloatArray:
    """Posterior means of P(row preferred to column), within 0.02."""
    chances = logistic(fitted.logits / np.sqrt(1 + np.pi / 8 * fitted.logit_variance))
    return np.asarray(np.einsum("rg,rgij->rij", fitted.weights, chances))


def _moments(fitted: Fit) -> tuple[FloatArray, FloatArray]:
    weights = fitted.weights[0][:, None, None]
    mean = (weights * fitted.logits[0]).sum(axis=0)
    second = (weights * (fitted.logit_variance[0] + fitted.logits[0] ** 2)).sum(axis=0)
    return mean, np.sqrt(np.maximum(second - mean**2, 0))
