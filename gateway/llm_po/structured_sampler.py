"""Which pair next in the structured space: fit, draw, solve, and spread what is due over pairs.

The proportions the solver finds for the fitted scores are optimal only if the scores are right. So they are
solved for a few draws from the posterior and averaged; with few comparisons the draws differ, and the average
explores. Until every pair's logit is determined by the comparisons made, half of them go to the pairs that
determine most.

Comparisons are then dealt to the pairs furthest behind their share, as at the end of a horizon that covers
what is about to be assigned and a tenth of what was counted. Dealing by what is missing keeps the counts
close to their shares without the noise of drawing, and the horizon keeps whatever is in flight from piling
up on one pair. See docs/decisions/0022-structured-sampling.md.
"""

from __future__ import annotations

import numpy as np

from gateway.llm_po import structured
from gateway.llm_po.features import Features
from gateway.llm_po.likelihood_ratio import line_nats, margin_logits
from gateway.llm_po.linear import draw_scores, fit, identified, laplacian, prior_precision
from gateway.llm_po.samplers import Situation
from gateway.llm_po.stopping import Design
from gateway.llm_po.wins import FloatArray, IntArray, pair_totals

POSTERIOR_DRAWS = 3
"""Score vectors solved for at every refresh, besides the mode."""

_TOLERANCE = 0.1
_TYPICAL_EXCESS = 1.5  # of comparisons over hardness x line, in simulation
_MOST_ITERATIONS = 200
_SMALLEST_GAP = 0.02  # logits: nearer rivals are allocated to as if this far, or they would get everything
_HORIZON_SHARE = 0.1
_EXPLORED_SHARE = 0.5  # while some pair is not identified


class StructuredSampler:
    """Deals pairs towards the structured optimum of the posterior.

    Args:
        features: Of the policies, in the order of the counts.
    """

    def __init__(self, features: Features) -> None:
        self._features = features

    def pairs(self, situation: Situation, draws: int, rng: np.random.Generator) -> IntArray:
        """`draws` pairs per run, shape (R, draws, 2), first < second."""
        due = self.shares_due(situation, draws, rng)
        first, second = np.triu_indices(situation.policies, 1)
        cumulative = due[:, first, second].cumsum(axis=1)
        # Systematic draws: each pair gets its expected number, up or down to the next whole one.
        points = (np.arange(draws) + rng.random((due.shape[0], 1))) / draws * cumulative[:, -1:]
        chosen = (cumulative[:, None, :] <= points[..., None]).sum(axis=2).clip(max=first.size - 1)
        chosen = rng.permuted(chosen, axis=1)
        return np.stack([first[chosen], second[chosen]], axis=2)

    def shares_due(self, situation: Situation, draws: int, rng: np.random.Generator) -> FloatArray:
        """Shares of the next comparisons, shape (R, K, K), symmetric; sum to 1 over pairs.

        Args:
            situation: Counts and design.
            draws: Comparisons about to be assigned.
            rng: Source of the posterior draws.
        """
        shares = self._target(situation, rng)
        totals = pair_totals(situation.wins).astype(np.float64)
        counted = totals.sum(axis=(1, 2), keepdims=True) / 2
        horizon = counted + np.maximum(draws, _HORIZON_SHARE * counted)
        due = np.maximum(shares * horizon - totals, 0.0)
        return np.asarray(due / (due.sum(axis=(1, 2), keepdims=True) / 2))

    def _target(self, situation: Situation, rng: np.random.Generator) -> FloatArray:
        """Posterior mean of the optimal proportions, shape (R, K, K)."""
        features, design = self._features, situation.design
        posterior = fit(situation.wins, features, precision=prior_precision(features))
        drawn = draw_scores(posterior, features, POSTERIOR_DRAWS, rng)
        scores = np.concatenate([posterior.scores[:, None], drawn], axis=1)
        solved = structured.solve(
            scores.reshape(-1, features.policies),
            features,
            margin=max(margin_logits(design.epsilon), _SMALLEST_GAP),
            costs=design.pair_costs + np.eye(features.policies),
            tolerance=_TOLERANCE,
            most_iterations=_MOST_ITERATIONS,
        )
        mean = solved.proportions.reshape(*scores.shape[:2], *solved.weights.shape[1:]).mean(axis=1)
        return self._explored(mean, situation.wins)

    def _explored(self, shares: FloatArray, wins: IntArray) -> FloatArray:
        """Half of the shares moved to what determines most, in the runs that have undetermined pairs."""
        lacking = ~identified(wins, self._features).all(axis=(1, 2))
        if not lacking.any():
            return shares
        basis = self._features.basis
        compared = (pair_totals(wins[lacking]) > 0).astype(np.float64)
        known = basis.T @ laplacian(compared) @ basis + 1e-3 * np.eye(self._features.rank)
        covariance = basis @ np.linalg.inv(known) @ basis.T
        own = np.einsum("rii->ri", covariance)
        unknown = np.maximum(own[:, :, None] + own[:, None, :] - 2 * covariance, 0.0)
        unknown /= unknown.sum(axis=(1, 2), keepdims=True) / 2
        shares[lacking] = (1 - _EXPLORED_SHARE) * shares[lacking] + _EXPLORED_SHARE * unknown
        return shares


def structured_remaining(wins: IntArray, design: Design, features: Features) -> float:
    """Comparisons expected to a verdict at the optimal pace for the posterior's mode; one run, (1, K, K)."""
    posterior = fit(wins, features, precision=prior_precision(features))
    margin = max(margin_logits(design.epsilon), _SMALLEST_GAP)
    solved = structured.solve(
        posterior.scores, features, margin=margin, tolerance=_TOLERANCE, most_iterations=_MOST_ITERATIONS
    )
    line = line_nats(design.delta, design.epsilon, features.policies)
    return max(float(solved.hardness[0]) * _TYPICAL_EXCESS * line - float(wins.sum()), 1.0)
