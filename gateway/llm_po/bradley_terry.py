"""Bradley-Terry with pair effects: estimates every pair's preference from the counts, compared or not.

The logit of P(i preferred to j) is `score[i] - score[j] + effect[i, j]`, scores ~ N(0, score_sd^2) and
effects ~ N(0, effect_sd^2), one per pair. A zero `effect_sd` is plain Bradley-Terry; with a large one every
pair is estimated from its own counts. The scales are unknown, so the model is fitted over a small grid, and
each cell is weighted by its Laplace marginal likelihood. If Bradley-Terry holds, all pairs share
information; if not, the data move the weight to cells that shrink less. The evidence stays valid even if all
this is wrong; a good fit only makes the experiment shorter (docs/decisions/0012-forecasts.md).

The effects are eliminated pair by pair (a Schur complement), so a Newton step solves a K x K system per cell.
Arrays carry a leading axis of R independent runs, 1 in a planner and many in a simulation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np

from gateway.llm_po.checks import counted, reals
from gateway.llm_po.errors import DesignError
from gateway.llm_po.scalars import shown
from gateway.llm_po.wins import BoolArray, FloatArray, IntArray

# logits; Newton converges quadratically, so the remaining error is about its square
_STEP_TOLERANCE: Final = 1e-2
_MOST_STEPS: Final = 40
LEAST_WEIGHT: Final = 1e-12
"""Cells less likely than this are left out of means, which they could not change visibly."""
_LEAST_SCALE: Final = 1e-4  # logits
_LONGEST_STEP: Final = 2.0  # logits; keeps Newton inside the region where the likelihood is well approximated


@dataclass(frozen=True, slots=True, eq=False)
class Scales:
    """The grid of prior scales, in logits: parallel arrays of shape (G,), with the log prior of each cell.

    `score_precision`, shape (G, K, K), replaces `score_sd` where the prior relates scores to each other.
    `votes`, shape (R or 1, G, K, K), are pseudo-votes that a cell counts beside the comparisons; `log_prior`
    may then have the shape (R or 1, G) (`priors.informed`).
    """

    score_sd: FloatArray
    effect_sd: FloatArray
    log_prior: FloatArray
    score_precision: FloatArray | None = None
    votes: FloatArray | None = None

    def of(self, runs: BoolArray | IntArray) -> Scales:
        """Those of some of the runs."""
        if self.votes is None or len(self.votes) == 1:
            return self
        return replace(self, log_prior=self.log_prior[runs], votes=self.votes[runs])

    def precision(self, policies: int) -> FloatArray:
        """Prior precision of the scores in each cell, shape (G, K, K)."""
        if self.score_precision is not None:
            return self.score_precision
        return np.asarray(np.eye(policies) / self.score_sd[:, None, None] ** 2)

    def log_determinant(self, policies: int) -> FloatArray:
        """The logarithm of the precision's determinant in each cell, shape (G,)."""
        if self.score_precision is not None:
            return np.asarray(np.linalg.slogdet(self.score_precision)[1])
        return np.asarray(-2 * policies * np.log(self.score_sd))

    @classmethod
    def grid(cls, cells: Sequence[tuple[float, float, float]]) -> Scales:
        """From cells of `score_sd`, `effect_sd` (0 for no pair effects) and how likely each is beforehand.

        Raises:
            DesignError: If a scale is out of range, or a cell not possible.
        """
        score_sds, effect_sds, prior = reals(cells, "cells", (None, 3), DesignError).T
        scales = np.concatenate([score_sds, effect_sds[effect_sds != 0]])
        if not prior.size or not ((scales >= _LEAST_SCALE) & (scales <= 1 / _LEAST_SCALE)).all():
            raise DesignError(
                f"cells is {shown(cells)}; give at least one, with scales from {_LEAST_SCALE:g} to "
                f"{1 / _LEAST_SCALE:g} logits."
            )
        if not (prior > 0).all():
            raise DesignError(f"cells is {shown(cells)}; each needs a chance above 0.")
        return cls(score_sds, effect_sds, np.log(prior / prior.sum()))


DEFAULT_SCALES: Final = Scales.grid(
    [(0.5, 0.0, 0.35), (0.12, 0.0, 0.15), (0.5, 0.15, 1 / 6), (0.5, 0.5, 1 / 6), (0.5, 1.5, 1 / 6)]
)
"""No pair effects is as likely as any. Policies that hardly differ are expected, too."""

OVER_RIVALS_SCALES: Final = Scales.grid(
    [(0.5, 0.0, 0.36), (0.12, 0.0, 0.24), (0.5, 0.15, 0.16), (0.5, 0.5, 0.16), (0.5, 1.5, 0.08)]
)
"""The same with large effects less likely, for promises whose evidence adds up over the rivals of a policy
(docs/decisions/0168-smaller-effects.md)."""


