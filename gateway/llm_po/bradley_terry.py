"""Bradley-Terry with pair effects: what the counts say about every pair, compared or not.

The logit of P(i preferred to j) is `score[i] - score[j] + effect[i, j]`, scores ~ N(0, score_sd^2) and effects
~ N(0, effect_sd^2) independently per pair. A zero `effect_sd` is plain Bradley-Terry; a large one lets every
pair speak for itself. Both scales are unknown, so the model is fitted over a small grid of them, each cell
weighted by its Laplace marginal likelihood: where Bradley-Terry holds, all pairs pool; where it does not,
the data move the weight to cells that shrink less. Nothing here has to be right for the evidence to be valid;
it only has to be good for the experiment to be short. See docs/decisions/0012-forecasts.md.

The effects are eliminated pair by pair (a Schur complement), so a Newton step solves a K x K system per cell.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gateway.llm_po.wins import FloatArray, WinMatrix

_STEP_TOLERANCE = 1e-6  # in logits: far below any posterior deviation that matters
_MOST_STEPS = 40
_LONGEST_STEP = 2.0  # logits; keeps Newton inside the region where the likelihood is well approximated


@dataclass(frozen=True, slots=True, eq=False)
class Scales:
    """The grid of prior scales, in logits; parallel arrays of shape (G,), and the log prior of each cell."""

    score_sd: FloatArray
    effect_sd: FloatArray
    log_prior: FloatArray

    @classmethod
    def grid(cls, score_sds: tuple[float, ...], effect_sds: tuple[float, ...]) -> Scales:
        """Every combination, equally likely beforehand."""
        score, effect = np.meshgrid(score_sds, effect_sds, indexing="ij")
        return cls(score.ravel(), effect.ravel(), np.zeros(score.size))


DEFAULT_SCALES = Scales.grid(score_sds=(0.1, 0.3, 1.0), effect_sds=(0.0, 0.15, 0.5, 1.5))


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """The Laplace approximation of the posterior in every cell of the grid.

    Attributes:
        scores: Shape (G, K): modes of the scores, in logits.
        effects: Shape (G, K, K): modes of the pair effects, antisymmetric.
        covariance: Shape (G, K, K): posterior covariance of the scores.
        sharing: Shape (G, K, K) in [0, 1]: how far a pair's logit follows the scores (1 = fully).
        effect_variance: Shape (G, K, K): variance of a pair's effect when the scores are known.
        weights: Shape (G,): posterior probability of each cell, sums to 1.
    """

    scores: FloatArray
    effects: FloatArray
    covariance: FloatArray
    sharing: FloatArray
    effect_variance: FloatArray
    weights: FloatArray

    @property
    def logits(self) -> FloatArray:
        """Mode of every pair's logit, shape (G, K, K), antisymmetric."""
        return differences(self.scores) + self.effects

    @property
    def logit_variance(self) -> FloatArray:
        """Posterior variance of every pair's logit, shape (G, K, K), symmetric."""
        diagonal = np.einsum("gii->gi", self.covariance)
        spread = diagonal[:, :, None] + diagonal[:, None, :] - 2 * self.covariance
        return self.effect_variance + self.sharing**2 * np.maximum(spread, 0.0)

    @property
    def mean_scores(self) -> FloatArray:
        """Scores averaged over the grid, shape (K,)."""
        return np.asarray(self.weights @ self.scores)


def fit(matrix: WinMatrix, scales: Scales = DEFAULT_SCALES, start: Fit | None = None) -> Fit:
    """Posterior of scores and pair effects given the counts.

    Args:
        matrix: The decisive comparisons.
        scales: Grid of prior scales.
        start: An earlier fit over the same grid and policies, to start from.
    """
    wins = matrix.wins.astype(np.float64)
    totals = wins + wins.T
    cells, policies = scales.score_sd.size, matrix.policies
    scores = np.zeros((cells, policies)) if start is None else start.scores.copy()
    effects = np.zeros((cells, policies, policies)) if start is None else start.effects.copy()
    score_precision = 1 / scales.score_sd**2
    effect_variance = (scales.effect_sd**2)[:, None, None]
    identity = np.eye(policies) * score_precision[:, None, None]
    for _ in range(_MOST_STEPS):
        chance = logistic(differences(scores) + effects)
        gradient = wins - totals * chance
        curvature = totals * chance * (1 - chance)
        sharing = 1 / (1 + effect_variance * curvature)
        conditional = effect_variance * sharing
        hessian = _laplacian(curvature * sharing) + identity
        pull = gradient * sharing + curvature * sharing * effects
        slope = pull.sum(axis=2) - score_precision[:, None] * scores
        step = _shortened(np.linalg.solve(hessian, slope[:, :, None])[:, :, 0])
        effects = (
            conditional * gradient + effects * (1 - sharing) - conditional * curvature * differences(step)
        )
        scores = scores + step
        if np.abs(step).max() < _STEP_TOLERANCE:
            break
    evidence = _log_evidence(wins, totals, scores, effects, scales, hessian, sharing)
    weights = np.exp(evidence - evidence.max())
    return Fit(scores, effects, np.linalg.inv(hessian), sharing, conditional, weights / weights.sum())


def logistic(logit: FloatArray) -> FloatArray:
    """Probability of a logit; any shape."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * logit)))


def differences(scores: FloatArray) -> FloatArray:
    """`scores[..., i] - scores[..., j]`, shape (..., K, K)."""
    return np.asarray(scores[..., :, None] - scores[..., None, :])


def _laplacian(weights: FloatArray) -> FloatArray:
    """Graph Laplacian of symmetric pair weights with zero diagonal, shape (G, K, K)."""
    laplacian = -weights
    diagonal = np.einsum("gii->gi", laplacian)
    diagonal += weights.sum(axis=2)
    return laplacian


def _shortened(step: FloatArray) -> FloatArray:
    longest = np.abs(step).max(axis=1, keepdims=True)
    return np.asarray(step * np.minimum(1.0, _LONGEST_STEP / np.maximum(longest, _LONGEST_STEP)))


def _log_evidence(
    wins: FloatArray,
    totals: FloatArray,
    scores: FloatArray,
    effects: FloatArray,
    scales: Scales,
    hessian: FloatArray,
    sharing: FloatArray,
) -> FloatArray:
    """Laplace marginal likelihood of each cell up to a constant, times its prior; shape (G,)."""
    log_likelihood = -(wins * np.logaddexp(0.0, -(differences(scores) + effects))).sum(axis=(1, 2))
    score_variance, effect_variance = scales.score_sd**2, scales.effect_sd**2
    precision = np.divide(1.0, effect_variance, out=np.zeros_like(effect_variance), where=effect_variance > 0)
    penalty = (scores**2).sum(axis=1) / score_variance + (effects**2).sum(axis=(1, 2)) * precision / 2
    volume = np.linalg.slogdet(hessian)[1] + scores.shape[1] * np.log(score_variance)
    volume -= np.log(sharing).sum(axis=(1, 2)) / 2
    return np.asarray(log_likelihood - 0.5 * (penalty + volume) + scales.log_prior)
