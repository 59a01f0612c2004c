"""Whether reports come as often for one policy of a pair as for the other: the sample-ratio check.

A coin of known chance decides which policy of a pair answers a unit (or is shown first). If a unit's chance
of being reported does not depend on the side, the reported units fell like the coin. The claim that is
tested is "whatever happened before, a unit of one side is reported at most TOLERANCE times as often as one
of the other". With a ratio r of the two, the next report is of the second side with probability
r p / (r p + 1 - p), p being the coin's chance. The likelihood ratio of an r beyond the tolerance against the
tolerance itself is a nonnegative supermartingale under the claim, and so is the mean over a grid of such r
in both directions. By Ville's inequality it ever reaches 1 / BALANCE_LEVEL with probability at most
BALANCE_LEVEL.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from gateway.llm_po.errors import DesignError
from gateway.llm_po.scalars import whole_number

BALANCE_LEVEL: Final = 0.001
"""The largest probability of finding an experiment out of balance that is not."""
TOLERANCE: Final = 1.25
"""How many times as often the units of one side may be reported. Small differences are usual: a policy that
fails now and then gives fewer answers, and users report bad answers a little more often than good ones."""
_RATIOS: Final = (1.5, 2.0, 3.0, 5.0, 10.0, 100.0)
_Z: Final = 1.959964  # of a 95 % interval
_FARTHEST: Final = 8.0  # log of the largest ratio that is told from one without bound
_HALVINGS: Final = 16  # leave a hundredth of a per cent


class Reported(NamedTuple):
    """The reports on units of one pair whose coin had one chance.

    Attributes:
        chance: The probability of the second side, in (0, 1).
        first: How many units of the first side were reported.
        second: How many of the second.
    """

    chance: float
    first: int
    second: int

    @property
    def turned(self) -> Reported:
        """The same reports with the sides exchanged."""
        return Reported(1 - self.chance, self.second, self.first)

    def log_ratio(self, ratio: float) -> float:
        """Log of the likelihood ratio of one ratio of reporting against the tolerance."""
        chance, first, second = self
        fewer = math.log((TOLERANCE * chance + 1 - chance) / (ratio * chance + 1 - chance))
        return second * math.log(ratio / TOLERANCE) + (first + second) * fewer


def imbalance_nats(reported: Sequence[Reported]) -> float:
    """Evidence that the reports of a pair come more often for one side than the tolerance allows, in nats.

    Raises:
        DesignError: If a chance or a count is out of range.
    """
    for each in reported:
        if not 0 < each.chance < 1:
            raise DesignError(f"chance is {each.chance}; a coin's lies between 0 and 1.")
        whole_number(each.first, "first", 0)
        whole_number(each.second, "second", 0)
    turned = [each.turned for each in reported]
    logs = [sum(each.log_ratio(ratio) for each in side) for side in (reported, turned) for ratio in _RATIOS]
    top = max(logs)
    return top + math.log(sum(math.exp(each - top) for each in logs) / len(logs))


def imbalance_line(pairs: int) -> float:
    """The nats that one of so many pairs has to reach."""
    return math.log(whole_number(pairs, "pairs", 1) / BALANCE_LEVEL)


def expected_second(reported: Iterable[Reported]) -> float:
    """How many of the reports would be of the second side if both were reported alike."""
    return sum(each.chance * (each.first + each.second) for each in reported)


class RatioInterval(NamedTuple):
    """How many times as often units of the second side are reported as units of the first.

    Attributes:
        low: Lower end of a 95 % interval; 0 without any report of the second side.
        estimate: The likeliest ratio; 0 or infinity if only one side was reported.
        high: Upper end; infinity without any report of the first side.
    """

    low: float
    estimate: float
    high: float


def reporting_ratio(reported: Sequence[Reported]) -> RatioInterval | None:
    """The ratio at which reports of known coins came; None without a report.

    The interval is the score interval: the ratios under which the number of reports of the second side lies
    within 1.96 standard deviations of its mean. With a single coin that is Wilson's, in other units.
    """
    first, second = sum(each.first for each in reported), sum(each.second for each in reported)
    if not first + second:
        return None

    coins = [(each.chance / (1 - each.chance), each.first + each.second) for each in reported]

    def end(deviations: float) -> float:
        """The ratio under which the second side's reports exceed their mean by so many deviations."""

        def excess(log_ratio: float) -> float:
            ratio, mean, variance = math.exp(log_ratio), 0.0, 0.0
            for odds, number in coins:
                likely = ratio * odds / (1 + ratio * odds)
                mean += number * likely
                variance += number * likely * (1 - likely)
            return second - mean - deviations * math.sqrt(variance)

        return _where_it_falls(excess)

    return RatioInterval(end(_Z), end(0.0), end(-_Z))


def _where_it_falls(excess: Callable[[float], float]) -> float:
    """The ratio at whose log a function falls through 0; 0 or infinity if that is too far away to tell."""
    low, high = -_FARTHEST, _FARTHEST
    if excess(low) <= 0:
        return 0.0
    if excess(high) >= 0:
        return math.inf
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return math.exp((low + high) / 2)
