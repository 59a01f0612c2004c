"""The forecasts of every pair, published with the plan, and how much a comparison is expected to tell.

A forecast is a bet against a hypothesis, and pays most as the forecast of someone who takes the hypothesis
for wrong. Evidence of (j, k) and of (k, j) speaks against different hypotheses, so each ordered pair has a
forecast of its own (docs/decisions/0012-forecasts.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from gateway.llm_po.betting import HEAVIEST
from gateway.llm_po.bradley_terry import LEAST_WEIGHT, Fit, logistic
from gateway.llm_po.draws import information_below
from gateway.llm_po.scalars import checked_epsilon
from gateway.llm_po.wins import BoolArray, FloatArray, IntArray

CLEARED: Final = 0.8
"""Posterior probability of being ahead of a rival at which a sole survivor counts as cleared of it."""

_NODES, _RAW_WEIGHTS = np.polynomial.hermite_e.hermegauss(9)
_NODE_WEIGHTS: Final = _RAW_WEIGHTS / _RAW_WEIGHTS.sum()

_AT_ONCE: Final = 1024
"""Logits whose nodes are computed at once: few calls for few policies, and what the cache holds for many."""

_LEAST_VARIANCE: Final = 1e-12
_NEGLIGIBLE_NATS: Final = 40.0
"""A share smaller than the rest by a factor of exp(-40) is below the precision of numbers."""
_LEAST_CHANCE: Final = 1e-15

_LOGISTIC_SCALE: Final = 1.702
"""The normal distribution function of x is about the logistic of so many x."""
_SHARED_SPREAD: Final = math.sqrt(1 + math.pi / 8 * _LOGISTIC_SCALE**2)
"""Factor by which a logit grows when the half of its variance that is shared is known."""
_ERFC: Final = (
    0.17087277,
    -0.82215223,
    1.48851587,
    -1.13520398,
    0.27886807,
    -0.18628806,
    0.09678418,
    0.37409196,
    1.00002368,
    -1.26551223,
)


@dataclass(frozen=True, slots=True, eq=False)
class _Behind:
    """That the row is preferred to the column with probability below h, for every ordered pair.

    Attributes:
        chance: Shape (R, K, K): its posterior probability.
        forecast: Shape (R, K, K): the posterior mean of P(row preferred to column) if it is so.
        square: Shape (R, K, K): the posterior mean of its square if it is so.
    """

    chance: FloatArray
    forecast: FloatArray
    square: FloatArray

    @property
    def chance_not_best(self) -> FloatArray:
        """Posterior probability that some policy is preferred to each, shape (R, K), from that of every pair.

        The logits of a policy against its rivals are taken to be normal and, sharing its score, correlated by
        one half: given what they share they are independent, and that is integrated over.
        """
        bounded = np.clip(self.chance, _LEAST_CHANCE, 1 - _LEAST_CHANCE)
        odds = np.exp(_SHARED_SPREAD * (np.log(bounded) - np.log1p(-bounded)))
        everyone = np.arange(self.chance.shape[1])
        odds[:, everyone, everyone] = 0.0
        given = np.multiply.outer(np.exp(-_LOGISTIC_SCALE * _NODES), odds)  # what rivals share is known
        log_best = -np.log1p(given, out=given).sum(axis=3)
        return np.asarray(-np.tensordot(_NODE_WEIGHTS, np.expm1(log_best), 1))

    @property
    def bets(self) -> Bets:
        """The bets against each pair, which take it that the row is behind the column."""
        return Bets(self.forecast, _weights(self.forecast, self.square))

    @property
    def bets_if_not_best(self) -> Bets:
        """The bets against each row, which take it that some policy is preferred to it.

        That j is the best is taken to tell of P(j preferred to k) only that j is ahead of k. Evidence adds up
        over K - 1 rivals, and what is unknown of j's own score is in each of these forecasts. If each learnt
        it alone, each would pay for it, so they are K / 2 times as heavy.
        """
        not_best = self.chance_not_best[:, :, None]
        is_behind = np.divide(self.chance, not_best, out=np.ones_like(self.chance), where=not_best > 0)
        is_behind = np.minimum(is_behind, 1.0)
        rival, rival_square = self.forecast.swapaxes(1, 2), self.square.swapaxes(1, 2)
        forecast = is_behind * self.forecast + (1 - is_behind) * (1 - rival)
        square = is_behind * self.square + (1 - is_behind) * (1 - 2 * rival + rival_square)
        weights = _weights(forecast, square) * (forecast.shape[1] / 2)
        return Bets(forecast, np.minimum(weights, HEAVIEST))


@dataclass(frozen=True, slots=True, eq=False)
class Bets:
    """The bets against every row.

    Attributes:
        forecasts: Shape (R, K, K): forecasts of P(row preferred to column).
        weights: Shape (R, K, K), at least 1: how many comparisons each forecast is worth, by which those that
            follow move it until the next plan (`betting.gone_on`).
    """

    forecasts: FloatArray
    weights: FloatArray


def bets(fit: Fit, epsilon: float, *, over_rivals: bool) -> Bets:
    """The bets against each row.

    Args:
        fit: The posterior.
        epsilon: Margin: evidence is against "row preferred to column with P >= 1/2 + epsilon".
        over_rivals: Whether evidence against a row adds up over its rivals. The bets then assume that the row
            is not the best policy; else that of each pair, which decides alone, assumes that it is wrong.

    Raises:
        DesignError: If epsilon is no margin.
    """
    checked_epsilon(epsilon)
    return _behind(fit, 0.5).bets_if_not_best if over_rivals else _behind(fit, 0.5 + epsilon).bets


def _weights(forecast: FloatArray, square: FloatArray) -> FloatArray:
    """The weight of a beta distribution with this mean and mean square, at least 1."""
    spread = forecast * (1 - forecast)
    variance = np.maximum(square - forecast**2, spread / HEAVIEST)
    return np.clip(spread / variance - 1, 1.0, HEAVIEST)


def _behind(fit: Fit, threshold: float) -> _Behind:
    """Of mixtures of normal logits, cut off at the threshold's.

    What is left of a normal is described by its mean and variance. The mean of a logistic under it is taken
    by the usual probit scaling, and its variance by one that is right where the normal's is small or large.
    """
    logits, deviation = fit.logits, np.sqrt(np.maximum(fit.logit_variance, _LEAST_VARIANCE))
    cut = (math.log(threshold / (1 - threshold)) - logits) / deviation
    with np.errstate(divide="ignore"):
        log_weights = np.log(fit.weights)
    cells = _that_matter(log_weights, cut)
    logits, deviation, cut = logits[:, cells], deviation[:, cells], cut[:, cells]
    log_chance, hazard = _normal_tail(cut)
    mean = logits - deviation * hazard
    variance = deviation**2 * np.clip(1 - hazard * (cut + hazard), 0.0, 1.0)
    forecast = np.minimum(logistic(mean / np.sqrt(1 + np.pi / 8 * variance)), threshold)
    log_share = log_weights[:, cells, None, None] + log_chance
    highest = log_share.max(axis=1, keepdims=True)
    share = np.exp(log_share - highest)
    total = share.sum(axis=1)
    chance = np.minimum(total * np.exp(highest[:, 0]), 1.0)
    spread = forecast * (1 - forecast)
    square = forecast**2 + spread * (1 - 1 / np.sqrt(1 + 2 * spread * variance))
    return _Behind(chance, (share * forecast).sum(axis=1) / total, (share * square).sum(axis=1) / total)


def _that_matter(log_weights: FloatArray, cut: FloatArray) -> BoolArray:
    """The cells that can change the chance or the forecast of some pair in some run, shape (G,).

    A cell adds at most its weight to the chance of a pair, and another adds at least the product of its own
    weight and the least chance of its pairs. A standard normal is below -z with a probability of at least
    exp(-((z + 1)^2 + 1) / 2).
    """
    furthest = np.maximum(-cut.min(axis=(2, 3)), 0.0)
    least = (log_weights - ((furthest + 1) ** 2 + 1) / 2).max(axis=1, keepdims=True)
    return np.asarray((log_weights > least - _NEGLIGIBLE_NATS).any(axis=0))


def _normal_tail(cut: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Logarithm of the normal distribution function, and its derivative; any shape.

    Source: the approximation of erfc in Numerical Recipes (Press et al.), within 1.2e-7 of its value.
    """
    size = np.abs(cut) / math.sqrt(2)
    t = 1 / (1 + 0.5 * size)
    log_tail = np.full_like(t, _ERFC[0])
    for coefficient in _ERFC[1:]:
        log_tail *= t
        log_tail += coefficient
    log_tail += np.log(0.5 * t)
    size *= size
    log_tail -= size
    log_below = np.where(cut < 0, log_tail, np.log1p(-np.exp(log_tail)))
    size += math.log(math.sqrt(2 * math.pi))
    size += log_below
    return log_below, np.exp(-size)


