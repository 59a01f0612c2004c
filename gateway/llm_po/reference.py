"""The unstructured optimum as a convex program, solved by a general solver: slow, and independent.

    maximise   min over losers j of  sum_k w[j, k] D[j, k]        over w in the simplex

The minimum is the evidence per comparison against the policy that is hardest to eliminate; its inverse is the
hardness. `unstructured.optimal_allocation` states the same in closed form; the tests hold the two together.
The only module that imports cvxpy, and only when it is used: loading it takes seconds.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gateway.llm_po.errors import SolverError
from gateway.llm_po.unstructured import Allocation, bernoulli_kl, champion_of
from gateway.llm_po.wins import FloatArray


def solve_allocation(preferences: FloatArray) -> Allocation:
    """Optimal proportions and hardness from the program above.

    Args:
        preferences: Shape (K, K), somebody preferred to everybody.

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
    constraints: list[Any] = [cvxpy.sum(shares) == 1]
    problem: Any = cvxpy.Problem(cvxpy.Maximize(cvxpy.min(rates[losers])), constraints)
    problem.solve(solver=cvxpy.CLARABEL)
    if problem.status != cvxpy.OPTIMAL or shares.value is None:
        raise SolverError(f"The solver stopped with status {problem.status!r}, not at an optimum.")
    gap = float(np.delete(preferences[champion], champion).min() - 0.5)
    return Allocation(champion, np.asarray(shares.value), 1 / float(problem.value), gap)
