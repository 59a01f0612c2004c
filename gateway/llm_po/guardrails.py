"""Tests whether a candidate is worse than the incumbent by more than a tolerance, on a number of each answer.

Every number lies in [0, 1]: 1 for an answer that failed, or a share of a declared range. Each answer of the
candidate is paired with one of the incumbent, before either number is known to the pairing. Of a pair with
numbers `c` and `i` the contrast

    h(c, i) = a c + b i + o

is what the candidate is worse by, less the tolerance. The hypothesis "the candidate is no worse" is that h
has, given all pairs before, an expectation of at most 0. It may hold with other numbers for each pair: an
outage that hits both policies changes nothing. A bet of a share `s` of the capital multiplies it by
1 + s h / -min h, which is never negative and at most 1 in expectation, so by Ville's inequality a capital
that starts at 1 ever reaches 1/level with probability at most the level, however often it is looked at. The
evidence is the logarithm of the mean capital of several fixed shares (`SHARES`). It depends only on how
often each pair of numbers occurred, not on their order, so replicas may add up their counts.

The same bets on -h are evidence that the candidate is not worse by more than the tolerance.

Evidence over all pairs finds a small difference, but takes long to turn when an answer gets worse after a
long time without fault. So there is one more test for each hour alone. The first half of the level is for
the test over all pairs, and of the other half the test of the n-th hour gets the part 1/(n (n + 1)): these
add up to no more than the whole.

Numbers are kept in steps of 1/20. A number between two steps becomes one of them at random, so that the
expectation stays exactly the same.

Source: the bets are those of Waudby-Smith and Ramdas, "Estimating means of bounded random variables by
betting" (2024), with fixed shares and their mean instead of shares that follow the data. This module loads no
numpy: the server counts with it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import Final

from gateway.llm_po.errors import DesignError, TallyError
from gateway.llm_po.scalars import checked_delta, is_real, is_whole, shown, whole_number

GRAIN: Final = 20
"""Numbers are kept in whole steps, from 0 to this."""

SHARES: Final = tuple(0.9 * 0.6**power for power in range(10))
"""The shares of the capital that are bet, from 0.9 to 0.009."""

Pairs = Mapping[tuple[int, int], int]
"""How often the candidate's and the incumbent's number, in steps, made a pair."""


class Finding(StrEnum):
    """What the evidence allows to say of a candidate."""

    WORSE = "worse"
    NOT_WORSE = "not_worse"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Contrast:
    """By how much the candidate is worse in a pair, less the tolerance.

    Attributes:
        candidate: Factor of the candidate's number.
        incumbent: Factor of the incumbent's number.
        offset: What is added.

    Raises:
        DesignError: If a number is not finite, or if no pair could speak for one of the two findings.
    """

    candidate: float
    incumbent: float
    offset: float

    def __post_init__(self) -> None:
        for name in ("candidate", "incumbent", "offset"):
            if not is_real(getattr(self, name)):
                raise DesignError(f"{name} is {shown(getattr(self, name))}; a finite number is needed.")
        if not min(self._corners()) < 0 < max(self._corners()):
            raise DesignError(
                f"The contrast {self.candidate:g} c + {self.incumbent:g} i + {self.offset:g} is never both "
                "above and below 0; lower the tolerance."
            )

    def of(self, candidate: int, incumbent: int) -> float:
        """The contrast of a pair of numbers in steps."""
        return self.candidate * candidate / GRAIN + self.incumbent * incumbent / GRAIN + self.offset

    def nats(self, pairs: Pairs) -> float:
        """Evidence that the candidate is worse by more than the tolerance.

        Raises:
            TallyError: If a number is no step, or a count is negative or no whole number.
        """
        return self._evidence(pairs, 1.0)

    def nats_not_worse(self, pairs: Pairs) -> float:
        """Evidence that it is not. Raises TallyError as `nats` does."""
        return self._evidence(pairs, -1.0)

    def _evidence(self, pairs: Pairs, sign: float) -> float:
        checked_pairs(pairs)
        bound = -min(sign * corner for corner in self._corners())
        counted = [(self.of(*numbers), count) for numbers, count in pairs.items()]
        gains = [
            math.fsum(count * math.log1p(share * sign * contrast / bound) for contrast, count in counted)
            for share in SHARES
        ]
        largest = max(gains)
        return largest + math.log(math.fsum(math.exp(gain - largest) for gain in gains) / len(gains))

    def _corners(self) -> list[float]:
        return [self.of(candidate, incumbent) for candidate, incumbent in product((0, GRAIN), repeat=2)]


def checked_pairs(pairs: Pairs) -> Pairs:
    """The counts, if they can be counts of pairs.

    Raises:
        TallyError: If a number is no step, or a count is negative or no whole number.
    """
    for numbers, count in pairs.items():
        for number in numbers:
            if not is_whole(number, 0) or number > GRAIN:
                raise TallyError(f"{shown(number)} is no step; numbers go from 0 to {GRAIN}.")
        whole_number(count, "a count of pairs", 0, TallyError)
    return pairs


def tripping_nats(level: float, hour: int | None = None) -> float:
    """The evidence at which a candidate is found worse, or not worse.

    Args:
        level: Largest probability of ever finding a candidate worse that is not.
        hour: Which hour of counting the evidence is from, from 1; None for all of them.

    Raises:
        DesignError: If the level is not in (0, 1), or there is no such hour.
    """
    half = math.log(2 / checked_delta(level))
    return half if hour is None else half + math.log(whole_number(hour, "hour", 1) * (hour + 1))


def mean_numbers(pairs: Pairs) -> tuple[float, float] | None:
    """The candidate's and the incumbent's mean number; None without pairs."""
    total = sum(pairs.values())
    if total == 0:
        return None
    candidate = sum(count * numbers[0] for numbers, count in pairs.items())
    incumbent = sum(count * numbers[1] for numbers, count in pairs.items())
    return candidate / total / GRAIN, incumbent / total / GRAIN


def in_steps(number: float, point: float) -> int:
    """A number in steps: the one below or the one above, so that the expectation is the number.

    Args:
        number: In [0, 1].
        point: Drawn uniformly from [0, 1), without regard to the number.
    """
    return min(GRAIN, math.floor(number * GRAIN + point))
