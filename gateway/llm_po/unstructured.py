"""The unstructured space in closed form: optimal proportions and hardness.

D[j, k] = kl(mu[j, k], 1/2) where mu[j, k] < 1/2: what one comparison with k tells against j being the winner.
Every loser j is compared only with the rival k*(j) that beats it most clearly, for 1 / D[j, k*(j)]
comparisons per nat. Derived from the change-of-measure argument of Garivier and Kaufmann (2016); the method
is that of Hu, Gao, Hu and Zhou (2026), arXiv:2604.08779.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gateway.llm_po.errors import NoChampionError, WorldError
from gateway.llm_po.evidence import checked_delta, checked_epsilon
from gateway.llm_po.wins import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Allocation:
    """Optimal sampling of a world in which somebody beats everybody.

    Attributes:
        champion: The policy preferred to every other.
        proportions: Shape (K, K): `[j, k]` is the share of comparisons of loser j with rival k; sums to 1.
        hardness: Comparisons per nat of evidence, T*; with costs, what a nat costs.
        gap: The champion's smallest margin over 1/2.
    """

    champion: int
    proportions: FloatArray
    hardness: float
    gap: float


def bernoulli_kl(p: npt.ArrayLike, q: npt.ArrayLike) -> FloatArray:
    """Kullback-Leibler divergence of Bernoulli(p) from Bernoulli(q) in nats; broadcasts; q in (0, 1)."""
    first, second = np.asarray(p, dtype=np.float64), np.asarray(q, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        success = np.where(first > 0, first * np.log(first / second), 0.0)
        failure = np.where(first < 1, (1 - first) * np.log((1 - first) / (1 - second)), 0.0)
    return np.asarray(np.maximum(success + failure, 0.0))


def checked_preferences(matrix: npt.ArrayLike) -> FloatArray:
    """`matrix` as preference probabilities, shape (K, K).

    Raises:
        WorldError: If it is not square, K < 2, not in [0, 1], or `P + P.T` is not 1 within 1e-5.
    """
    try:
        preferences = np.asarray(matrix, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise WorldError(
            f"The preference matrix is not numeric ({error}); give K rows of K probabilities."
        ) from error
    if preferences.ndim != 2 or preferences.shape[0] != preferences.shape[1] or preferences.shape[0] < 2:
        raise WorldError(f"The preference matrix has shape {preferences.shape}; K x K with K >= 2 is needed.")
    if not np.isfinite(preferences).all() or preferences.min() < 0 or preferences.max() > 1:
        raise WorldError("The preference matrix holds a value outside [0, 1]; give probabilities.")
    gap = float(np.abs(preferences + preferences.T - 1).max())
    if gap > 1e-5:
        raise WorldError(f"P[i][j] + P[j][i] is off 1 by {gap:.2g}; they must add up to 1 (diagonal 1/2).")
    return preferences


def find_champion(preferences: FloatArray) -> int | None:
    """The policy preferred to every other (the Condorcet winner), or None."""
    ahead = (preferences > 0.5).sum(axis=1)
    best = int(ahead.argmax())
    return best if ahead[best] == preferences.shape[0] - 1 else None


def champion_of(preferences: FloatArray) -> int:
    """The policy preferred to every other.

    Raises:
        NoChampionError: If nobody is.
    """
    champion = find_champion(preferences)
    if champion is None:
        raise NoChampionError(
            "No policy is preferred to every other, so there is no winner to find; use a margin epsilon > 0."
        )
    return champion


def optimal_allocation(preferences: FloatArray, costs: FloatArray | None = None) -> Allocation:
    """Closed-form optimal proportions and hardness.

    Args:
        preferences: Shape (K, K).
        costs: Cost of a comparison of each pair, shape (K, K), symmetric, positive off the diagonal; None
            where all cost 1. Every loser is then compared with the rival that tells most per cost.

    Raises:
        NoChampionError: If nobody beats everybody.
        WorldError: If the costs are of another shape, not symmetric, or not positive.
    """
    champion = champion_of(preferences)
    paid = np.ones_like(preferences) if costs is None else checked_pair_costs(costs, preferences.shape[0])
    information = np.where(preferences < 0.5, bernoulli_kl(preferences, 0.5), 0.0)
    rivals = (information / paid).argmax(axis=1)
    losers = [policy for policy in range(preferences.shape[0]) if policy != champion]
    lengths = np.zeros_like(preferences)
    for loser in losers:
        lengths[loser, rivals[loser]] = 1 / information[loser, rivals[loser]]
    gap = float(np.delete(preferences[champion], champion).min() - 0.5)
    return Allocation(champion, lengths / lengths.sum(), float((lengths * paid).sum()), gap)


def checked_pair_costs(costs: npt.ArrayLike, policies: int) -> FloatArray:
    """`costs` as the cost of each pair, shape (K, K), 1 on the diagonal.

    Raises:
        WorldError: If it is of another shape, not symmetric, or not positive and finite off the diagonal.
    """
    paid = np.array(costs, dtype=np.float64)
    if paid.shape != (policies, policies):
        raise WorldError(f"The costs have shape {paid.shape}; one for each pair of K = {policies} is needed.")
    np.fill_diagonal(paid, 1.0)
    if not (np.isfinite(paid).all() and (paid > 0).all() and np.allclose(paid, paid.T)):
        raise WorldError("A cost of a pair is not positive, or not the same both ways; give what each costs.")
    return paid


def lower_bound(hardness: float, delta: float) -> float:
    """Mean comparisons no delta-correct method can stay below: T* kl(delta, 1 - delta)."""
    return hardness * float(bernoulli_kl(checked_delta(delta), 1 - delta))


def no_worse_hardness(preferences: FloatArray, epsilon: float) -> float:
    """T_eps: comparisons per nat to certify the policy that is cheapest to certify as no worse.

    min over s of the sum over j of 1 / kl(mu[j, s], 1/2 + epsilon); infinite if all are beaten by more.
    """
    threshold = 0.5 + checked_epsilon(epsilon)
    pace = np.where(preferences < threshold, bernoulli_kl(preferences, threshold), 0.0)
    with np.errstate(divide="ignore"):
        lengths = 1 / pace
    np.fill_diagonal(lengths, 0.0)
    return float(lengths.sum(axis=0).min())
