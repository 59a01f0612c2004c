"""The evidence that one outcome adds: the bet of a published forecast against a hypothesis on a pair.

Under "j is preferred to k with probability at least h", a forecast q < h of that probability adds log(q / h)
if j is preferred and log((1 - q) / (1 - h)) if k is; a forecast q >= h bets nothing. For any true probability
of at least h, which may differ from outcome to outcome, the expected factor is at most one.

This module loads no numpy, because the server must not load it.
"""

from __future__ import annotations

import math
from typing import Final

from gateway.llm_po.errors import ForecastError
from gateway.llm_po.lines import NANO
from gateway.llm_po.scalars import shown

MILLION: Final = 1_000_000
"""Forecasts are published in millionths."""

SMALLEST_FORECAST: Final = 0.02
"""Forecasts stay this far from 0 and 1, which bounds what one outcome can add or subtract."""

_LOWEST: Final = round(SMALLEST_FORECAST * MILLION)
_HIGHEST: Final = MILLION - _LOWEST


def increments_at(
    probability_millionths: int, threshold: float, second_millionths: int | None = None
) -> tuple[int, int, int, int]:
    """What one comparison of a < b adds to evidence at a threshold, in nano-nats, rounded down.

    Args:
        probability_millionths: Forecast of P(a preferred to b | decisive), in [20,000, 980,000].
        threshold: h, in (0, 1). Not checked: this is called for every comparison.
        second_millionths: Forecast of P(b preferred to a | decisive) for the bet against b, or None for the
            complement of the other one.

    Returns:
        Evidence against "a is preferred to b with at least h" if a is preferred, the same if b is, then
        evidence against "b is preferred to a with at least h" likewise.

    Raises:
        ForecastError: If a forecast lies outside the range.
    """
    mirrored = MILLION - probability_millionths if second_millionths is None else second_millionths
    for forecast in (probability_millionths, mirrored):
        if not _LOWEST <= forecast <= _HIGHEST:
            raise ForecastError(
                f"A forecast of {shown(forecast)} millionths is outside [{_LOWEST}, {_HIGHEST}]; clip it."
            )
    first_preferred, second_preferred = _bet(probability_millionths / MILLION, threshold)
    mirrored_second, mirrored_first = _bet(mirrored / MILLION, threshold)
    return first_preferred, second_preferred, mirrored_first, mirrored_second


def _bet(q: float, threshold: float) -> tuple[int, int]:
    """Evidence against "preferred with probability >= threshold": (if preferred, if not), in nano-nats."""
    if q >= threshold:
        return 0, 0
    preferred = math.log(q / threshold)
    other = math.log((1 - q) / (1 - threshold))
    return math.floor(preferred * NANO), math.floor(other * NANO)
