"""Posterior draws: one per pair, and the information a comparison gives in them."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.llm_po.bradley_terry import fit, logistic
from gateway.llm_po.draws import draw_pairs, information_below
from gateway.llm_po.unstructured import bernoulli_kl

WINS = np.array([[[0, 9, 4], [3, 0, 7], [2, 1, 0]]])


def test_both_orders_of_a_pair_come_from_one_draw() -> None:
    """Logits are antisymmetric, and the diagonal holds the value asked for."""
    drawn = draw_pairs(fit(WINS), 5, np.random.default_rng(0))

    logits = drawn.logits(of_itself=np.inf)
    off_diagonal = ~np.eye(3, dtype=np.bool_)

    assert np.array_equal(logits[..., off_diagonal], -logits.swapaxes(2, 3)[..., off_diagonal])
    assert np.array_equal(logits[0, :, 0, 1:], drawn.upper[0, :, :2])
    assert np.isposinf(np.einsum("rmii->rmi", logits)).all()


@pytest.mark.parametrize("threshold", [0.5, 0.52, 0.6])
def test_information_is_the_divergence_of_the_drawn_chance_where_it_is_below(threshold: float) -> None:
    """The shorter formula agrees with the definition, in both orders of every pair."""
    drawn = draw_pairs(fit(WINS), 200, np.random.default_rng(0))

    chance = logistic(drawn.logits())
    defined = np.where(chance < threshold, bernoulli_kl(chance, threshold), 0.0)
    np.einsum("rmii->rmi", defined)[...] = 0.0

    assert drawn.information(threshold) == pytest.approx(defined, abs=1e-12)


def test_information_of_extreme_logits_is_finite() -> None:
    """A probability of 0 tells log(1 / (1 - h)); one of 1, and one just at h, tell nothing."""
    logits = np.array([-1e4, -40.0, 0.0, 40.0, 1e4])

    assert information_below(logits, 0.5) == pytest.approx([np.log(2), np.log(2), 0.0, 0.0, 0.0])
