"""The forecast of every pair, published with the plan, and draws from what is still uncertain about it.

A forecast is the posterior mean of P(i preferred to j): the bet that grows evidence fastest on average under
the posterior. See docs/decisions/0012-forecasts.md.
"""

from __future__ import annotations

import math

import numpy as np

from gateway.llm_po.bradley_terry import Fit, differences, logistic
from gateway.llm_po.wins import FloatArray


def forecasts(fit: Fit) -> FloatArray:
    """Posterior mean of P(row preferred to column), shape (K, K); `q + q.T = 1`.

    The mean of a logistic under a normal is taken by the usual probit scaling, within 0.02 everywhere.
    """
    scaled = fit.logits / np.sqrt(1 + np.pi / 8 * fit.logit_variance)
    return np.asarray(np.tensordot(fit.weights, logistic(scaled), axes=1))


def chance_preferred(fit: Fit, policy: int) -> FloatArray:
    """Posterior probability that `policy` is preferred to each other more often than not, shape (K,).

    One half at `policy` itself.
    """
    deviation = np.sqrt(fit.logit_variance[:, policy, :])
    ratio = np.divide(fit.logits[:, policy, :], deviation, out=np.zeros_like(deviation), where=deviation > 0)
    return np.asarray(fit.weights @ _normal_cdf(ratio))


def draw_logits(fit: Fit, draws: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Posterior draws of the scores and of every pair's logit.

    Returns:
        Scores, shape (draws, K), and logits, shape (draws, K, K), antisymmetric.
    """
    policies = fit.scores.shape[1]
    cells = rng.choice(fit.weights.size, size=draws, p=fit.weights)
    roots = np.linalg.cholesky(fit.covariance)
    noise = rng.standard_normal((draws, policies))
    scores = fit.scores[cells] + np.einsum("mij,mj->mi", roots[cells], noise)
    moved = differences(scores - fit.scores[cells])
    own = rng.standard_normal((draws, policies, policies)) * np.sqrt(fit.effect_variance[cells])
    own = np.triu(own, 1)
    logits = fit.logits[cells] + fit.sharing[cells] * moved + own - own.transpose(0, 2, 1)
    return scores, logits


def _normal_cdf(ratio: FloatArray) -> FloatArray:
    erf = np.frompyfunc(math.erf, 1, 1)
    return np.asarray(0.5 * (1 + erf(ratio / math.sqrt(2)).astype(np.float64)))
