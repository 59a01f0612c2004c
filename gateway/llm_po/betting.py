"""The evidence that one outcome adds: the bet of a published forecast against a hypothesis on a pair.

Under "j is preferred to k with probability at least h", a forecast q < h of that probability adds log(q / h)
if j is preferred and log((1 - q) / (1 - h)) if k is; a forecast q >= h bets nothing. For any true probability
of at least h, which may differ from outcome to outcome, the expected factor is at most one.

A forecast goes on within its plan: until the next plan each decisive outcome of the pair moves it, as the
plan's weights say (`gone_on`, docs/decisions/0190-forecasts-between-plans.md). What the store's script, a
verifier and a simulation compute has to agree in every digit, so everything here is made of comparisons and
the four operations, which every machine rounds alike.

This module loads no numpy, because the server must not load it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, TypeVar

from gateway.llm_po.errors import ForecastError
from gateway.llm_po.lines import NANO
from gateway.llm_po.scalars import shown

if TYPE_CHECKING:
    from gateway.llm_po.wins import FloatArray

    Numbers = TypeVar("Numbers", float, FloatArray)

MILLION: Final = 1_000_000
"""Forecasts are published in millionths."""

SMALLEST_FORECAST: Final = 0.02
"""Forecasts stay this far from 0 and 1, which bounds what one outcome can add or subtract."""

LOWEST: Final = round(SMALLEST_FORECAST * MILLION)
HIGHEST: Final = MILLION - LOWEST
"""The least and the largest forecast that may be published, in millionths."""

HEAVIEST: Final = 1_000_000
"""The largest weight of a forecast, so that what is computed with it stays below 2^53."""

_TWOS: Final = tuple((exponent, 2.0**exponent) for exponent in (32, 16, 8, 4, 2, 1))
_LOG_2: Final = 0.6931471805599453
_ODD: Final = (21.0, 19.0, 17.0, 15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0)


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
        if not LOWEST <= forecast <= HIGHEST:
            raise ForecastError(
                f"A forecast of {shown(forecast)} millionths is outside [{LOWEST}, {HIGHEST}]; clip it."
            )
    first_preferred, second_preferred = _bet(probability_millionths / MILLION, threshold)
    mirrored_second, mirrored_first = _bet(mirrored / MILLION, threshold)
    return first_preferred, second_preferred, mirrored_first, mirrored_second


def gone_on(published_millionths: int, weight: int, preferred: int, other: int) -> int:
    """A forecast after outcomes since its plan, in millionths.

    Args:
        published_millionths: The forecast of the plan.
        weight: How many comparisons the plan's forecast is worth, in [1, 1,000,000].
        preferred: Decisive comparisons since then that were as forecast: the policy was preferred.
        other: Decisive comparisons since then in which the other one was.
    """
    moved = (published_millionths * weight + MILLION * preferred) // (weight + preferred + other)
    return min(max(moved, LOWEST), HIGHEST)


def natural_log(x: Numbers) -> Numbers:
    """The logarithm of numbers between 2^-63 and 2^63, within 1e-15, with the same digits on every machine.

    The number is moved into [3/4, 3/2) by factors of two. There it is 2 artanh z, z = (x - 1) / (x + 1), by
    its series, whose first term left out is below 1e-17.
    """
    twos = 0.0 * x
    for exponent, power in _TWOS:
        is_low, is_high = x < 1.5 / power, x >= 0.75 * power
        x = x * (1.0 + is_low * (power - 1.0)) * (1.0 + is_high * (1.0 / power - 1.0))
        twos = twos + exponent * (1.0 * is_high - 1.0 * is_low)
    z = (x - 1.0) / (x + 1.0)
    square = z * z
    total = 0.0 * x + 1.0 / 23.0
    for odd in _ODD:
        total = total * square + 1.0 / odd
    return twos * _LOG_2 + 2.0 * z * total


def _bet(q: float, threshold: float) -> tuple[int, int]:
    """Evidence against "preferred with probability >= threshold": (if preferred, if not), in nano-nats."""
    if q >= threshold:
        return 0, 0
    preferred = natural_log(q / threshold)
    other = natural_log((1 - q) / (1 - threshold))
    return math.floor(preferred * NANO), math.floor(other * NANO)
