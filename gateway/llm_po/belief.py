"""How far a source that informs is believed beforehand, and how much better one predicts with it.

The server shows the latter, so this module loads no numpy.
"""

from __future__ import annotations

import math
from typing import Final

UNUSED: Final = 0.3
"""Probability beforehand that no source predicts the users."""

_CERTAIN: Final = 1e-12  # probabilities nearer to 0 or 1 than this are not told from them


def gained_nats(used: float, sources: int) -> float:
    """How much better the users' comparisons so far were predicted with a source than without it, in nats.

    That is the logarithm of a Bayes factor: the odds of using the source now, over those beforehand. Evidence
    is the logarithm of such predictions too, so about as many nats of evidence came from the source. Far
    below 0 it is not what evidence lost: a source that predicts badly is not used, and costs little.

    Args:
        used: The probability that the source is used, now.
        sources: How many sources inform.
    """
    uses = sources + (sources > 1)  # each alone and, if there are several, all together
    beforehand = (1 - UNUSED) / uses * (2 if sources > 1 else 1)
    return _log_odds(used) - _log_odds(beforehand)


def _log_odds(probability: float) -> float:
    within = min(max(probability, _CERTAIN), 1 - _CERTAIN)
    return math.log(within / (1 - within))
