"""The optimal proportions as convex programs, solved by a general solver: slow, and independent.

Unstructured:   maximise   min over losers j of  sum_k w[j, k] D[j, k]     over w in the simplex
Structured:     minimise   max over rivals i of  c_i' I(w)^-1 c_i / gap_i^2 + ridge/2 ||w||^2   over w in it

With costs, the simplex in both is sum c w = 1.

In the first, the minimum is the evidence per comparison against the policy that is hardest to eliminate; its
inverse is the hardness, of which `unstructured.optimal_allocation` has the closed form. `structured.solver`
explains the second and solves it in milliseconds. The tests compare the results. cvxpy is imported only when
it is used, because loading it takes seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from gateway.llm_po.bradley_terry import differences, logistic
from gateway.llm_po.checks import checked_type, pair_costs
from gateway.llm_po.errors import DesignError, FeatureError, SolverError, WorldError
from gateway.llm_po.exposure import solve_program
from gateway.llm_po.structured.features import Features
from gateway.llm_po.structured.solver import (
    SMALLEST_CURVATURE,
    check_gaps,
    check_numbers,
    checked_scores,
)
from gateway.llm_po.unstructured import (
    Allocation,
    bernoulli_kl,
    champion_of,
    checked_preferences,
)
from gateway.llm_po.wins import FloatArray

_CLAIM_TOLERANCE: Final = 2e-3  # between the solver's reported objective and that of its weights

_LARGEST_RATIO: Final = 1e7  # beyond this ratio the solver was seen to report wrong optima

_LESS_EXTREME: Final = (
    "give less extreme preferences and costs, or use the fast solver, which bounds its own gap"
)


def solve_allocation(preferences: npt.ArrayLike, costs: npt.ArrayLike | None = None) -> Allocation:
    """Optimal proportions and hardness from the program above.

    Args:
        preferences: Shape (K, K), with one policy preferred to every other.
        costs: Cost of a comparison of each pair, shape (K, K), or None if all cost 1. With costs, the
            simplex is sum c w = 1.

    Raises:
        WorldError: If the preferences are invalid, or the costs not positive or not symmetric.
        NoChampionError: If there is no such policy.
        SolverError: If the solver stops without an optimum.
    """
    import cvxpy  # noqa: PLC0415 - seconds of import, which serving and planning do without

    preferences = checked_preferences(preferences)
    champion = champion_of(preferences)
    losers = [policy for policy in range(preferences.shape[0]) if policy != champion]
    information = np.where(preferences < 0.5, bernoulli_kl(preferences, 0.5), 0.0)
    shares: Any = cvxpy.Variable(preferences.shape, nonneg=True)
    rates: Any = cvxpy.sum(cvxpy.multiply(shares, information), axis=1)
    paid = pair_costs(costs, preferences.shape[0], WorldError)
    constraints: list[Any] = [cvxpy.sum(cvxpy.multiply(shares, paid)) == 1]
    problem: Any = cvxpy.Problem(cvxpy.Maximize(cvxpy.min(rates[losers])), constraints)
    solve_program(problem, _LESS_EXTREME)
    gap = float(np.delete(preferences[champion], champion).min() - 0.5)
    found = np.asarray(shares.value)
    return Allocation(champion, found / found.sum(), 1 / float(problem.value), gap)


def solve_structured(
    scores: npt.ArrayLike,
    features: Features,
    ridge: float = 0.0,
    margin: float = 0.0,
    costs: npt.ArrayLike | None = None,
) -> tuple[FloatArray, float]:
    """The structured program by matrix fractions; minutes at K = 32 one-hot.

    Args:
        scores: Shape (K,), one of them the largest.
        features: The features of the K policies.
        ridge: lambda >= 0.
        margin: Logits added to every gap.
        costs: Cost of a comparison of each pair, shape (K, K), or None if all cost 1.

    Returns:
        Weights, shape (K, K), on pairs first < second, of which the sum of cost x weight is 1 (without costs
        they are the proportions), and the objective at them.

    Raises:
        FeatureError: If scores and features disagree about K, or the scores are no logits.
        DesignError: If a number is out of range.
        NoChampionError: If two policies share the largest score and there is no margin.
        SolverError: If the solver stops without an optimum.
    """
    import cvxpy  # noqa: PLC0415 - seconds of import, which serving and planning do without

    checked_type(features, Features, "features", FeatureError)
    check_numbers(margin, ridge)
    values = checked_scores(np.asarray(scores, dtype=object)[None], features)[0]
    program = _Program.of(values, features, margin, ridge, pair_costs(costs, features.policies, DesignError))
    # In shares of the cost and relative to equal shares, so that no unit makes numbers too small or large.
    spent: Any = cvxpy.Variable(program.costs.size, nonneg=True)
    even = program.objective(np.full(program.costs.size, 1 / program.costs.size) / program.costs)
    per_cost, most = program.curvature / program.costs, float((program.curvature / program.costs).max())
    if most > _LARGEST_RATIO * per_cost.min():
        raise SolverError(
            f"Some pairs give {most / per_cost.min():.2g} times as much information for their cost as "
            f"others, more than the {_LARGEST_RATIO:g} that a general solver can handle; {_LESS_EXTREME}."
        )
    weighted: Any = cvxpy.multiply(spent, per_cost / most)
    information: Any = program.contrasts.T @ cvxpy.diag(weighted) @ program.contrasts
    terms: list[Any] = [
        cvxpy.matrix_frac(contrast / (gap * np.sqrt(even * most)), information)
        for contrast, gap in zip(program.leads, program.gaps, strict=True)
    ]
    objective: Any = cvxpy.max(cvxpy.hstack(terms))
    if ridge > 0:
        objective += ridge / (2 * even) * cvxpy.sum_squares(cvxpy.multiply(spent, 1 / program.costs))
    constraints: list[Any] = [cvxpy.sum(spent) == 1]
    problem: Any = cvxpy.Problem(cvxpy.Minimize(objective), constraints)
    solve_program(problem, _LESS_EXTREME)
    found = np.maximum(np.asarray(spent.value), 0.0)
    weights = found / found.sum() / program.costs
    reached, claimed = program.objective(weights), float(problem.value) * even
    if not abs(reached / claimed - 1) <= _CLAIM_TOLERANCE:
        raise SolverError(
            f"The solver claims an objective of {claimed:g}, its weights have {reached:g}; {_LESS_EXTREME}."
        )
    matrix = np.zeros((features.policies, features.policies))
    matrix[np.triu_indices(features.policies, 1)] = weights
    return matrix, claimed


@dataclass(frozen=True, slots=True, eq=False)
class _Program:
    """The data of a structured program, on P pairs first < second.

    contrasts (P, r), curvature and costs (P,) of the pairs; leads (K - 1, r) and gaps (K - 1,) of the rivals.
    """

    contrasts: FloatArray
    curvature: FloatArray
    costs: FloatArray
    leads: FloatArray
    gaps: FloatArray
    ridge: float

    @classmethod
    def of(
        cls, scores: FloatArray, features: Features, margin: float, ridge: float, costs: FloatArray
    ) -> _Program:
        first, second = np.triu_indices(features.policies, 1)
        chance = logistic(differences(scores))[first, second]
        champion = int(scores.argmax())
        gaps = np.delete(scores[champion] - scores + margin, champion)
        check_gaps(gaps)
        return cls(
            features.basis[first] - features.basis[second],
            np.maximum(chance * (1 - chance), SMALLEST_CURVATURE),
            costs[first, second],
            features.basis[champion] - np.delete(features.basis, champion, axis=0),
            gaps,
            ridge,
        )

    def objective(self, weights: FloatArray) -> float:
        """The objective at weights (P,), computed directly; infinite if they leave a rival undetermined."""
        information = (self.contrasts.T * (weights * self.curvature)) @ self.contrasts
        try:
            variances = (self.leads.T * np.linalg.solve(information, self.leads.T)).sum(axis=0)
        except np.linalg.LinAlgError:
            return float("inf")
        return float((variances / self.gaps**2).max() + self.ridge / 2 * (weights**2).sum())
