"""The e-process: exact evidence at every sample size, kept as integers that anyone can recompute.

Per ordered pair (j, k) the ledger holds the logarithm of a nonnegative supermartingale under the hypothesis
"j is preferred to k with probability at least h = 1/2 + epsilon". A decisive comparison is counted with a
forecast q of P(j preferred to k) that was published before the outcome was counted, and with another forecast
of P(k preferred to j) for (k, j); the two need not add up to 1. If q < h, the outcome adds
log(q / h) if j was preferred and log((1 - q) / (1 - h)) if k was, and nothing otherwise. For any true
probability mu >= h the expected factor mu q/h + (1 - mu)(1 - q)/(1 - h) is at most one, so by Ville's
inequality the evidence ever reaches log(1/delta) with probability at most delta, whatever is compared when.

Amounts are rounded *down* to whole nano-nats, which can only lower the evidence: the integers stay a
supermartingale, and every replica, verifier and simulation adds exactly these numbers
(docs/decisions/0010-evidence-ledger.md and 0011-thresholds.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from gateway.llm_po.betting import MILLION, SMALLEST_FORECAST, increments_at, natural_log
from gateway.llm_po.checks import debts_of, flags, numbers
from gateway.llm_po.errors import ForecastError, TallyError
from gateway.llm_po.lines import (
    NANO,
    UNSTATED_PROMISE,
    Promise,
    checked_promise,
    elimination_nano_nats,
    keeps_half,
)
from gateway.llm_po.scalars import FEWEST_POLICIES, checked_epsilon, shown, whole_number
from gateway.llm_po.wins import BoolArray, FloatArray, IntArray, WinMatrix, checked_counts, square_integers

ComparisonResult = Literal["win", "loss", "tie"]
RESULTS: Final[tuple[ComparisonResult, ...]] = ("win", "loss", "tie")


def clip_forecasts(q: npt.ArrayLike) -> FloatArray:
    """Forecasts moved into [0.02, 0.98]; any shape.

    Raises:
        ForecastError: If a forecast is not a number.
    """
    forecasts = numbers(q, "A forecast", ForecastError)
    if not np.isfinite(forecasts).all():
        raise ForecastError(f"A forecast is NaN or infinite in {shown(q)}; give probabilities.")
    return np.clip(forecasts, SMALLEST_FORECAST, 1 - SMALLEST_FORECAST)


def in_millionths(q: npt.ArrayLike) -> IntArray:
    """Forecasts as published: clipped, whole millionths, one half on the diagonal.

    Args:
        q: Shape (..., K, K).

    Raises:
        ForecastError: If it has another shape, or a forecast is not a number.
    """
    clipped = clip_forecasts(q)
    if clipped.ndim < 2 or clipped.shape[-2] != clipped.shape[-1]:
        raise ForecastError(
            f"The forecasts have shape {clipped.shape}; one per pair, (..., K, K), is needed."
        )
    published = np.rint(clipped * MILLION).astype(np.int64)
    everyone = np.arange(clipped.shape[-1])
    published[..., everyone, everyone] = MILLION // 2
    return published


def increments(
    probability_millionths: int, epsilon: float, second_millionths: int | None = None
) -> tuple[int, int, int, int]:
    """What one comparison of a < b adds to the ledger, in nano-nats, rounded down.

    Args:
        probability_millionths: Forecast of P(a preferred to b | decisive), in [20,000, 980,000].
        epsilon: Margin in [0, 1/2).
        second_millionths: Forecast of P(b preferred to a | decisive) for the bet against b; None where it is
            what the other one leaves of a million.

    Returns:
        evidence[a, b] if a is preferred, evidence[a, b] if b is, then evidence[b, a] likewise.

    Raises:
        ForecastError: If a forecast lies outside the range.
        DesignError: If the margin does.
    """
    q = whole_number(probability_millionths, "A forecast in millionths", 0, ForecastError)
    if second_millionths is not None:
        whole_number(second_millionths, "A forecast in millionths", 0, ForecastError)
    return increments_at(q, 0.5 + checked_epsilon(epsilon), second_millionths)


def increments_of_bets(forecasts_millionths: IntArray, threshold: float) -> IntArray:
    """What an outcome adds with each bet against a row, in nano-nats, as `increments_at` has it.

    Args:
        forecasts_millionths: Shape (K, K), in [20,000, 980,000]; `in_millionths` sees to that.
        threshold: h, in (0, 1).

    Returns:
        Shape (K, K, 2): if the row is preferred, and if the column is.
    """
    q = forecasts_millionths / MILLION
    gains = np.stack([natural_log(q / threshold), natural_log((1 - q) / (1 - threshold))], axis=-1)
    amounts = np.floor(gains * NANO).astype(np.int64)
    amounts[q >= threshold] = 0
    return amounts


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """Everything counted so far in one experiment, in the integers of the store.

    Attributes:
        wins: Shape (K, K), int64.
        ties: Shape (K, K), int64, symmetric.
        evidence: Shape (K, K), int64 nano-nats, against "row preferred to column with P >= 1/2 + epsilon".
        eliminated: Shape (K,), bool: whether a policy's row total ever reached the elimination threshold.
        comparisons: How many were counted, including ties.
        debts: Shape (K,), int64 nano-nats, none above 0: evidence from removed policies that a policy is the
            winner (`succession` explains it). Empty for none.
        at_half: Shape (K, K), int64 nano-nats, from the same forecasts against "row preferred to column with
            P >= 1/2"; None if it is not kept. Only `no_worse_than_best` needs it, beside `evidence`.

    Raises:
        TallyError: If the parts disagree or cannot be counts.
    """

    wins: IntArray
    ties: IntArray
    evidence: IntArray
    eliminated: BoolArray
    comparisons: int
    debts: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    at_half: IntArray | None = None

    def __post_init__(self) -> None:
        wins = checked_counts(self.wins, "wins")
        ties = checked_counts(self.ties, "ties")
        evidence = square_integers(self.evidence, "evidence")
        eliminated = flags(self.eliminated, "eliminated")
        if not wins.shape == ties.shape == evidence.shape or eliminated.shape != wins.shape[:1]:
            shapes = f"{wins.shape}, {ties.shape}, {evidence.shape}, {eliminated.shape}"
            raise TallyError(f"wins, ties, evidence, eliminated have shapes {shapes}; one K is needed.")
        if (ties != ties.T).any():
            raise TallyError("ties is not symmetric; a tie of a with b is a tie of b with a.")
        counted = int(wins.sum() + ties.sum() // 2)
        if counted != self.comparisons:
            raise TallyError(f"comparisons is {self.comparisons} but wins and ties add up to {counted}.")
        debts = debts_of(self.debts, wins.shape[0])
        at_half = None if self.at_half is None else square_integers(self.at_half, "at_half")
        if at_half is not None and at_half.shape != wins.shape:
            raise TallyError(f"at_half has shape {at_half.shape}, wins {wins.shape}; one K is needed.")
        for name, value in (
            ("wins", wins),
            ("ties", ties),
            ("evidence", evidence),
            ("eliminated", eliminated),
            ("debts", debts),
            ("at_half", at_half),
        ):
            object.__setattr__(self, name, value)

    @property
    def policies(self) -> int:
        """K, the number of policies."""
        return int(self.wins.shape[0])

    @property
    def win_matrix(self) -> WinMatrix:
        """The decisive comparisons."""
        return WinMatrix(self.wins)

    @property
    def row_totals(self) -> IntArray:
        """Nano-nats against each policy being the winner, shape (K,)."""
        return np.asarray(self.evidence.sum(axis=1) + self.debts)

    @classmethod
    def empty(cls, policies: int) -> Tally:
        """Nothing counted yet.

        Raises:
            TallyError: If there are fewer than two policies.
        """
        whole_number(policies, "policies", FEWEST_POLICIES, TallyError)
        nothing = np.zeros((policies, policies), dtype=np.int64)
        return cls(nothing, nothing.copy(), nothing.copy(), np.zeros(policies, dtype=np.bool_), 0)


class Ledgers:
    """The ledgers of R independent runs of one experiment, counted side by side.

    Args:
        runs: R.
        policies: K.
        delta: Error level; fixes when a row total eliminates.
        epsilon: Margin; fixes how much an outcome adds.
        promise: With `no_worse_than_best` evidence at one half is kept as well.

    Attributes:
        wins: Shape (R, K, K).
        ties: Shape (R, K, K), symmetric.
        evidence: Shape (R, K, K), nano-nats.
        at_half: Shape (R, K, K), nano-nats, as in `Tally`, or None if it is not kept.
        debts: Shape (R, K), nano-nats, as in `Tally`.
        eliminated_at: Shape (R, K): the comparison that eliminated a policy, 0 while it survives.
        comparisons: How many each run has counted.
    """

    def __init__(
        self,
        runs: int,
        policies: int,
        delta: float,
        epsilon: float,
        promise: Promise = UNSTATED_PROMISE,
    ) -> None:
        whole_number(runs, "runs", 0, TallyError)
        whole_number(policies, "K", FEWEST_POLICIES, TallyError)
        self._epsilon = checked_epsilon(epsilon)
        self._line = elimination_nano_nats(delta)
        self.wins = np.zeros((runs, policies, policies), dtype=np.int64)
        self.ties = np.zeros_like(self.wins)
        self.evidence = np.zeros_like(self.wins)
        self.at_half = np.zeros_like(self.wins) if keeps_half(checked_promise(promise)) else None
        self.debts = np.zeros((runs, policies), dtype=np.int64)
        self._totals = np.zeros((runs, policies), dtype=np.int64)
        self.eliminated_at = np.zeros((runs, policies), dtype=np.int64)
        self.comparisons = 0

    @property
    def eliminated(self) -> BoolArray:
        """Whether each policy is eliminated, shape (R, K)."""
        return np.asarray(self.eliminated_at > 0)

    def keep(self, runs: BoolArray) -> None:
        """Keep only these runs."""
        self.wins, self.ties, self.evidence = self.wins[runs], self.ties[runs], self.evidence[runs]
        self.at_half = None if self.at_half is None else self.at_half[runs]
        self.debts, self._totals = self.debts[runs], self._totals[runs]
        self.eliminated_at = self.eliminated_at[runs]

    def inherit(self, tally: Tally, eliminated_at: Sequence[int | None]) -> None:
        """Start every run from `tally`, with the comparisons at which its policies were eliminated.

        Raises:
            TallyError: If the number of policies differs, there are no comparisons, or the evidence at one
                half that is kept here is missing.
        """
        policies = self.wins.shape[1]
        if tally.policies != policies or len(eliminated_at) != policies:
            raise TallyError(
                f"K = {tally.policies} and {len(eliminated_at)} cannot be inherited by K = {policies}."
            )
        if self.at_half is not None:
            if tally.at_half is None:
                raise TallyError(
                    "at_half is None; no_worse_than_best can continue only from evidence at one half."
                )
            self.at_half[:] = tally.at_half
        eliminated = [
            0 if at is None else whole_number(at, "eliminated_at", 0, TallyError) for at in eliminated_at
        ]
        for own, inherited in (
            (self.wins, tally.wins),
            (self.ties, tally.ties),
            (self.evidence, tally.evidence),
            (self.debts, tally.debts),
            (self._totals, tally.row_totals),
            (self.eliminated_at, np.array(eliminated)),
        ):
            own[:] = inherited
        self.comparisons = tally.comparisons

    def count(
        self,
        first: IntArray,
        second: IntArray,
        results: Sequence[ComparisonResult],
        q: Sequence[tuple[int, int | None] | None],
    ) -> None:
        """Count one comparison in every run, exactly as the store's counting script does.

        Args:
            first: The lower index of each run's pair, shape (R,).
            second: The higher index.
            results: One per run, seen from `first`.
            q: Forecasts published for the pair, in millionths, of P(first preferred) and P(second preferred),
                or None before the first plan: the outcome is then counted without evidence.
        """
        self.comparisons += 1
        runs = np.arange(first.size)
        outcomes = list(zip(results, q, strict=True))
        amounts = np.array([_amounts(*each, self._epsilon) for each in outcomes], dtype=np.int64)
        halves = (
            None
            if self.at_half is None
            else np.array([_amounts(*each, 0.0) for each in outcomes], dtype=np.int64)
        )
        won = np.array([result == "win" for result in results], dtype=np.int64)
        lost = np.array([result == "loss" for result in results], dtype=np.int64)
        tied = 1 - won - lost
        for low, high, preferred, added in ((first, second, won, 0), (second, first, lost, 1)):
            self.wins[runs, low, high] += preferred
            self.ties[runs, low, high] += tied
            self.evidence[runs, low, high] += amounts[:, added]
            if self.at_half is not None and halves is not None:
                self.at_half[runs, low, high] += halves[:, added]
            self._totals[runs, low] += amounts[:, added]
            crossed = (self._totals[runs, low] >= self._line) & (self.eliminated_at[runs, low] == 0)
            self.eliminated_at[runs[crossed], low[crossed]] = self.comparisons

    def tally(self, run: int) -> Tally:
        """Everything one run has counted so far."""
        return Tally(
            wins=self.wins[run].copy(),
            ties=self.ties[run].copy(),
            evidence=self.evidence[run].copy(),
            eliminated=self.eliminated[run],
            comparisons=self.comparisons,
            debts=self.debts[run].copy(),
            at_half=None if self.at_half is None else self.at_half[run].copy(),
        )


@lru_cache(maxsize=16_384)  # forecasts stay as they are for many comparisons
def _amounts(result: ComparisonResult, q: tuple[int, int | None] | None, epsilon: float) -> tuple[int, int]:
    """Nano-nats for (first against second, second against first)."""
    if q is None or result == "tie":
        return 0, 0
    if_first, if_second, mirrored_first, mirrored_second = increments_at(q[0], 0.5 + epsilon, q[1])
    return (if_first, mirrored_first) if result == "win" else (if_second, mirrored_second)


class Ledger:
    """The ledger of one run, for replaying a log."""

    def __init__(
        self, policies: int, delta: float, epsilon: float, promise: Promise = UNSTATED_PROMISE
    ) -> None:
        self._one = Ledgers(1, policies, delta, epsilon, promise)

    def inherit(self, tally: Tally, eliminated_at: Sequence[int | None]) -> None:
        """Start from the counts of an earlier generation."""
        self._one.inherit(tally, eliminated_at)

    @property
    def policies(self) -> int:
        """K, the number of policies."""
        return int(self._one.wins.shape[1])

    @property
    def comparisons(self) -> int:
        """How many were counted."""
        return self._one.comparisons

    @property
    def eliminated_at(self) -> list[int | None]:
        """Per policy the comparison that eliminated it, or None."""
        return [int(at) or None for at in self._one.eliminated_at[0]]

    def count(
        self,
        first: int,
        second: int,
        result: ComparisonResult,
        probability_millionths: int | None,
        second_millionths: int | None = None,
    ) -> None:
        """Count one comparison of `first` < `second`, with the forecasts that `increments` takes.

        Raises:
            TallyError: If there is no such pair or result.
            ForecastError: If the forecast may not be published.
        """
        pair = whole_number(first, "first", 0, TallyError), whole_number(second, "second", 0, TallyError)
        if not pair[0] < pair[1] < self.policies:
            raise TallyError(f"first, second is {pair}; two policies in order, below {self.policies}.")
        if result not in RESULTS:
            raise TallyError(f"result is {shown(result)}; one of {', '.join(RESULTS)} is needed.")
        q = None
        if probability_millionths is not None:
            increments(probability_millionths, 0.0, second_millionths)
            q = probability_millionths, second_millionths
        self._one.count(np.array([first]), np.array([second]), [result], [q])

    def tally(self) -> Tally:
        """Everything counted so far."""
        return self._one.tally(0)