def chance_preferred(fit: Fit, policy: int, epsilon: float = 0.0) -> FloatArray:
    """Posterior probability that `policy` is preferred to each other with probability above 1/2 - epsilon.

    Shape (R, K); one half at `policy` itself.
    """
    deviation = np.sqrt(fit.logit_variance[:, :, policy])
    logits = fit.logits[:, :, policy] + math.log((0.5 + epsilon) / (0.5 - epsilon))
    ratio = np.divide(logits, deviation, out=np.zeros_like(logits), where=deviation > 0)
    erf = np.array([math.erf(value) for value in (ratio / math.sqrt(2)).ravel()]).reshape(ratio.shape)
    return np.asarray(np.einsum("rg,rgk->rk", fit.weights, 0.5 * (1 + erf)))


def doubts(fit: Fit, policy: int, epsilon: float = 0.0) -> IntArray:
    """Indices of rivals not shown, at odds of 4 to 1, to be behind a policy or ahead by less than epsilon.

    `fit` is of a single run.
    """
    chance = chance_preferred(fit, policy, epsilon)[0]
    chance[policy] = 1.0
    return np.flatnonzero(chance < CLEARED)


def expected_information(fit: Fit, threshold: float) -> FloatArray:
    """Posterior mean of kl(mu, threshold) where mu < threshold, 0 elsewhere; shape (R, K, K).

    This is the evidence, in nats, that a comparison is expected to give against "row preferred to column with
    probability >= threshold". It is computed by quadrature over the normal posterior of each pair's logit.

    Raises:
        DesignError: If the threshold is not in [1/2, 1).
    """
    checked_epsilon(threshold - 0.5)
    likely = (fit.weights > LEAST_WEIGHT).any(axis=0)
    logits, deviation = fit.logits[:, likely], np.sqrt(fit.logit_variance[:, likely])
    # Where the lowest node is above the threshold, no node tells anything.
    tells = logits + _NODES[0] * deviation < math.log(threshold / (1 - threshold))
    some_logits, some_deviation = logits[tells], deviation[tells]
    told = np.empty_like(some_logits)
    for start in range(0, told.size, _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        points = np.multiply.outer(_NODES, some_deviation[some])
        points += some_logits[some]
        told[some] = _NODE_WEIGHTS @ information_below(points, threshold)
    expected = np.zeros_like(logits)
    expected[tells] = told
    return np.asarray(np.einsum("rg,rgij->rij", fit.weights[:, likely], expected))
