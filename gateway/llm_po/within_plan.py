"""The forecasts of a plan, and how each goes on with the outcomes counted under it.

A forecast may be anything that is fixed before its outcome. That of a plan would be out of date once many
outcomes were counted under it, and the first ones, which expect clear differences, would lose evidence with
each of them. So they go on: by a rule that the plan published, from outcomes counted before
(docs/decisions/0190-forecasts-between-plans.md).

The server reads logs too, so this module loads no numpy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from gateway.llm_po.betting import gone_on

Pair = tuple[int, int]


class PlanForecasts:
    """What a plan says of every pair at each comparison.

    Args:
        published: For each pair `first`, `second` and the forecast of P(first preferred) in millionths; then
            that of P(second preferred) where the bet against second has one of its own; then the weights of
            both where they go on.
    """

    def __init__(self, published: Iterable[tuple[int, ...]] = ()) -> None:
        self._published = {(first, second): said for first, second, *said in published}
        self._preferred: Counter[Pair] = Counter()

    def __contains__(self, pair: Pair) -> bool:
        return pair in self._published

    def as_published(self, pair: Pair) -> tuple[int, int | None]:
        """Both forecasts of a pair as published; the second is None if it is what the first one leaves."""
        first, *others = self._published[pair]
        return first, others[0] if others else None

    def of(self, pair: Pair) -> tuple[int, int | None]:
        """Both forecasts for the next comparison of a pair, as in `as_published`."""
        if not self.goes_on(pair):
            return self.as_published(pair)
        first, second, first_weight, second_weight = self._published[pair]
        preferred, other = self._preferred[pair], self._preferred[_turned(pair)]
        return (
            gone_on(first, first_weight, preferred, other),
            gone_on(second, second_weight, other, preferred),
        )

    def goes_on(self, pair: Pair) -> bool:
        """Whether the forecasts of a pair go on with its outcomes."""
        return len(self._published[pair]) == 4

    def count(self, pair: Pair, result: str) -> None:
        """Go on from one more outcome of a pair, as its first policy sees it."""
        if result != "tie":
            self._preferred[pair if result == "win" else _turned(pair)] += 1


def _turned(pair: Pair) -> Pair:
    first, second = pair
    return second, first
