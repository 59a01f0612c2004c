"""The coin that decides which policy of a pair answers a unit, or is shown first.

Where outcomes of one policy wait for outcomes of the other, a weighted coin is drawn instead of the fair one.
What a router knows of that is old: outcomes that are under way were drawn before, and come whatever is drawn
now. Drawing the weighted coin every time would add as many again to the other side, and back. So it is drawn
the more rarely, the more outcomes are under way (docs/decisions/0181-a-damped-coin.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Final

from policy_store.counts import Waiting

LAGGING_SHARE: Final = 0.9
"""Probability of the policy with fewer waiting outcomes, where the coin is weighted."""
_DAMPING: Final = 1.0  # for each outcome under way; below 0.51 the two sides would swing for ever


class Coin(IntEnum):
    """How a coin is weighted; the numbers are in sealed ids and in the store."""

    UNSAID = 0  # the id's version did not say
    FAIR = 1
    TO_SECOND = 2
    TO_FIRST = 3


CHANCES: Final[Mapping[Coin, float]] = {
    Coin.FAIR: 0.5,
    Coin.TO_SECOND: LAGGING_SHARE,
    Coin.TO_FIRST: 1 - LAGGING_SHARE,
}
"""The probability of a pair's second policy."""


def lags(waiting: Waiting) -> int:
    """Which policy of a pair has fewer outcomes waiting, and about by how many; 0 for neither.

    Below 0 the second one; then it changes where the difference passes a power of two.
    """
    surplus = waiting[0] - waiting[1]
    return surplus.bit_length() * (-1 if surplus > 0 else 1)


def coin_for(waiting: Waiting, under_way: float, draw: Callable[[], float]) -> Coin:
    """The coin for the next unit of a pair.

    Args:
        waiting: How many outcomes of its first and of its second policy wait.
        under_way: How many outcomes of the pair come before one that is drawn now does.
        draw: A number, uniform in [0, 1), that depends on nothing a caller sent.
    """
    surplus = waiting[0] - waiting[1]
    if not surplus:
        return Coin.FAIR
    share = abs(surplus) / (1 + _DAMPING * under_way)
    if share < 1 and draw() >= share:
        return Coin.FAIR
    return Coin.TO_SECOND if surplus > 0 else Coin.TO_FIRST
