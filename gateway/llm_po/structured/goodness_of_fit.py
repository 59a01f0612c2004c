"""Tests whether linear Bradley-Terry fits the counts, against a model with a separate rate for every pair.

The deviance, twice the sum of n kl(rate, fitted) over pairs, is a chi-squared number only if every pair was
compared often. Here most pairs are compared a few times or never, and a pair's part of the deviance then
has neither mean 1 nor variance 2: for a single comparison at a fitted 1/2 it is 2 log 2 whatever the result.
So mean and variance are computed exactly, by summing over the outcomes of each pair, at probabilities fitted
with a prior (without a prior they are too extreme while comparisons are few, and the expected deviance is
too small). The total is referred to the scaled chi-squared distribution of this mean and variance (the cube
root of a chi-squared number is very nearly normal, after Wilson and Hilferty). Fitting r parameters removes
a chi-squared number with r degrees of freedom: r from the mean, and 2 r from the variance if pairs were
compared often; if they were compared once it adds 2 r instead. docs/decisions/0023-goodness-of-fit.md says
how often the test is wrong.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from gateway.llm_po.bradley_terry import differences, logistic
from gateway.llm_po.checks import checked_type, counted
from gateway.llm_po.errors import FeatureError
from gateway.llm_po.structured.features import Features
from gateway.llm_po.structured.linear import LinearFit, fit_structure, prior_precision
from gateway.llm_po.unstructured import bernoulli_kl
from gateway.llm_po.wins import FloatArray, IntArray, pair_totals

MISFIT_LEVEL: Final = 0.01
"""p-value below which a structured fit counts as a misfit; small, because it is computed again and again."""

_MOST_ENUMERATED: Final = 60  # comparisons of a pair from which mean 1 and variance 2 are nearly right
_LARGE_SAMPLE: Final = (1.0, 2.0)
_GRID: Final = 100  # fitted chances are rounded to whole hundredths for the moments


@dataclass(frozen=True, slots=True)
class GoodnessOfFit:
    """How well a structured fit explains the counts.

    Attributes:
        deviance: Twice the log-likelihood ratio against a rate per pair, in nats.
        expected: Its mean if the model is right.
        p_value: Probability of a deviance this large if the model is right; 1 while that is unknown.
    """

    deviance: float
    expected: float
    p_value: float

    @property
    def is_misfit(self) -> bool:
        """Whether the data contradict the structure."""
        return self.p_value < MISFIT_LEVEL


def goodness_of_fit(
    wins: IntArray, features: Features, likeliest: LinearFit | None = None, posterior: LinearFit | None = None
) -> GoodnessOfFit:
    """Test of linear Bradley-Terry on the counts of one run.

    Args:
        wins: Shape (K, K).
        features: The features of the K policies.
        likeliest: The maximum likelihood fit, if it was computed already.
        posterior: The fit with `prior_precision`, if it was computed already.

    Raises:
        TallyError: If `wins` cannot be counts.
        FeatureError: If wins and features disagree about K.
    """
    checked_type(features, Features, "features", FeatureError)
    wins = counted(wins, dimensions=2)
    if wins.shape[0] != features.policies:
        raise FeatureError(
            f"The counts have K = {wins.shape[0]}, the features {features.policies}; they must agree."
        )
    first, second = np.triu_indices(features.policies, 1)
    likeliest = likeliest or fit_structure(wins[None], features)
    posterior = posterior or fit_structure(wins[None], features, prior_precision(features))
    likely, shrunk = (
        logistic(differences(fitted.scores[0]))[first, second] for fitted in (likeliest, posterior)
    )
    totals = pair_totals(wins)[first, second]
    compared = totals > 0
    totals, won = totals[compared], wins[first, second][compared]
    likely, shrunk = likely[compared], shrunk[compared]
    # A chance of 0 or 1 fitted to a separated pair leaves no deviance; kl needs it inside.
    deviance = float(2 * (totals * bernoulli_kl(won / np.maximum(totals, 1), _inside(likely))).sum())
    moments = [_moments(int(n), round(float(p) * _GRID)) for n, p in zip(totals, shrunk, strict=True)]
    mean, variance = (float(sum(column)) for column in zip(*moments, strict=True)) if moments else (0.0, 0.0)
    expected = mean - features.rank
    if totals.size <= features.rank or expected <= 0:
        return GoodnessOfFit(deviance, 0.0, 1.0)
    settled = min(variance / (2 * totals.size), 1.0)  # 1 where pairs were compared often, 0 where once
    spread = variance + 2 * features.rank * (1 - 2 * settled)
    return GoodnessOfFit(deviance, expected, _upper_tail(deviance, expected, spread))


@lru_cache(maxsize=20_000)
def _moments(n: int, hundredths: int) -> tuple[float, float]:
    """Mean and variance of a pair's deviance: `n` comparisons at a chance in hundredths."""
    if n > _MOST_ENUMERATED:
        return _LARGE_SAMPLE
    chance = float(_inside(np.array(hundredths / _GRID)))
    won = np.arange(n + 1)
    weights = np.array([math.comb(n, int(k)) for k in won]) * chance**won * (1 - chance) ** (n - won)
    parts = 2 * n * bernoulli_kl(won / n, chance)
    mean = float((weights * parts).sum())
    return mean, float((weights * (parts - mean) ** 2).sum())


def _inside(chances: FloatArray) -> FloatArray:
    return np.clip(chances, 1e-6, 1 - 1e-6)


def _upper_tail(value: float, mean: float, variance: float) -> float:
    """P(X >= value) for the scaled chi-squared X of this mean and variance, by its cube root."""
    freedom = 2 * mean**2 / variance
    spread = 2 / (9 * freedom)
    z = ((max(value, 0.0) / mean) ** (1 / 3) - (1 - spread)) / math.sqrt(spread)
    return 0.5 * math.erfc(z / math.sqrt(2))
