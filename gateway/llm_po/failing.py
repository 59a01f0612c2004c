"""Whether a candidate fails on most of the requests it is asked, tested at every look.

The claim that is tested is "each time it is asked, whatever happened before, it fails with probability at
most one half". For a rate q above one half, the likelihood ratio of q against one half is a nonnegative
supermartingale under that claim, and so is the mean of the ratios over a fixed grid of rates. By Ville's
inequality it ever reaches 1 / FAILING_LEVEL with probability at most FAILING_LEVEL
(docs/decisions/0132-failing-candidates.md).
"""

from __future__ import annotations

import math
from typing import Final

from gateway.llm_po.errors import DesignError
from gateway.llm_po.scalars import whole_number

FAILING_LEVEL: Final = 0.001
"""The largest probability of ending an experiment although no candidate fails on more than half."""
_MOST: Final = 0.5
_RATES: Final = (0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.99)


def failing_nats(asked: int, failed: int) -> float:
    """Evidence that a policy fails on more than half of the requests it is asked, in nats.

    It grows with `failed` and falls with `asked`, so a count of requests that includes some whose end is not
    known yet, as if they succeeded, gives less evidence than there is.

    Args:
        asked: How many requests it was asked.
        failed: On how many of them it failed, at most `asked`.

    Raises:
        DesignError: If these are no such numbers.
    """
    whole_number(asked, "asked", 0)
    if whole_number(failed, "failed", 0) > asked:
        raise DesignError(f"failed is {failed}, and only {asked} were asked.")
    ratios = [
        failed * math.log(rate / _MOST) + (asked - failed) * math.log((1 - rate) / (1 - _MOST))
        for rate in _RATES
    ]
    top = max(ratios)
    return top + math.log(sum(math.exp(ratio - top) for ratio in ratios) / len(ratios))


def failing_line(candidates: int) -> float:
    """The nats that one of so many candidates has to reach, in nats."""
    return math.log(whole_number(candidates, "candidates", 1) / FAILING_LEVEL)
