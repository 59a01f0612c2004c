"""Which rival promises most against a policy that is to be shown not to be the best.

The evidence against a policy grows fastest with the rival that beats it most clearly, and which one that is
has to be found. So a rival is worth what a comparison with it is expected to tell, plus what a few of them
may find for those that follow: the more evidence is missing, the more a better rival is worth looking for.
docs/decisions/0158-opponents.md has the measurements.

Source: the knowledge gradient for measurements that count (Ryzhov, Powell and Frazier 2012).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from gateway.llm_po.bradley_terry import Fit, logistic
from gateway.llm_po.draws import information_below
from gateway.llm_po.wins import FloatArray, IntArray

_LOOK_AHEAD: Final = 1 / 8
"""Share of the comparisons still needed that are looked ahead; one comparison at least."""

_SMALLEST_RATE: Final = 0.001
"""Nats per price: the least growth rate assumed of the best rival; it limits the comparisons still needed."""

_FURTHEST: Final = 3.4
"""Standard deviations. A rival further behind tells nothing at any node, also after a look ahead."""

_NODES, _RAW_WEIGHTS = np.polynomial.hermite_e.hermegauss(5)
_NODE_WEIGHTS: Final = _RAW_WEIGHTS / _RAW_WEIGHTS.sum()


def promise(
    fit: Fit, missing: FloatArray, threshold: float, prices: FloatArray, rivals: IntArray | None = None
) -> FloatArray:
    """What a comparison with each rival is worth against each policy, in nats per price, shape (R, K, K).

    Below 0 for the policy itself. The logit of a pair is taken to be normal, with its posterior mean and
    variance. A few comparisons tell of the pair alone.

    Args:
        fit: The posterior of R runs.
        missing: Nats still missing against each policy, shape (R, K).
        threshold: h: a comparison tells kl(q, h) where q, the posterior mean of P(policy preferred to rival),
            is below it.
        prices: The price of a comparison of each pair, shape (R or 1, K, K).
        rivals: The rivals to look ahead with, shape (R, N), if the worth of others is not used; None for all.
    """
    logits, variance = fit.logit_moments
    prices = np.broadcast_to(prices, logits.shape)
    itself = np.eye(logits.shape[1], dtype=np.bool_)
    may_beat = (logits < math.log(threshold / (1 - threshold)) + _FURTHEST * np.sqrt(variance)) & ~itself
    pairs = _Pairs(logits[may_beat], variance[may_beat], prices[may_beat], threshold)
    rate = np.where(itself, -1.0, np.zeros_like(logits))
    rate[may_beat] = pairs.rate()
    second, first = np.moveaxis(np.partition(rate, -2, axis=2)[..., -2:], 2, 0)[..., None]
    others = np.where(rate >= first, second, first)
    first, missing = np.broadcast_to(first, rate.shape), np.broadcast_to(missing[..., None], rate.shape)
    if rivals is not None:
        may_beat &= (rivals[..., None] == np.arange(logits.shape[1])).any(axis=1)[:, None]
        pairs = _Pairs(logits[may_beat], variance[may_beat], prices[may_beat], threshold)
    rate[may_beat] += pairs.by_looking_ahead(first[may_beat], others[may_beat], missing[may_beat])
    return rate


@dataclass(frozen=True, slots=True, eq=False)
class _Pairs:
    """N ordered pairs: mean and variance of their normal logits, the price of a comparison, the threshold."""

    logits: FloatArray
    variance: FloatArray
    prices: FloatArray
    threshold: float

    def rate(self) -> FloatArray:
        """What a comparison is expected to tell per price, if its forecast is the posterior mean."""
        return self._rate(self.logits, self.variance)

    def by_looking_ahead(self, best: FloatArray, others: FloatArray, missing: FloatArray) -> FloatArray:
        """What a comparison may find for those that follow, per price.

        Args:
            best: The best rate of now against each policy.
            others: The best one without the rival.
            missing: Nats still missing against the policy.
        """
        left = missing / np.maximum(best, _SMALLEST_RATE)
        ahead = np.maximum(_LOOK_AHEAD * left, self.prices)
        gain = np.maximum(self.best_rate_after(ahead / self.prices, others) - best, 0.0)
        return np.asarray(gain * np.maximum(left / ahead - 1, 0.0))

    def best_rate_after(self, comparisons: FloatArray, others: FloatArray) -> FloatArray:
        """The expected rate of the better of the rival, after so many comparisons with it, and the others."""
        chance = logistic(_shrunk(self.logits, self.variance))
        unknown = self.variance / (1 + comparisons * chance * (1 - chance) * self.variance)
        points = self.logits + np.multiply.outer(_NODES, np.sqrt(self.variance - unknown))
        return np.asarray(_NODE_WEIGHTS @ np.maximum(self._rate(points, unknown), others))

    def _rate(self, logits: FloatArray, variance: FloatArray) -> FloatArray:
        return np.asarray(information_below(_shrunk(logits, variance), self.threshold) / self.prices)


def _shrunk(logits: FloatArray, variance: FloatArray) -> FloatArray:
    """The logit of the mean preference under normal logits, by the usual probit scaling."""
    return np.asarray(logits / np.sqrt(1 + np.pi / 8 * variance))