@dataclass(frozen=True, eq=False)
class Fit:
    """The Laplace approximation of each run's posterior in every cell of the grid.

    Attributes:
        scores: Shape (R, G, K): modes of the scores, in logits.
        effects: Shape (R, G, K, K): modes of the pair effects, antisymmetric.
        covariance: Shape (R, G, K, K): posterior covariance of the scores.
        sharing: Shape (R, G, K, K) in [0, 1]: how far a pair's logit follows the scores (1 = fully).
        effect_variance: Shape (R, G, K, K): variance of a pair's effect when the scores are known.
        weights: Shape (R, G): posterior probability of each cell, sums to 1.
    """

    scores: FloatArray
    effects: FloatArray
    covariance: FloatArray
    sharing: FloatArray
    effect_variance: FloatArray
    weights: FloatArray

    @cached_property
    def logits(self) -> FloatArray:
        """Mode of every pair's logit, shape (R, G, K, K), antisymmetric."""
        return differences(self.scores) + self.effects

    @cached_property
    def logit_variance(self) -> FloatArray:
        """Posterior variance of every pair's logit, shape (R, G, K, K), symmetric."""
        own = np.einsum("rgii->rgi", self.covariance)
        spread = -2 * self.covariance
        spread += own[..., :, None]
        spread += own[..., None, :]
        np.maximum(spread, 0.0, out=spread)
        spread *= self.sharing
        spread *= self.sharing
        spread += self.effect_variance
        return spread

    @property
    def cells_with_effects(self) -> BoolArray:
        """Whether pairs have effects in a cell, shape (G,)."""
        return np.asarray(self.effect_variance[0, :, 0, 0] > 0)

    @property
    def mean_scores(self) -> FloatArray:
        """Scores averaged over the grid, shape (R, K)."""
        return np.asarray(np.einsum("rg,rgk->rk", self.weights, self.scores))

    @cached_property
    def logit_moments(self) -> tuple[FloatArray, FloatArray]:
        """Mean and variance of every pair's logit over the grid, each of shape (R, K, K)."""
        likely = (self.weights > LEAST_WEIGHT).any(axis=0)
        weights, logits = self.weights[:, likely], self.logits[:, likely]
        mean = np.einsum("rg,rgij->rij", weights, logits)
        around = self.logit_variance[:, likely] + (logits - mean[:, None]) ** 2
        return mean, np.einsum("rg,rgij->rij", weights, around)

    def of(self, runs: BoolArray | IntArray) -> Fit:
        """The fit of some of the runs."""
        return Fit(
            self.scores[runs],
            self.effects[runs],
            self.covariance[runs],
            self.sharing[runs],
            self.effect_variance[runs],
            self.weights[runs],
        )


def fit(wins: IntArray, scales: Scales = DEFAULT_SCALES, start: Fit | None = None) -> Fit:
    """Posterior of scores and pair effects given the counts.

    Args:
        wins: Decisive comparisons of each run, shape (R, K, K), nonnegative with a zero diagonal.
        scales: Grid of prior scales.
        start: An earlier fit of the same runs, to start from; one over another grid is not used.

    Raises:
        TallyError: If `wins` cannot be counts.
    """
    wins = counted(wins, dimensions=3)
    cells = scales.score_sd.size
    if start is not None and start.scores.shape[1] != cells:
        start = None
    won = wins.astype(np.float64)[:, None]
    if scales.votes is not None:
        won = won + scales.votes
    mode = _mode(won, scales, start)
    evidence = _log_evidence(mode, scales) + scales.log_prior
    weights = np.exp(evidence - evidence.max(axis=1, keepdims=True))
    covariance = np.asarray(np.linalg.inv(mode.hessian), dtype=np.float64)
    effect_variance = (scales.effect_sd**2)[:, None, None] * mode.sharing
    return Fit(
        mode.scores,
        mode.effects,
        covariance,
        mode.sharing,
        effect_variance,
        weights / weights.sum(axis=1, keepdims=True),
    )


def log_evidence(won: FloatArray, scales: Scales) -> FloatArray:
    """Laplace marginal likelihood of counts in each cell up to a constant, shape (R, G); 0 without counts.

    Args:
        won: Counts that need not be whole, shape (R, 1 or G, K, K).
        scales: Grid of prior scales, of which neither `votes` nor `log_prior` count.
    """
    return _log_evidence(_mode(won, scales, None), scales)


