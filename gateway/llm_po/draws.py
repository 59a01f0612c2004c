"""Draws from the posterior of every pair's logit, and the information of a comparison in such a draw.

A planner draws 128 times at every refresh, which is most of a refresh's time. So each pair is drawn once,
for i < j, and the information in nats is computed from logits: for a probability mu = logistic(l) below h,

    kl(mu, h) = negentropy(mu) - log(1 - h) - mu logit(h)

in which the negative entropy, the only part that takes an exponential and a logarithm, is that of (j, i) too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gateway.llm_po.bradley_terry import Fit
from gateway.llm_po.scalars import whole_number
from gateway.llm_po.wins import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class PairDraws:
    """Posterior draws of R runs.

    Attributes:
        policies: K.
        upper: Shape (R, draws, K (K - 1) / 2): logits of P(i preferred to j) of the pairs i < j, row by row.
    """

    policies: int
    upper: FloatArray

    def logits(self, of_itself: float = 0.0) -> FloatArray:
        """Shape (R, draws, K, K), antisymmetric except for the diagonal, which is `of_itself`."""
        return self._square(self.upper, -self.upper, of_itself)

    def information(self, threshold: float) -> FloatArray:
        """Nats that a comparison gives against "row preferred to column with P >= threshold" in each draw.

        Shape (R, draws, K, K): kl(mu, threshold) where mu is below the threshold, 0 elsewhere.
        The threshold is in (0, 1).
        """
        chance, negentropy = _chance_and_negentropy(self.upper)
        return self._square(
            _divergence(chance, negentropy, threshold), _divergence(1 - chance, negentropy, threshold), 0.0
        )

    def _square(self, above: FloatArray, below: FloatArray, diagonal: float) -> FloatArray:
        first, second = np.triu_indices(self.policies, 1)
        square = np.empty((*above.shape[:2], self.policies, self.policies))
        square[..., first, second] = above
        square[..., second, first] = below
        np.einsum("...ii->...i", square)[...] = diagonal
        return square


def draw_pairs(fit: Fit, draws: int, rng: np.random.Generator) -> PairDraws:
    """Posterior draws of every pair's logit.

    Raises:
        DesignError: If there is no draw.
    """
    whole_number(draws, "draws", 1)
    runs, _, policies = fit.scores.shape
    first, second = np.triu_indices(policies, 1)
    point = rng.random((runs, draws, 1))
    cells = (fit.weights.cumsum(axis=1)[:, None, :-1] <= point).sum(axis=2)
    rows = np.arange(runs)[:, None]
    roots = np.linalg.cholesky(fit.covariance)
    moved = (roots[rows, cells] @ rng.standard_normal((runs, draws, policies, 1)))[..., 0]
    upper = rng.standard_normal((runs, draws, first.size))
    upper *= np.sqrt(fit.effect_variance[..., first, second])[rows, cells]
    upper += fit.sharing[..., first, second][rows, cells] * (moved[..., first] - moved[..., second])
    upper += fit.logits[..., first, second][rows, cells]
    return PairDraws(policies, upper)


def information_below(logits: FloatArray, threshold: float) -> FloatArray:
    """kl(mu, threshold) in nats where mu = logistic(logit) is below the threshold, 0 elsewhere; any shape.

    The threshold is in (0, 1).
    """
    return _divergence(*_chance_and_negentropy(logits), threshold)


def _chance_and_negentropy(logits: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mu and mu log(mu) + (1 - mu) log(1 - mu), without overflow at any logit."""
    size = np.abs(logits)
    odds = np.exp(-size)
    smaller = odds / (1 + odds)
    negentropy = -(np.log(1 + odds) + size * smaller)
    return np.where(logits < 0, smaller, 1 - smaller), negentropy


def _divergence(chance: FloatArray, negentropy: FloatArray, threshold: float) -> FloatArray:
    nats = negentropy - math.log(1 - threshold) - chance * math.log(threshold / (1 - threshold))
    return np.where(chance < threshold, np.maximum(nats, 0.0), 0.0)
