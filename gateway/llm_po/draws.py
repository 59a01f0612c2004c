"""Draws from the posterior of every pair's logit, and the information of a comparison in such a draw.

A planner draws 128 times at every refresh, and a square for each draw would be most of a refresh's time. So
each pair is drawn once, for i < j, and only what a sampler asks for is read from it: the rival furthest ahead
of each policy, or all rivals of a few policies.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gateway.llm_po.bradley_terry import Fit, differences
from gateway.llm_po.scalars import whole_number
from gateway.llm_po.wins import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class PairDraws:
    """Posterior draws of R runs.

    Attributes:
        policies: K.
        upper: Shape (R, draws, K (K - 1) / 2): logits of P(i preferred to j) of the pairs i < j, row by row.
    """

    policies: int
    upper: FloatArray

    def logits(self) -> FloatArray:
        """Shape (R, draws, K, K), antisymmetric."""
        first, second = np.triu_indices(self.policies, 1)
        square = np.zeros((*self.upper.shape[:2], self.policies, self.policies))
        square[..., first, second] = self.upper
        square[..., second, first] = -self.upper
        return square

    @cached_property
    def worst(self) -> FloatArray:
        """The logit of each policy against the rival that is furthest ahead of it, shape (R, draws, K)."""
        begins = [row.start for _, row in _rows(self.policies)]
        lead = np.full((*self.upper.shape[:2], self.policies), -np.inf)  # of an earlier policy over each
        for first, row in _rows(self.policies):
            later = lead[..., first + 1 :]
            np.maximum(later, self.upper[..., row], out=later)
        worst = np.negative(lead, out=lead)
        worst[..., :-1] = np.minimum(worst[..., :-1], np.minimum.reduceat(self.upper, begins, axis=2))
        return worst

    def against(self, rivals: IntArray) -> FloatArray:
        """Logits of each policy against one rival, shape (R, draws, K).

        Args:
            rivals: The rival of each policy, never the policy itself; shape (R, K).
        """
        place, sign = self._ordered_pairs
        everyone = np.arange(self.policies)
        found = np.take_along_axis(self.upper, place[everyone, rivals][:, None], axis=2)
        return np.asarray(found * sign[everyone, rivals][:, None])

    def of_rivals(self, runs: IntArray, draws: IntArray, policies: IntArray) -> FloatArray:
        """Logits of every rival against some policies, each in one draw of one run.

        Args:
            runs: Shape (N,).
            draws: Shape (N,).
            policies: Shape (N,).

        Returns:
            Shape (N, K), 0 for the policy itself.
        """
        place, sign = self._ordered_pairs
        before = (runs * self.upper.shape[1] + draws) * self.upper.shape[2]
        found = self.upper.ravel().take(before[:, None] + place[policies])
        return np.asarray(np.multiply(found, -sign[policies], out=found))

    @cached_property
    def _ordered_pairs(self) -> tuple[IntArray, FloatArray]:
        """Where `upper` has each ordered pair, and its sign there (0 on the diagonal); shape (K, K)."""
        everyone = np.arange(self.policies)
        low, high = np.minimum.outer(everyone, everyone), np.maximum.outer(everyone, everyone)
        place = np.maximum(low * (2 * self.policies - 1 - low) // 2 + high - low - 1, 0)
        return place, np.sign(everyone - everyone[:, None]).astype(np.float64)


def draw_pairs(fit: Fit, draws: int, rng: np.random.Generator) -> PairDraws:
    """Posterior draws of every pair's logit.

    Raises:
        DesignError: If there is no draw.
    """
    whole_number(draws, "draws", 1)
    runs, _, policies = fit.scores.shape
    point = rng.random((runs, draws, 1))
    cells = (fit.weights.cumsum(axis=1)[:, None, :-1] <= point).sum(axis=2)
    normal = rng.standard_normal((runs, draws, policies))
    upper = np.empty((runs, draws, policies * (policies - 1) // 2))
    for cell in np.unique(cells).tolist():
        places = np.nonzero(cells == cell)
        roots = np.linalg.cholesky(fit.covariance[:, cell])
        moved = (normal @ roots.swapaxes(1, 2))[places]
        # All draws of a single run share its numbers, which then need no copy for each.
        of_run = places[0] if runs > 1 else slice(0, 1)
        upper[places] = _logits(fit, cell, of_run, moved, rng)
    return PairDraws(policies, upper)


def _logits(
    fit: Fit, cell: int, runs: IntArray | slice, moved: FloatArray, rng: np.random.Generator
) -> FloatArray:
    """Logits of the pairs i < j in N draws from a cell, shape (N, K (K - 1) / 2).

    Args:
        fit: The posterior.
        cell: The cell of the grid.
        runs: The run of each draw.
        moved: Draws of the scores less their modes, shape (N, K).
        rng: Source of the draws of the pairs' effects.
    """
    draws, policies = moved.shape
    variance = fit.effect_variance[:, cell]
    has_effects = bool(variance.any())
    scores = moved if has_effects else moved + fit.scores[runs, cell]
    logits = np.empty((draws, policies * (policies - 1) // 2))
    for policy, row in _rows(policies):
        np.subtract(scores[:, policy, None], scores[:, policy + 1 :], out=logits[:, row])
    if has_effects:
        first, second = np.triu_indices(policies, 1)
        modes = differences(fit.scores[:, cell]) + fit.effects[:, cell]
        own = np.asarray(rng.standard_normal(logits.shape))
        own *= np.sqrt(variance[:, first, second])[runs]
        logits *= fit.sharing[:, cell, first, second][runs]
        logits += np.asarray(modes[:, first, second])[runs]
        logits += own
    return logits


def _rows(policies: int) -> Iterator[tuple[int, slice]]:
    """Each policy but the last, with the places of its pairs with later policies."""
    begin = 0
    for first in range(policies - 1):
        end = begin + policies - 1 - first
        yield first, slice(begin, end)
        begin = end


def information_below(logits: FloatArray, threshold: float) -> FloatArray:
    """kl(mu, threshold) in nats where mu = logistic(logit) is below the threshold, 0 elsewhere; any shape.

    With logit(h) as the largest logit, the divergence is mu (logit - logit(h)) - log(1 + odds) - log(1 - h).
    Choosing where mu is below by a condition instead would take longer than all the rest.

    The threshold is in (0, 1).
    """
    largest = math.log(threshold / (1 - threshold))
    nats = np.minimum(logits, largest)
    odds = np.exp(nats)
    nats -= largest
    nats *= odds
    odds += 1.0
    nats /= odds
    nats -= np.log(odds, out=odds)
    nats -= math.log(1 - threshold)
    return np.asarray(np.maximum(nats, 0.0, out=nats))
