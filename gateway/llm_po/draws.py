"""Draws from the posterior of every pair's logit, and the information of a comparison in such a draw.

A planner draws 128 times at every refresh, and a square for each draw would be most of a refresh's time. So
a draw is kept as scores if pairs have no effects in it, else as one logit for each pair i < j, and only what
a sampler asks for is read from it: the rival furthest ahead of each policy, or all rivals of a few policies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Final

import numpy as np

from gateway.llm_po.bradley_terry import Fit, differences
from gateway.llm_po.scalars import whole_number
from gateway.llm_po.wins import BoolArray, FloatArray, IntArray

_KEPT: Final = 8
"""Numbers of policies for which tables of pairs are kept."""


@dataclass(frozen=True, eq=False)
class PairDraws:
    """Posterior draws of R runs.

    In a draw without effects of pairs, the logits are differences of the scores drawn, and need no numbers of
    their own.

    Attributes:
        scores: Shape (R, draws, K): the scores drawn.
        numbers: Shape (R, draws): the number of each draw among the N draws in which pairs have effects; -1
            for a draw without effects.
        upper: Shape (K (K - 1) / 2, N): logits of P(i preferred to j) of the pairs i < j, row by row, in each
            of these.
    """

    scores: FloatArray
    numbers: IntArray
    upper: FloatArray

    @property
    def policies(self) -> int:
        """K, the number of policies."""
        return int(self.scores.shape[2])

    @cached_property
    def has_effects(self) -> BoolArray:
        """The draws in which pairs have effects, shape (R, draws)."""
        return np.asarray(self.numbers >= 0)

    def logits(self) -> FloatArray:
        """Shape (R, draws, K, K), antisymmetric."""
        square = differences(self.scores)
        place, sign = _ordered_pairs(self.policies)
        numbers = self.numbers[self.has_effects][:, None, None]
        square[self.has_effects] = self.upper[place, numbers] * sign
        return square

    @cached_property
    def worst(self) -> FloatArray:
        """The logit of each policy against the rival that is furthest ahead of it, shape (R, draws, K)."""
        others = self.scores.reshape(-1, self.policies).copy()
        every, leader = np.arange(len(others)), others.argmax(axis=1)
        highest = others[every, leader]
        worst = others - highest[:, None]
        others[every, leader] = -np.inf
        worst[every, leader] = highest - others.max(axis=1)
        has_effects = self.has_effects.ravel()
        worst[has_effects] = self._worst_of_pairs()[:, self.numbers[self.has_effects]].T
        return np.asarray(worst.reshape(self.scores.shape))

    def _worst_of_pairs(self) -> FloatArray:
        """The same from the logits of the pairs, in the draws with effects; shape (K, N)."""
        lead = np.full((self.policies, self.upper.shape[1]), -np.inf)  # of an earlier policy over each
        worst = np.full_like(lead, np.inf)
        for first, row in _rows(self.policies):
            of_later = self.upper[row]
            np.minimum.reduce(of_later, axis=0, out=worst[first])
            np.maximum(lead[first + 1 :], of_later, out=lead[first + 1 :])
        return np.asarray(np.minimum(worst, np.negative(lead, out=lead), out=worst))

    def against(self, rivals: IntArray) -> FloatArray:
        """Logits of each policy against one rival, shape (R, draws, K).

        Args:
            rivals: The rival of each policy, never the policy itself; shape (R, K).
        """
        found = self.scores - np.take_along_axis(self.scores, rivals[:, None], axis=2)
        everyone, (place, sign) = np.arange(self.policies), _ordered_pairs(self.policies)
        theirs = rivals[np.nonzero(self.has_effects)[0]]
        numbers = self.numbers[self.has_effects][:, None]
        found[self.has_effects] = self.upper[place[everyone, theirs], numbers] * sign[everyone, theirs]
        return np.asarray(found)

    def of_rivals(
        self, runs: IntArray, draws: IntArray, policies: IntArray, rivals: IntArray | None = None
    ) -> FloatArray:
        """Logits of rivals against some policies, each in one draw of one run.

        Args:
            runs: Shape (N,).
            draws: Shape (N,).
            policies: Shape (N,).
            rivals: Some rivals of each of these policies, shape (N, J); None for all policies in order.

        Returns:
            Shape (N, J), or (N, K) for all; 0 for a policy itself.
        """
        scores, numbers = self.scores[runs, draws], self.numbers[runs, draws]
        own = scores[np.arange(policies.size), policies][:, None]
        found = (scores if rivals is None else scores[np.arange(policies.size)[:, None], rivals]) - own
        has_effects = numbers >= 0
        theirs = policies[has_effects]
        pairs = theirs if rivals is None else (theirs[:, None], rivals[has_effects])
        place, sign = _ordered_pairs(self.policies)
        at = place[pairs] * self.upper.shape[1] + numbers[has_effects, None]
        of_upper = self.upper.ravel().take(at)
        found[has_effects] = np.multiply(of_upper, -sign[pairs], out=of_upper)
        return np.asarray(found)


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
    scores, numbers = np.empty_like(normal), np.full((runs, draws), -1)
    has_effects = fit.cells_with_effects[cells]
    upper = np.empty((policies * (policies - 1) // 2, np.count_nonzero(has_effects)))
    drawn = 0
    for cell in np.flatnonzero(np.bincount(cells.ravel())).tolist():
        is_here = cells == cell
        there = np.flatnonzero(is_here.any(axis=1))
        roots = np.linalg.cholesky(fit.covariance[there, cell])
        moved = (normal[there] @ roots.swapaxes(1, 2))[is_here[there]]
        # All draws of a single run share its numbers, which then need no copy for each.
        of_run = np.nonzero(is_here)[0] if runs > 1 else slice(0, 1)
        scores[is_here] = moved + fit.scores[of_run, cell]
        if fit.cells_with_effects[cell]:
            numbers[is_here] = drawn + np.arange(len(moved))
            _draw_logits(upper[:, drawn : drawn + len(moved)], fit, cell, of_run, moved, rng)
            drawn += len(moved)
    return PairDraws(scores, numbers, upper)


def _draw_logits(
    logits: FloatArray,
    fit: Fit,
    cell: int,
    runs: IntArray | slice,
    moved: FloatArray,
    rng: np.random.Generator,
) -> None:
    """Draw the logits of the pairs i < j in N draws from a cell with effects of pairs.

    Args:
        logits: Where to write them, shape (K (K - 1) / 2, N).
        fit: The posterior.
        cell: The cell of the grid.
        runs: The run of each draw.
        moved: Draws of the scores less their modes, shape (N, K).
        rng: Source of the draws of the pairs' effects.
    """
    draws, policies = moved.shape
    first, second = _pairs(policies)
    effects, scores = rng.standard_normal((draws, first.size)), np.ascontiguousarray(moved.T)
    for policy, row in _rows(policies):
        np.subtract(scores[policy], scores[policy + 1 :], out=logits[row])
    logits *= fit.sharing[:, cell, first, second][runs].T
    logits += fit.logits[:, cell, first, second][runs].T
    effects *= np.sqrt(fit.effect_variance[:, cell, first, second])[runs]
    logits += effects.T


@lru_cache(maxsize=_KEPT)
def _rows(policies: int) -> tuple[tuple[int, slice], ...]:
    """Each policy but the last, with the places of its pairs with later policies."""
    ends = np.arange(policies - 1, 0, -1).cumsum().tolist()
    return tuple((first, slice(begin, end)) for first, (begin, end) in enumerate(pairwise([0, *ends])))


@lru_cache(maxsize=_KEPT)
def _pairs(policies: int) -> tuple[IntArray, IntArray]:
    """The pairs i < j, row by row: all i, and all j."""
    return np.triu_indices(policies, 1)


@lru_cache(maxsize=_KEPT)
def _ordered_pairs(policies: int) -> tuple[IntArray, FloatArray]:
    """Where the pairs i < j have each ordered pair, and its sign there (0 on the diagonal); shape (K, K)."""
    place, sign = np.zeros((policies, policies), dtype=np.int64), np.zeros((policies, policies))
    first, second = _pairs(policies)
    place[first, second] = place[second, first] = np.arange(first.size)
    sign[first, second], sign[second, first] = 1.0, -1.0
    return place, sign


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
