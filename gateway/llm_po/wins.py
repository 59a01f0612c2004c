"""The win matrix: the counts of comparisons, checked once where it is built.

`wins[i, j]` is how often policy i was preferred to policy j. Ties are recorded in a symmetric matrix of their
own and reported, but carry no evidence: the core computes every quantity from decisive comparisons only, and
a tie multiplies each test by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from gateway.llm_po.checks import LARGEST_AMOUNT, LARGEST_COUNT, whole_array
from gateway.llm_po.errors import TallyError
from gateway.llm_po.scalars import FEWEST_POLICIES

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_MATRIX: Final = 2  # dimensions


@dataclass(frozen=True, slots=True, eq=False)
class WinMatrix:
    """Counts of decisive comparisons.

    Attributes:
        wins: Shape (K, K), int64, zero diagonal, K >= 2.

    Raises:
        TallyError: If `wins` is not a square matrix of whole, nonnegative numbers with a zero diagonal.
    """

    wins: IntArray

    def __post_init__(self) -> None:
        object.__setattr__(self, "wins", checked_counts(self.wins, "wins"))

    @property
    def policies(self) -> int:
        """K, the number of policies."""
        return int(self.wins.shape[0])

    @property
    def totals(self) -> IntArray:
        """Decisive comparisons of each pair, shape (K, K), symmetric."""
        return pair_totals(self.wins)

    @property
    def rates(self) -> FloatArray:
        """Empirical preference probabilities, shape (K, K); 1/2 where a pair was never compared."""
        return pair_rates(self.wins)


def pair_totals(wins: IntArray) -> IntArray:
    """Decisive comparisons of each pair, shape (..., K, K), symmetric."""
    return np.asarray(wins + wins.swapaxes(-1, -2))


def pair_rates(wins: IntArray) -> FloatArray:
    """Empirical preference probabilities, shape (..., K, K); 1/2 where a pair was never compared."""
    totals = pair_totals(wins)
    return np.where(totals > 0, wins / np.maximum(totals, 1), 0.5)


def checked_counts(matrix: npt.ArrayLike, name: str) -> IntArray:
    """`matrix` as int64 counts.

    Args:
        matrix: Anything array-like of shape (K, K), K >= 2.
        name: What to call it in an error.

    Raises:
        TallyError: If it is not square, not whole, negative, or has a nonzero diagonal.
    """
    return square_integers(matrix, name, 0, LARGEST_COUNT)


def square_integers(
    matrix: npt.ArrayLike, name: str, least: int = -LARGEST_AMOUNT, most: int = LARGEST_AMOUNT
) -> IntArray:
    """`matrix` as a square int64 array with a zero diagonal and entries from `least` to `most`.

    Raises:
        TallyError: If it is anything else.
    """
    try:
        raw: npt.NDArray[Any] = np.asarray(matrix)
    except (ValueError, OverflowError) as error:
        raise TallyError(f"{name} is not a matrix: {error}. Give K rows of K numbers.") from error
    if raw.ndim != _MATRIX or raw.shape[0] != raw.shape[1]:
        raise TallyError(f"{name} has shape {raw.shape}; a (K, K) matrix is needed.")
    if raw.shape[0] < FEWEST_POLICIES:
        raise TallyError(f"{name} has K = {raw.shape[0]}; at least two policies are needed.")
    integers = np.array(whole_array(raw, name, least, most))
    if integers.diagonal().any():
        raise TallyError(f"{name} has a nonzero diagonal; a policy is never compared with itself.")
    return integers


def majority_cycle(matrix: WinMatrix) -> tuple[int, ...]:
    """Policies each of which was preferred to the next more often than not, and the last to the first.

    From each policy it goes on to the rival that beat it most clearly; empty if this never leads back.
    """
    rates = matrix.rates.copy()
    np.fill_diagonal(rates, -1.0)
    strongest = rates.argmax(axis=0)
    for start in range(matrix.policies):
        path = [start]
        while rates[strongest[path[-1]], path[-1]] > 0.5 and strongest[path[-1]] not in path:
            path.append(int(strongest[path[-1]]))
        if rates[strongest[path[-1]], path[-1]] > 0.5:
            return tuple(reversed(path[path.index(int(strongest[path[-1]])) :]))
    return ()
