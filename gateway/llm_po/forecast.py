"""The forecast of every pair, published with the plan, and the expected information of a comparison.

A forecast is the posterior mean of P(i preferred to j): the bet that grows evidence fastest on average under
the posterior (docs/decisions/0012-forecasts.md).
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from gateway.llm_po.bradley_terry import Fit, logistic
from gateway.llm_po.draws import information_below
from gateway.llm_po.scalars import checked_epsilon, whole_number
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
    logits, deviation = fit.logits, np.sqrt(fit.logit_variance)
    expected = np.zeros_like(deviation[:, 0])
    for node, weight in zip(_NODES, _NODE_WEIGHTS, strict=True):
        information = information_below(logits + node * deviation, threshold) ** power
        expected += weight * np.einsum("rg,rgij->rij", fit.weights, information)
    return expected
