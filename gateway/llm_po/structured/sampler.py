"""Chooses the next pairs in the structured space: fit, draw, solve, and deal comparisons to pairs.

The proportions the solver finds for the fitted scores are optimal only if the scores are right. So they are
solved for a few draws from the posterior and averaged; with few comparisons the draws differ, and the average
explores. Until the comparisons made determine every pair's logit, half of them go to the pairs that
determine most.

Comparisons are then dealt to the pairs that are furthest behind their share at the end of a horizon. The
horizon covers the comparisons about to be assigned and a tenth of those counted. Dealing by deficit keeps
the counts close to their shares without the noise of drawing, and the horizon prevents concurrent
comparisons from piling up on one pair (docs/decisions/0022-structured-sampling.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from gateway.llm_po.bradley_terry import laplacian
from gateway.llm_po.samplers import Situation
from gateway.llm_po.structured import solver
from gateway.llm_po.structured.features import Features
from gateway.llm_po.structured.likelihood_ratio import lr_line_nats, margin_logits
from gateway.llm_po.structured.linear import (
    LinearFit,
    draw_scores,
    fit_structure,
    identified,
    prior_precision,
)
from gateway.llm_po.structured.solver import Solution
from gateway.llm_po.wins import FloatArray, IntArray, pair_totals

POSTERIOR_DRAWS: Final = 3
"""Score vectors solved for at every refresh, besides the mode."""

_TOLERANCE: Final = 0.1
_TYPICAL_EXCESS: Final = 1.5  # factor of comparisons over hardness x line, in simulations
_MOST_ITERATIONS: Final = 200
# logits: nearer rivals count as this far away, otherwise they would get everything
_SMALLEST_GAP: Final = 0.02
_HORIZON_SHARE: Final = 0.1
_EXPLORED_SHARE: Final = 0.5  # while some pair is not identified


@dataclass(frozen=True, slots=True, eq=False)
class Aim:
    """The shares that R runs approach, and the starting point of the next refresh.

    Attributes:
        posterior: The fit with a prior that draws are taken around.
        solution: Optima of the mode and of each draw, one run's after another's: R (1 + draws) problems.
        shares: Shape (R, K, K), symmetric, summing to 1 over pairs: mean of the optimal proportions, half of
            them moved if a pair's logit is not determined yet.
    """

    posterior: LinearFit
    solution: Solution
    shares: FloatArray


def aim(situation: Situation, features: Features, rng: np.random.Generator, start: Aim | None = None) -> Aim:
    """Posterior mean of the optimal proportions.

    Args:
        situation: Counts and design; concurrent runs number the policies, and so the costs, in the same way.
        features: The features of the policies, in the order of the counts.
        rng: Source of the posterior draws.
        start: The aim of an earlier refresh of this single run, from which fit and solver start.
    """
    design = situation.design
    posterior = fit_structure(
        situation.wins,
        features,
        precision=prior_precision(features),
        start=None if start is None else start.posterior,
    )
    drawn = draw_scores(posterior, features, POSTERIOR_DRAWS, rng)
    scores = np.concatenate([posterior.scores[:, None], drawn], axis=1)
    solved = solver.solve(
        scores.reshape(-1, features.policies),
        features,
        margin=max(margin_logits(design.epsilon), _SMALLEST_GAP),
        costs=situation.prices[0] + np.eye(features.policies),
        tolerance=_TOLERANCE,
        # A draw is equally near to each of the last draws. In measurements, starting each from the last draw
        # of the same number took up to 2.4 times the steps (docs/decisions/0022-structured-sampling.md).
        start=None if start is None else start.solution.pooled(scores.size // features.policies),
        most_iterations=_MOST_ITERATIONS,
    )
    mean = solved.proportions.reshape(*scores.shape[:2], *solved.weights.shape[1:]).mean(axis=1)
    return Aim(posterior, solved, _explored(mean, situation.wins, features))


def shares_due(aimed: Aim, wins: IntArray, draws: int) -> FloatArray:
    """Shares of the next comparisons, shape (R, K, K), symmetric; sum to 1 over pairs.

    Args:
        aimed: The shares that the counts should approach.
        wins: Shape (R, K, K).
        draws: Comparisons about to be assigned.
    """
    totals = pair_totals(wins).astype(np.float64)
    counted = totals.sum(axis=(1, 2), keepdims=True) / 2
    horizon = counted + np.maximum(draws, _HORIZON_SHARE * counted)
    due = np.maximum(aimed.shares * horizon - totals, 0.0)
    return np.asarray(due / (due.sum(axis=(1, 2), keepdims=True) / 2))


def expected_remaining(aimed: Aim, situation: Situation) -> float:
    """Comparisons expected to a verdict at the optimal pace for the posterior's mode; of the first run.

    If the objective is cost, these are the comparisons of the cheapest plan to a verdict.
    """
    design = situation.design
    per_nat = 2 * float(aimed.solution.worst[0]) * float(aimed.solution.weights[0].sum()) / 2
    line = lr_line_nats(design.delta, design.epsilon, design.policies)
    return max(per_nat * _TYPICAL_EXCESS * line - float(situation.wins[0].sum()), 1.0)


class StructuredSampler:
    """Deals pairs towards the structured optimum of the posterior.

    Args:
        features: Those of the policies, in the order of the counts.
    """

    def __init__(self, features: Features) -> None:
        self._features = features

    def pairs(self, situation: Situation, draws: int, rng: np.random.Generator) -> IntArray:
        """`draws` pairs per run, shape (R, draws, 2), first < second."""
        due = shares_due(aim(situation, self._features, rng), situation.wins, draws)
        first, second = np.triu_indices(situation.policies, 1)
        cumulative = due[:, first, second].cumsum(axis=1)
        # Systematic draws: each pair gets its expected number, rounded up or down.
        points = (np.arange(draws) + rng.random((due.shape[0], 1))) / draws * cumulative[:, -1:]
        chosen = (cumulative[:, None, :] <= points[..., None]).sum(axis=2).clip(max=first.size - 1)
        chosen = rng.permuted(chosen, axis=1)
        return np.stack([first[chosen], second[chosen]], axis=2)


def _explored(shares: FloatArray, wins: IntArray, features: Features) -> FloatArray:
    """The shares with half moved to the pairs that determine most, in runs with undetermined pairs."""
    lacking = ~identified(wins, features).all(axis=(1, 2))
    if not lacking.any():
        return shares
    basis = features.basis
    compared = (pair_totals(wins[lacking]) > 0).astype(np.float64)
    known = basis.T @ laplacian(compared) @ basis + 1e-3 * np.eye(features.rank)
    covariance = basis @ np.linalg.inv(known) @ basis.T
    own = np.einsum("rii->ri", covariance)
    unknown = np.maximum(own[:, :, None] + own[:, None, :] - 2 * covariance, 0.0)
    unknown /= unknown.sum(axis=(1, 2), keepdims=True) / 2
    shares[lacking] = (1 - _EXPLORED_SHARE) * shares[lacking] + _EXPLORED_SHARE * unknown
    return shares
