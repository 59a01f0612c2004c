"""The coin that decides which policy of a pair answers a unit, or is shown first."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Final

# Probability with which the policy of a pair that has fewer waiting outcomes is drawn.
LAGGING_SHARE: Final = 0.9


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
