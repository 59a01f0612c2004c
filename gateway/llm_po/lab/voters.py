"""A model of voters who vote more than once: their votes are alike, and a cap leaves some of them out.

The gateway counts at most `feedback.voter_cap` votes of a voter on a pair, and at most
`feedback.voter_cap_per_experiment` in all (docs/decisions/0169-a-cap-over-the-experiment.md).
Votes of different voters are independent here, and those of one voter are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from gateway.llm_po.checks import checked_type, reals
from gateway.llm_po.errors import WorldError
from gateway.llm_po.scalars import is_whole, shown
from gateway.llm_po.unstructured import checked_preferences
from gateway.llm_po.wins import BoolArray, FloatArray, IntArray

NOT_COUNTED: Final = 2  # as a tie, which is no evidence either
_SAME: Final = 1e-9  # shares that differ from 1 by less add up to it


@dataclass(frozen=True, slots=True, eq=False)
class Voters:
    """Kinds of voters, and how often each voter votes.

    Attributes:
        shares: How many of the voters are of each kind; they add up to 1.
        kinds: The preferences of each kind, shape (K, K) each: P(row preferred to column).
        votes: How many votes each voter gives, one after another.
        cap: How many votes of a voter on a pair count, or None for all.
        cap_in_all: How many votes of a voter count, whatever the pair, or None for all.

    Raises:
        WorldError: If the shares are no shares, a matrix is not one of preferences or of another size, or a
            number is out of range.
    """

    shares: tuple[float, ...]
    kinds: tuple[FloatArray, ...]
    votes: int
    cap: int | None = None
    cap_in_all: int | None = None

    def __post_init__(self) -> None:
        checked_type(self.kinds, Sequence, "kinds", WorldError)
        kinds = tuple(map(checked_preferences, self.kinds))
        shares = reals(self.shares, "shares", (len(kinds),), WorldError)
        if not (shares >= 0).all() or abs(shares.sum() - 1) > _SAME:
            raise WorldError(f"shares is {shown(self.shares)}; give each kind its share of the voters.")
        if len({kind.shape for kind in kinds}) != 1:
            raise WorldError("The kinds of voters have matrices of different sizes; give each K x K.")
        caps = [cap for cap in (self.cap, self.cap_in_all) if cap is not None]
        if not all(is_whole(number, 1) for number in (self.votes, *caps)):
            raise WorldError(
                f"votes is {shown(self.votes)}, cap {shown(self.cap)}, cap_in_all {shown(self.cap_in_all)}; "
                "give whole numbers of at least 1."
            )
        object.__setattr__(self, "kinds", kinds)

    @property
    def preferences(self) -> FloatArray:
        """What the next voter prefers, whoever it is: shape (K, K)."""
        return np.asarray(np.tensordot(self.shares, self.kinds, axes=1))

    def relabelled(self, order: IntArray) -> Voters:
        """These voters with the policies in another order: position `i` holds old policy `order[i]`."""
        moved = np.ix_(order, order)
        return replace(self, kinds=tuple(kind[moved] for kind in self.kinds))


class Votes:
    """The votes of several runs that advance in lockstep.

    Args:
        voters: Who votes.
        runs: R, the number of runs.
        rng: Source of everything random.
    """

    def __init__(self, voters: Voters, runs: int, rng: np.random.Generator) -> None:
        self._voters, self._rng = voters, rng
        self._preferences = np.stack(voters.kinds)
        self._kind = np.zeros(runs, dtype=np.int64)
        self._given = np.zeros((runs, *self._preferences.shape[1:]), dtype=np.int64)
        self._left = 0

    def on(self, first: IntArray, second: IntArray) -> IntArray:
        """The next votes of each run on pairs of the world's policies.

        Args:
            first: Shape (R, N).
            second: Likewise. In a run a pair always has the same first policy.

        Returns:
            Shape (R, N): 0 if the second policy was preferred, 1 if the first was, NOT_COUNTED over the cap.
        """
        columns = [self._next(*each) for each in zip(first.T, second.T, strict=True)]
        return np.stack(columns, axis=1)

    def _next(self, first: IntArray, second: IntArray) -> IntArray:
        runs = np.arange(first.size)
        if self._left == 0:
            self._kind = self._rng.choice(len(self._preferences), size=first.size, p=self._voters.shares)
            self._given[:], self._left = 0, self._voters.votes
        self._left -= 1
        votes = (self._rng.random(first.size) < self._preferences[self._kind, first, second]).astype(np.int64)
        is_over = np.zeros(first.size, dtype=np.bool_)
        if self._voters.cap is not None:
            is_over |= self._given[runs, first, second] >= self._voters.cap
        if self._voters.cap_in_all is not None:
            is_over |= self._given.sum(axis=(1, 2)) >= self._voters.cap_in_all
        votes[is_over] = NOT_COUNTED
        self._given[runs, first, second] += ~is_over
        return votes

    def keep(self, runs: BoolArray) -> None:
        """Leave the other runs out."""
        self._kind, self._given = self._kind[runs], self._given[runs]
