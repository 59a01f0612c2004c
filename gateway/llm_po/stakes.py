"""Forecasts as published: those of `forecast`, but no bolder than the missing evidence requires.

A forecast is a bet, and those of `forecast` make evidence grow fastest. But the outcome that
takes a row total past the line usually takes it far past, and the surplus was risked for nothing. So if one
more outcome against a policy is enough, the forecast moves towards one half until that outcome is just
enough. Any forecast fixed before its outcome keeps the evidence valid; this one only saves comparisons.
docs/decisions/0012-forecasts.md has the measurements.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from gateway.llm_po.evidence import in_millionths
from gateway.llm_po.forecast import Bets
from gateway.llm_po.lines import elimination_threshold
from gateway.llm_po.samplers import Situation
from gateway.llm_po.wins import IntArray

_LEAST_SHARE: Final = 0.4
"""Smallest share of its full gain that a bet keeps, for the outcomes counted before the next refresh."""

_ROUNDING_NATS: Final = 1e-5
"""By how much a forecast in millionths and increments in nano-nats may fall short."""


@dataclass(frozen=True, slots=True, eq=False)
class Published:
    """The bets of a plan in whole numbers, as store and log have them.

    Attributes:
        forecasts: Shape (R, K, K), in millionths; `[i, j]` and `[j, i]` are bets of their own and need not
            add up.
        weights: Shape (R, K, K), as in `Bets`.
    """

    forecasts: IntArray
    weights: IntArray


def published(bets: Bets, situation: Situation) -> Published:
    """The bets that are published.

    With a margin, every rival of a policy has a line of its own, and measurements showed that trimming saves
    nothing, so the forecasts are not changed.

    Args:
        bets: The bets against every row.
        situation: The R runs they were fitted to.
    """
    q = bets.forecasts
    if situation.design.epsilon == 0:
        # A bet against a survivor is limited to the nats that its row total still needs.
        needed = elimination_threshold(situation.design.delta) - situation.row_nats + _ROUNDING_NATS
        needed = np.where(situation.eliminated, np.inf, needed)[:, :, None]
        gain = np.log(2 * (1 - np.minimum(q, 0.5)))
        enough = np.minimum(gain, np.maximum(needed, _LEAST_SHARE * gain))
        q = np.where(q < 0.5, 1 - 0.5 * np.exp(enough), q)
    return Published(in_millionths(q), np.rint(bets.weights).astype(np.int64))
