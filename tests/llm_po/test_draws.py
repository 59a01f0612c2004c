"""Posterior draws: one per pair, and the information a comparison gives in them."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.llm_po.bradley_terry import Scales, differences, fit, logistic
from gateway.llm_po.draws import draw_pairs, information_below
from gateway.llm_po.unstructured import bernoulli_kl

WINS = np.array([[[0, 9, 4], [3, 0, 7], [2, 1, 0]], [[0, 1, 0], [2, 0, 5], [90, 0, 0]]])


def test_both_orders_of_a_pair_come_from_one_draw() -> None:
    """Logits are antisymmetric, and read off the pairs in the order of their policies."""
    drawn = draw_pairs(fit(WINS), 50, np.random.default_rng(0))

    logits = drawn.logits()

    assert np.array_equal(logits, -logits.swapaxes(2, 3))
    of_pairs = logits[drawn.has_effects]
    numbers = drawn.numbers[drawn.has_effects]
    assert np.array_equal(of_pairs[:, 0, 1:], drawn.upper[:2, numbers].T)
    assert np.array_equal(of_pairs[:, 1, 2], drawn.upper[2, numbers])


def test_every_draw_with_effects_has_numbers_of_its_own() -> None:
    """The draws with effects are counted through, in any order, and there are some without."""
    drawn = draw_pairs(fit(WINS), 50, np.random.default_rng(0))

    assert sorted(drawn.numbers[drawn.has_effects]) == list(range(drawn.upper.shape[1]))
    assert 0 < drawn.upper.shape[1] < drawn.numbers.size


def test_without_effects_logits_are_differences_of_scores() -> None:
    """No logits of pairs are drawn then; with effects in every cell, those of every draw."""
    scores = draw_pairs(fit(WINS, Scales.grid([(0.5, 0.0, 1.0)])), 9, np.random.default_rng(0))
    pairs = draw_pairs(fit(WINS, Scales.grid([(0.5, 0.5, 1.0)])), 9, np.random.default_rng(0))

    assert scores.upper.shape == (3, 0)
    assert np.array_equal(scores.logits(), differences(scores.scores))
    assert pairs.upper.shape == (3, 18)


def test_what_is_read_from_the_pairs_is_what_the_squares_hold() -> None:
    """The worst logit of each policy, its logit against one rival, and those of rivals against it."""
    drawn = draw_pairs(fit(WINS), 50, np.random.default_rng(0))
    logits, everyone = drawn.logits(), np.arange(3)
    apart = np.where(np.eye(3, dtype=np.bool_), np.inf, logits)
    rivals = np.array([[1, 2, 0], [2, 0, 1]])
    runs, draws = np.nonzero(np.ones((2, 50)))
    policies = (runs + draws) % 3
    some = np.stack([policies, (policies + 1) % 3], axis=1)

    assert np.array_equal(drawn.worst, apart.min(axis=3))
    assert np.array_equal(drawn.against(rivals)[0], logits[0][:, everyone, rivals[0]])
    assert np.array_equal(drawn.against(rivals)[1], logits[1][:, everyone, rivals[1]])
    of_rivals = logits[runs, draws, :, policies]
    assert np.array_equal(drawn.of_rivals(runs, draws, policies), of_rivals)
    assert np.array_equal(
        drawn.of_rivals(runs, draws, policies, some), np.take_along_axis(of_rivals, some, axis=1)
    )


@pytest.mark.parametrize("threshold", [0.48, 0.5, 0.52, 0.6])
def test_information_is_the_divergence_of_the_chance_where_it_is_below(threshold: float) -> None:
    """The shorter formula agrees with the definition."""
    logits = draw_pairs(fit(WINS), 200, np.random.default_rng(0)).logits()

    chance = logistic(logits)
    defined = np.where(chance < threshold, bernoulli_kl(chance, threshold), 0.0)

    assert information_below(logits, threshold) == pytest.approx(defined, abs=1e-12)


def test_information_of_extreme_logits_is_finite() -> None:
    """A probability of 0 tells log(1 / (1 - h)); one of 1, and one just at h, tell nothing."""
    logits = np.array([-1e4, -40.0, 0.0, 40.0, 1e4])

    assert information_below(logits, 0.5) == pytest.approx([np.log(2), np.log(2), 0.0, 0.0, 0.0])
