"""How much one policy is preferred to another, with an interval that holds at any time.

For a pair with probability `p` that the first is preferred, the mixture evidence after `w` wins and `l`
losses

    M(w, l; p) = B(w + 1/2, l + 1/2) / (B(1/2, 1/2) p^w (1 - p)^l)

is a martingale of mean 1 if each decisive outcome, given all before it, is a win with probability `p`: it is
the likelihood ratio of the predictions (w + 1/2) / (w + l + 1) against `p`. By Ville's inequality it ever
reaches 1/delta with probability at most delta. So with probability at least 1 - delta the set of `p` at
which it is below 1/delta contains the true `p` at all times, however pairs are chosen and however often one
looks. The logarithm is convex in `p`, so the set is an interval.
"""

from __future__ import annotations

import math
from typing import Final

from gateway.llm_po.errors import ForecastError, TallyError
from gateway.llm_po.scalars import checked_delta, is_real, shown, whole_number

_HALVINGS: Final = 60


def mixture_evidence(wins: int, losses: int, probability: float) -> float:
    """The logarithm of the mixture evidence against a probability in [0, 1].

    Raises:
        TallyError: If a count is negative or no whole number.
        ForecastError: If the probability is outside.
    """
    whole_number(wins, "wins", 0, TallyError)
    whole_number(losses, "losses", 0, TallyError)
    if not is_real(probability) or not 0.0 <= probability <= 1.0:
        raise ForecastError(f"probability is {shown(probability)}; give one in [0, 1].")
    mixture = math.lgamma(wins + 0.5) + math.lgamma(losses + 0.5) - math.lgamma(wins + losses + 1)
    return mixture - math.log(math.pi) - _log_power(probability, wins) - _log_power(1.0 - probability, losses)


def preference_interval(wins: int, losses: int, delta: float) -> tuple[float, float]:
    """The interval of probabilities that the mixture evidence does not exclude.

    Args:
        wins: Decisive comparisons that the first policy won.
        losses: Decisive comparisons that the second policy won.
        delta: Largest probability that the true one is ever outside.

    Raises:
        TallyError: If a count is negative or no whole number.
        DesignError: If `delta` is not in (0, 1).
    """
    line = -math.log(checked_delta(delta))
    mixture_evidence(wins, losses, 0.5)  # checks the counts
    total = wins + losses
    estimate = wins / total if total else 0.5
    low = 0.0 if wins == 0 else _crossing(wins, losses, line, 0.0, estimate)
    high = 1.0 if losses == 0 else _crossing(wins, losses, line, 1.0, estimate)
    return low, high


def _crossing(wins: int, losses: int, line: float, outside: float, inside: float) -> float:
    """The probability at which the evidence crosses the line; it is above at one end, below at the other."""
    for _ in range(_HALVINGS):
        middle = (outside + inside) / 2
        if mixture_evidence(wins, losses, middle) < line:
            inside = middle
        else:
            outside = middle
    return outside


def _log_power(base: float, exponent: int) -> float:
    """The logarithm of a power; 0^0 is 1."""
    if exponent == 0:
        return 0.0
    return exponent * math.log(base) if base > 0.0 else -math.inf
