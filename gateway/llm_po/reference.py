"""The optimal proportions as convex programs, solved by a general solver: slow, and independent.

Unstructured:   maximise   min over losers j of  sum_k w[j, k] D[j, k]     over w in the simplex
Structured:     minimise   max over rivals i of  c_i' I(w)^-1 c_i / gap_i^2 + ridge/2 ||w||^2   over the same

In the first, the minimum is the evidence per comparison against the policy that is hardest to eliminate; its
inverse is the hardness. `unstructured.optimal_allocation` states the same in closed form. `structured.solve`
explains the second and solves it in milliseconds. The tests hold them together.
The only module that imports cvxpy, and only when it is used: loading it takes seconds.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gateway.llm_po.bradley_terry import differences, logistic
from gateway.llm_po.errors import SolverError
from gateway.llm_po.features import Features
from gateway.llm_po.unstructured import Allocation, bernoulli_kl, champion_of
from gateway.llm_po.wins import FloatArray


def solve_allocation(preferences: FloatArray, costs: FloatArray | None = None) -> Allocation:
    """Optimal proportions and hardness from the program above.

    Args:
        preferences: Shape (K, K), somebody preferred to everybody.
        costs: Cost of a comparison of each pair, shape (K, K), or None where all cost 1. The simplex is then
            that of spending: sum c w = 1.

    Raises:
        NoChampionError: If nobody is.
        SolverError: If the solver stops without an optimum.
    """
    import cvxpy  # noqa: PLC0415  # seconds of import, needed by nobody who serves or plans

    champion = champion_of(preferences)
    losers = [policy for policy in range(preferences.shape[0]) if policy != champion]
    information = np.where(preferences < 0.5, bernoulli_kl(preferences, 0.5), 0.0)
    shares: Any = cvxpy.Variable(preferences.shape, nonneg=True)
    rates: Any = cvxpy.sum(cvxpy.multiply(shares, information), axis=1)
    paid = np.ones_like(preferences) if costs is None else costs
    constraints: list[Any] = [cvxpy.sum(cvxpy.multiply(shares, paid)) == 1]
    problem: Any = cvxpy.Problem(cvxpy.Maximize(cvxpy.min(rates[losers])), constraints)
    _solve(problem)
    gap = float(np.delete(preferences[champion], champion).min() - 0.5)
    found = np.asarray(shares.value)
    return Allocation(champion, found / found.sum(), 1 / float(problem.value), gap)


def solve_structured(
    scores: FloatArray, features: Features, ridge: float = 0.0, margin: float = 0.0
) -> tuple[FloatArray, float]:
    """The structured program by matrix fractions; minutes at K = 32 one-hot.

    Args:
        scores: Shape (K,), one of them the largest.
        features: Of the K policies.
        ridge: lambda >= 0.
        margin: Logits added to every gap.

    Returns:
        Proportions, shape (K, K), on pairs first < second, and the objective at them.

    Raises:
        SolverError: If the solver stops without an optimum.
    """
    import cvxpy  # noqa: PLC0415  # seconds of import, needed by nobody who serves or plans

    first, second = np.triu_indices(features.policies, 1)
    contrasts = features.basis[first] - features.basis[second]
    chance = logistic(differences(scores))[first, second]
    champion = int(scores.argmax())
    shares: Any = cvxpy.Variable(first.size, nonneg=True)
    weighted: Any = cvxpy.multiply(shares, chance * (1 - chance))
    information: Any = contrasts.T @ cvxpy.diag(weighted) @ contrasts
    terms: list[Any] = [
        cvxpy.matrix_frac(features.basis[champion] - features.basis[rival], information)
        / (scores[champion] - scores[rival] + margin) ** 2
        for rival in range(features.policies)
        if rival != champion
    ]
    objective: Any = cvxpy.max(cvxpy.hstack(terms)) + ridge / 2 * cvxpy.sum_squares(shares)
    constraints: list[Any] = [cvxpy.sum(shares) == 1]
    problem: Any = cvxpy.Problem(cvxpy.Minimize(objective), constraints)
    _solve(problem)
    proportions = np.zeros((features.policies, features.policies))
    proportions[first, second] = shares.value
    return proportions, float(problem.value)


def _solve(problem: Any) -> None:
    """Solve a problem in place.

    Raises:
        SolverError: If the solver fails or stops without an optimum.
    """
    import cvxpy  # noqa: PLC0415  # same

    try:
        problem.solve(solver=cvxpy.CLARABEL)
    except cvxpy.SolverError as error:
        raise SolverError(f"The solver failed ({error}); check the world for extreme preferences.") from error
    if problem.status != cvxpy.OPTIMAL:
        raise SolverError(f"The solver stopped with status {problem.status!r}, not at an optimum.")
