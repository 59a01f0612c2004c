"""The unstructured space in closed form: optimal proportions and hardness.

D[j, k] = kl(mu[j, k], 1/2) where mu[j, k] < 1/2: the evidence of one comparison with k that j does not win.
Every loser j is compared only with the rival k*(j) that beats it most clearly, for 1 / D[j, k*(j)]
comparisons per nat. Derived from the change-of-measure argument of Garivier and Kaufmann (2016); the method
is that of Hu, Gao, Hu and Zhou (2026), arXiv:2604.08779.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from gateway.llm_po.checks import numbers, pair_costs
from gateway.llm_po.errors import DesignError, NoChampionError, WorldError
from gateway.llm_po.lines import Promise, checked_promise
from gateway.llm_po.scalars import checked_delta, checked_epsilon, real, shown
from gateway.llm_po.wins import BoolArray, FloatArray

_TINY_DELTA: Final = 1e-12  # below it 1 - delta rounds, and kl(delta, 1 - delta) is log(1/delta) to 12 digits


@dataclass(frozen=True, slots=True, eq=False)
class Allocation:
    """Optimal sampling of a world in which one policy beats every other.

    Attributes:
        champion: The policy preferred to every other.
        proportions: Shape (K, K): `[j, k]` is the share of comparisons of loser j with rival k; sums to 1.
        hardness: Comparisons per nat of evidence, T*; with costs, the cost of a nat.
        gap: The champion's smallest margin over 1/2.
    """

    champion: int
    proportions: FloatArray
    hardness: float
    gap: float


def bernoulli_kl(p: npt.ArrayLike, q: npt.ArrayLike) -> FloatArray:
    """Kullback-Leibler divergence of Bernoulli(p) from Bernoulli(q) in nats; broadcasts.

    Raises:
        WorldError: If p is not in [0, 1] or q not in (0, 1).
    """
    first, second = numbers(p, "p", WorldError), numbers(q, "q", WorldError)
    if not ((first >= 0) & (first <= 1)).all():
        raise WorldError(f"p is {shown(first)}; give probabilities in [0, 1].")
    if not ((second > 0) & (second < 1)).all():
        raise WorldError(f"q is {shown(second)}; give probabilities strictly between 0 and 1.")
    with np.errstate(divide="ignore", invalid="ignore"):
        success = np.where(first > 0, first * np.log(first / second), 0.0)
        failure = np.where(first < 1, (1 - first) * np.log((1 - first) / (1 - second)), 0.0)
    return np.asarray(np.maximum(success + failure, 0.0))


def checked_preferences(matrix: npt.ArrayLike) -> FloatArray:
    """`matrix` as preference probabilities, shape (K, K).

    Raises:
        WorldError: If it is not square, K < 2, not in [0, 1], or `P + P.T` is not 1 within 1e-5.
    """
    preferences = numbers(matrix, "The preference matrix", WorldError)
    if preferences.ndim != 2 or preferences.shape[0] != preferences.shape[1] or preferences.shape[0] < 2:
        raise WorldError(f"The preference matrix has shape {preferences.shape}; K x K with K >= 2 is needed.")
    if not np.isfinite(preferences).all() or preferences.min() < 0 or preferences.max() > 1:
        wrong = preferences[~((preferences >= 0) & (preferences <= 1))][0]
        raise WorldError(f"The preference matrix holds {wrong}, outside [0, 1]; give probabilities.")
    gap = float(np.abs(preferences + preferences.T - 1).max())
    if gap > 1e-5:
        raise WorldError(f"P[i][j] + P[j][i] is off 1 by {gap:.2g}; they must add up to 1 (diagonal 1/2).")
    return preferences


def find_champion(preferences: FloatArray) -> int | None:
    """The policy preferred to every other (the Condorcet winner), or None; of checked preferences."""
    ahead = (preferences > 0.5).sum(axis=1)
    best = int(ahead.argmax())
    return best if ahead[best] == preferences.shape[0] - 1 else None


def champion_of(preferences: npt.ArrayLike) -> int:
    """The policy preferred to every other.

    Raises:
        WorldError: If these are no preferences.
        NoChampionError: If there is no such policy.
    """
    champion = find_champion(checked_preferences(preferences))
    if champion is None:
        raise NoChampionError(
            "No policy is preferred to every other, so there is no winner to find; use a margin epsilon > 0."
        )
    return champion


def optimal_allocation(preferences: npt.ArrayLike, costs: npt.ArrayLike | None = None) -> Allocation:
    """Closed-form optimal proportions and hardness.

    Args:
        preferences: Shape (K, K).
        costs: Cost of a comparison of each pair, shape (K, K), symmetric, positive off the diagonal; None
            where all cost 1. Every loser is then compared with the rival that tells most for its cost.

    Raises:
        NoChampionError: If no policy beats every other, or by so little that no evidence could ever tell.
        WorldError: If the preferences are no preferences, or the costs have another shape, are not symmetric
            or not positive.
    """
    preferences = checked_preferences(preferences)
    champion = champion_of(preferences)
    paid = pair_costs(costs, preferences.shape[0], WorldError)
    information = np.where(preferences < 0.5, bernoulli_kl(preferences, 0.5), 0.0)
    rivals = (information / paid).argmax(axis=1)
    losers = [policy for policy in range(preferences.shape[0]) if policy != champion]
    lengths = np.zeros_like(preferences)
    for loser in losers:
        if information[loser, rivals[loser]] < 1e-300:  # within rounding of 1/2
            raise NoChampionError(
                f"Policy {loser} is behind by so little that no comparison tells; use a margin epsilon > 0."
            )
        lengths[loser, rivals[loser]] = 1 / information[loser, rivals[loser]]
    gap = float(np.delete(preferences[champion], champion).min() - 0.5)
    return Allocation(champion, lengths / lengths.sum(), float((lengths * paid).sum()), gap)


def lower_bound(hardness: float, delta: float) -> float:
    """Mean comparisons no delta-correct method can stay below: T* kl(delta, 1 - delta).

    If the hardness is the cost of a nat, this is a cost as well: the least that can be spent on average.

    Raises:
        DesignError: If the hardness is not a number of at least 0, infinity allowed, or delta out of range.
    """
    if hardness != math.inf and real(hardness, "hardness", "it is at least 0") < 0:
        raise DesignError(f"hardness is {hardness}; it is at least 0.")
    if checked_delta(delta) < _TINY_DELTA:
        return hardness * -math.log(delta)
    return hardness * float(bernoulli_kl(delta, 1 - delta))


def no_worse_hardness(
    preferences: npt.ArrayLike,
    epsilon: float,
    costs: npt.ArrayLike | None = None,
    promise: Promise = "no_worse_than_any",
) -> float:
    """T_eps: comparisons per nat to certify the policy that is cheapest to certify as no worse.

    No worse than any: min over s of the sum over j of c_js / kl(mu[j, s], 1/2 + epsilon); infinite if all are
    beaten by more. Every rival j of s has a line of its own, which only comparisons of j with s approach,
    each by that kl. So the comparisons per nat are fixed, each at its cost, and only s can be chosen.

    No worse than the best: j may as well be ruled out as the best by a policy k that is ahead of it, by
    kl(mu[j, k], 1/2) a comparison, so its term is the least of these and of the one above. Infinite if no
    policy is at least even with every other. At epsilon = 0 with one best policy it is T*.

    Args:
        preferences: Shape (K, K).
        epsilon: Margin in [0, 1/2).
        costs: As in `optimal_allocation`; T_eps is then what a nat for every rival costs.
        promise: Who may not be preferred by more than the margin.

    Raises:
        WorldError: If the preferences are no preferences, or the costs no costs.
        DesignError: If the margin is out of range, or there is no such promise.
    """
    preferences = checked_preferences(preferences)
    paid = pair_costs(costs, preferences.shape[0], WorldError)
    lengths = _lengths(preferences, 0.5 + checked_epsilon(epsilon), paid)
    if checked_promise(promise) == "no_worse_than_best":
        if not at_least_even(preferences).any():
            return math.inf
        elsewhere = _lengths(preferences, 0.5, paid).min(axis=1, keepdims=True)
        lengths = np.minimum(lengths, elsewhere)
    np.fill_diagonal(lengths, 0.0)
    return float(lengths.sum(axis=0).min())


def at_least_even(preferences: FloatArray) -> BoolArray:
    """Whether each policy is at least even with every other, shape (K,); of checked preferences."""
    return np.asarray((preferences >= preferences.T).all(axis=1))


def _lengths(preferences: FloatArray, threshold: float, paid: FloatArray) -> FloatArray:
    """What a nat against "row preferred to column with at least the threshold" costs; infinite if it is."""
    pace = np.where(preferences < threshold, bernoulli_kl(preferences, threshold), 0.0)
    with np.errstate(divide="ignore", over="ignore"):
        lengths = paid / pace
    np.fill_diagonal(lengths, np.inf)
    return np.asarray(lengths)
