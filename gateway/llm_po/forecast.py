"""The forecast of every pair, published with the plan, and draws from the posterior behind it.

A forecast is the posterior mean of P(i preferred to j): the bet that grows evidence fastest on average under
the posterior (docs/decisions/0012-forecasts.md).
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from gateway.llm_po.bradley_terry import Fit, differences, logistic
from gateway.llm_po.scalars import checked_epsilon, whole_number
from gateway.llm_po.unstructured import bernoulli_kl
from gateway.llm_po.wins import FloatArray

_NODES, _RAW_WEIGHTS = np.polynomial.hermite_e.hermegauss(9)
_NODE_WEIGHTS: Final = _RAW_WEIGHTS / _RAW_WEIGHTS.sum()


def forecasts(fit: Fit) -> FloatArray:
    """Posterior mean of P(row preferred to column), shape (R, K, K); `q + q.T = 1`.

    The mean of a logistic under a normal is taken by the usual probit scaling, within 0.02 everywhere.
    """
    scaled = fit.logits / np.sqrt(1 + np.pi / 8 * fit.logit_variance)
    return np.asarray(np.einsum("rg,rgij->rij", fit.weights, logistic(scaled)))


def chance_preferred(fit: Fit, policy: int, epsilon: float = 0.0) -> FloatArray:
    """Posterior probability that `policy` is preferred to each other with probability above 1/2 - epsilon.

    Shape (R, K); one half at `policy` itself.
    """
    deviation = np.sqrt(fit.logit_variance[:, :, policy])
    logits = fit.logits[:, :, policy] + math.log((0.5 + epsilon) / (0.5 - epsilon))
    ratio = np.divide(logits, deviation, out=np.zeros_like(logits), where=deviation > 0)
    erf = np.array([math.erf(value) for value in (ratio / math.sqrt(2)).ravel()]).reshape(ratio.shape)
    return np.asarray(np.einsum("rg,rgk->rk", fit.weights, 0.5 * (1 + erf)))


def expected_information(fit: Fit, threshold: float, power: int = 1) -> FloatArray:
    """Posterior mean of kl(mu, threshold) ** power where mu < threshold, 0 elsewhere; shape (R, K, K).

    This is the evidence, in nats, that a comparison is expected to give against "row preferred to column with
    probability >= threshold". It is computed by quadrature over the normal posterior of each pair's logit.

    Raises:
        DesignError: If the threshold is not in [1/2, 1), or the power not at least 1.
    """
    checked_epsilon(threshold - 0.5)
    whole_number(power, "power", 1)
    deviation = np.sqrt(fit.logit_variance)
    highest = math.log(threshold / (1 - threshold))
    expected = np.zeros_like(deviation[:, 0])
    for node, weight in zip(_NODES, _NODE_WEIGHTS, strict=True):
        chance = logistic(np.minimum(fit.logits + node * deviation, highest))
        information = bernoulli_kl(chance, threshold) ** power
        expected += weight * np.einsum("rg,rgij->rij", fit.weights, information)
    return expected


def draw_logits(fit: Fit, draws: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Posterior draws of the scores and of every pair's logit.

    Returns:
        Scores, shape (R, draws, K), and logits, shape (R, draws, K, K), antisymmetric.

    Raises:
        DesignError: If there is no draw.
    """
    whole_number(draws, "draws", 1)
    runs, _, policies = fit.scores.shape
    point = rng.random((runs, draws, 1))
    cells = (fit.weights.cumsum(axis=1)[:, None, :-1] <= point).sum(axis=2)
    rows = np.arange(runs)[:, None]
    roots = np.linalg.cholesky(fit.covariance)
    noise = rng.standard_normal((runs, draws, policies))
    moved = np.einsum("rmij,rmj->rmi", roots[rows, cells], noise)
    own = rng.standard_normal((runs, draws, policies, policies))
    own *= np.sqrt(fit.effect_variance)[rows, cells]
    own = np.triu(own, 1)
    logits = fit.logits[rows, cells] + fit.sharing[rows, cells] * differences(moved)
    return fit.scores[rows, cells] + moved, logits + own - own.swapaxes(2, 3)
