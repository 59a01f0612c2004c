"""Limits the second attempts of a process, so that a failing provider does not get twice the requests.

Every request pays a fraction of an attempt in. Every attempt after a request's first takes a whole one out,
and gives it back when it is answered, even by a refusal of the request. So fallbacks that work are free, and
if everything fails there are at most `burst + ratio * requests` of them, however the requests overlap.
"""

from __future__ import annotations

from typing import Final

RATIO: Final = 0.1
BURST: Final = 100
_WHOLE: Final = 1.0 - 1e-9  # ten tenths make one, despite rounding


class RetryBudget:
    """A token bucket, full at the start.

    Args:
        ratio: Attempts paid in by each request, in [0, 1].
        burst: Most attempts it holds, which is also the most that may be in progress at once.
    """

    __slots__ = ("_burst", "_level", "_ratio")

    def __init__(self, ratio: float = RATIO, burst: float = BURST) -> None:
        self._ratio = ratio
        self._burst = float(burst)
        self._level = float(burst)

    def pay_in(self) -> None:
        """Pay in a request's fraction of an attempt."""
        self._level = min(self._burst, self._level + self._ratio)

    def take(self) -> bool:
        """Take one attempt out; False if there is none."""
        if self._level < _WHOLE:
            return False
        self._level -= 1.0
        return True

    def give_back(self) -> None:
        """Return an attempt that was taken out and answered."""
        self._level = min(self._burst, self._level + 1.0)
