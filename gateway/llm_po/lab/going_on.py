"""The forecasts of a plan in many runs side by side, going on as `within_plan` has it."""

from __future__ import annotations

import numpy as np

from gateway.llm_po.betting import HIGHEST, LOWEST, MILLION
from gateway.llm_po.stakes import Published
from gateway.llm_po.wins import IntArray


class GoingOn:
    """The forecasts of R runs until their next plans.

    Args:
        published: What the plans say.
    """

    def __init__(self, published: Published) -> None:
        self._published = published
        self._preferred = np.zeros_like(published.forecasts)
        self._runs = np.arange(len(published.forecasts))

    def of(self, first: IntArray, second: IntArray) -> list[tuple[int, int]]:
        """Both forecasts of each run's pair for its next comparison, in millionths; pairs of shape (R,)."""
        sides = self._of(first, second).tolist(), self._of(second, first).tolist()
        return list(zip(*sides, strict=True))

    def count(self, first: IntArray, second: IntArray, outcomes: IntArray) -> None:
        """Go on from an outcome of each run's pair: 1 if first was preferred, 0 if second, else a tie."""
        self._preferred[self._runs, first, second] += outcomes == 1
        self._preferred[self._runs, second, first] += outcomes == 0

    def _of(self, row: IntArray, rival: IntArray) -> IntArray:
        at, back = (self._runs, row, rival), (self._runs, rival, row)
        weight, preferred = self._published.weights[at], self._preferred[at]
        moved = self._published.forecasts[at] * weight + MILLION * preferred
        moved //= weight + preferred + self._preferred[back]
        return np.asarray(np.clip(moved, LOWEST, HIGHEST))