def logistic(logit: FloatArray) -> FloatArray:
    """Probability of a logit; any shape."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * logit)))


def differences(scores: FloatArray) -> FloatArray:
    """`scores[..., i] - scores[..., j]`, shape (..., K, K)."""
    return np.asarray(scores[..., :, None] - scores[..., None, :])


def laplacian(weights: FloatArray) -> FloatArray:
    """Graph Laplacian of symmetric pair weights with zero diagonal, shape (..., K, K)."""
    matrix = -weights
    diagonal = np.einsum("...ii->...i", matrix)
    diagonal[...] = weights.sum(axis=-1)
    return np.asarray(matrix)


@dataclass(frozen=True, slots=True, eq=False)
class _Given:
    """What every step needs: counts (R, 1 or G, K, K), prior precisions (G, K, K) and variances (G, 1, 1).

    `half_lead` is half of what the row won more often than it lost, `half_totals` half of the comparisons.
    """

    won: FloatArray
    half_lead: FloatArray
    half_totals: FloatArray
    precision: FloatArray
    effect_variance: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class _Mode:
    """Where Newton ended: the mode, and the curvature there."""

    given: _Given
    scores: FloatArray
    effects: FloatArray
    hessian: FloatArray
    sharing: FloatArray


def _mode(won: FloatArray, scales: Scales, start: Fit | None) -> _Mode:
    """The posterior mode in each cell, from counts of shape (R, 1 or G, K, K)."""
    runs, policies, cells = won.shape[0], won.shape[2], scales.score_sd.size
    variance = scales.effect_sd[:, None, None] ** 2
    lost = won.swapaxes(2, 3)
    given = _Given(won, 0.5 * (won - lost), 0.5 * (won + lost), scales.precision(policies), variance)
    scores = np.zeros((runs, cells, policies)) if start is None else start.scores
    effects = np.zeros((runs, cells, policies, policies)) if start is None else start.effects
    mode, step = _newton(given, scores, effects)
    for _ in range(_MOST_STEPS):
        if step < _STEP_TOLERANCE:
            break
        mode, step = _newton(given, mode.scores, mode.effects)
    return mode


def _newton(given: _Given, scores: FloatArray, effects: FloatArray) -> tuple[_Mode, float]:
    """One Newton step from a point, and its length in logits; curvatures are those at the starting point.

    With t = tanh(logit / 2), the chance is (1 + t) / 2, so a pair's likelihood has the slope `half_lead` - t
    `half_totals` and the curvature (1 - t^2) `half_totals` / 2. Squares of numbers take most of the time, so
    they are overwritten once they are not needed.
    """
    tanh = differences(scores)
    tanh += effects
    tanh *= 0.5
    np.tanh(tanh, out=tanh)
    pull = given.half_totals * tanh
    curvature = np.subtract(given.half_totals, np.multiply(pull, tanh, out=tanh), out=tanh)
    curvature *= 0.5
    np.subtract(given.half_lead, pull, out=pull)
    pull += curvature * effects  # what is left of it where a pair has no effect
    sharing = given.effect_variance * curvature
    sharing += 1.0
    np.divide(1.0, sharing, out=sharing)
    slope = np.vecdot(pull, sharing) - np.vecdot(given.precision, scores[:, :, None])
    hessian = laplacian(curvature * sharing)
    hessian += given.precision
    step = np.linalg.solve(hessian, slope[..., None])[..., 0]
    step = step * (_LONGEST_STEP / np.maximum(np.abs(step).max(axis=2, keepdims=True), _LONGEST_STEP))
    curvature *= differences(step)
    pull -= curvature
    pull *= sharing
    pull *= given.effect_variance
    return _Mode(given, scores + step, pull, hessian, sharing), float(np.abs(step).max())


def _log_evidence(mode: _Mode, scales: Scales) -> FloatArray:
    """Laplace marginal likelihood of each cell up to a constant, shape (R, G)."""
    given, squares = mode.given, "rgij,rgij->rg"
    logits = differences(mode.scores)
    logits += mode.effects
    # The logarithm of logistic(l) is min(l, 0) - log(1 + exp(-|l|)), whose second part both orders share.
    log_likelihood = np.einsum(squares, given.won, np.minimum(logits, 0.0))
    np.exp(np.negative(np.abs(logits, out=logits), out=logits), out=logits)
    logits += 1.0
    log_likelihood -= np.einsum(squares, given.half_totals, np.log(logits, out=logits))
    variance = given.effect_variance[:, 0, 0]
    precision = np.divide(1.0, variance, out=np.zeros_like(variance), where=variance > 0)
    penalty = (mode.scores * (given.precision @ mode.scores[..., None])[..., 0]).sum(axis=2)
    penalty += np.einsum(squares, mode.effects, mode.effects) * precision / 2
    volume = np.linalg.slogdet(mode.hessian)[1] - scales.log_determinant(mode.scores.shape[2])
    volume -= np.log(mode.sharing).sum(axis=(2, 3)) / 2
    return np.asarray(log_likelihood - 0.5 * (penalty + volume))
