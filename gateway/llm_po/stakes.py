"""Forecasts as published: those of `forecast`, but no bolder than the missing evidence requires.

A forecast is a bet, and those of `forecast` make evidence grow fastest. But the outcome that
takes a row total past the line usually takes it far past, and the surplus was risked for nothing. So if one
more outcome against a policy is enough, the forecast moves towards one half until that outcome is just
enough. Any forecast fixed before its outcome keeps the evidence valid; this one only saves comparisons.
docs/decisions/0012-forecasts.md has the measurements.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from gateway.llm_po.evidence import in_millionths
from gateway.llm_po.lines import elimination_threshold
from gateway.llm_po.samplers import Situation
from gateway.llm_po.wins import FloatArray, IntArray

_LEAST_SHARE: Final = 0.4
"""Smallest share of its full gain that a bet keeps, for the outcomes counted before the next refresh."""

_ROUNDING_NATS: Final = 1e-5
"""By how much a forecast in millionths and increments in nano-nats may fall short."""


def published_forecasts(q: FloatArray, situation: Situation) -> IntArray:
    """Forecasts in millionths, as the ledger and the log take them.

    With a margin, every rival of a policy has a line of its own, and measurements showed that trimming saves
    nothing, so the forecasts are not changed.

    Args:
        q: Forecasts of P(row preferred to column) for the bets against the row, shape (R, K, K).
        situation: The R runs they were fitted to.

    Returns:
        Shape (R, K, K); `q[i, j]` and `q[j, i]` are bets of their own and need not add up.
    """
    if situation.design.epsilon == 0:
        # A bet against a survivor is limited to the nats that its row total still needs.
        needed = elimination_threshold(situation.design.delta) - situation.row_nats + _ROUNDING_NATS
        needed = np.where(situation.eliminated, np.inf, needed)[:, :, None]
        gain = np.log(2 * (1 - np.minimum(q, 0.5)))
        enough = np.minimum(gain, np.maximum(needed, _LEAST_SHARE * gain))
        q = np.where(q < 0.5, 1 - 0.5 * np.exp(enough), q)
    return in_millionths(q)
