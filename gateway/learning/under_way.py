"""How many outcomes are under way between a draw and its effect, from the latest comparisons of the log.

Routers need it to draw the policy that lags behind no more often than helps (`experiments/coins.py`). It
follows from when answers were given and when their outcomes came, and never from what the outcomes are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from policy_store.log_records import Comparison
from policy_store.store import PolicyStore

_ENTRIES: Final = 64  # of the log; plans stand between comparisons
_OUTCOMES: Final = 2  # in a comparison that matched them; a user or a judge who saw both answers made another
_TENTH: Final = 10  # what is drawn now begins to show when the quickest tenth of its users report


async def outcomes_under_way(
    store: PolicyStore, name: str, run: int, now: float, lag_seconds: float
) -> float:
    """How many outcomes of a generation or a watch come before one that is drawn now does.

    Args:
        store: Has the log.
        name: Experiment.
        run: The number of the generation or the watch.
        now: The store's clock.
        lag_seconds: How long it takes until routers draw by what was counted.

    Raises:
        StoreUnavailableError: The store did not answer.
    """
    return under_way(await store.latest_comparisons(name, run, _ENTRIES), now, lag_seconds)


def under_way(latest: Sequence[Comparison], now: float, lag_seconds: float) -> float:
    """How many outcomes came, at the rate of the latest comparisons, while one was under way.

    Args:
        latest: The latest comparisons, newest first.
        now: The store's clock, in Unix seconds.
        lag_seconds: How long it takes until routers draw by what was counted.

    Returns:
        0 before the first comparison of which it is known when its answers were given.
    """
    matched = [each for each in latest if len(each.given_at) == _OUTCOMES and all(each.given_at)]
    if not matched:
        return 0.0
    delays = sorted(max(0.0, each.at - max(each.given_at)) for each in matched)
    seconds = max(now - matched[-1].at, lag_seconds)
    return _OUTCOMES * len(matched) / seconds * (delays[len(delays) // _TENTH] + lag_seconds)
