"""Whether limits can be accounted for: while the store does not answer, nobody is refused.

The first request that finds the store silent has waited for it in vain. Those after it pass without waiting,
and one of them a second lets the store be asked in the background whether it is back.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Protocol

from gateway.running.logs import get_logger
from policy_store.errors import StoreError

_log = get_logger(__name__)

RETRY_SECONDS: Final = 1.0


class LimitObserver(Protocol):
    """Hears what limits do to requests. `key` is a name an operator gave, `limit` from a closed set."""

    def key_limited(self, key: str, limit: str) -> None:
        """A request was refused because a limit is reached."""

    def limits_skipped(self, key: str) -> None:
        """A request passed because limits cannot be accounted for."""


class LimitHealth:
    """Told by whoever asked the store.

    Args:
        observer: Told of requests that passed unaccounted for.
        timer: Seconds that only ever grow.
    """

    def __init__(self, observer: LimitObserver, timer: Callable[[], float] = time.monotonic) -> None:
        self._observer = observer
        self._timer = timer
        self._retry_at = 0.0
        self.is_enforced = True

    def answered(self) -> None:
        """The store answered."""
        if not self.is_enforced:
            _log.info("limits of API keys hold again")
        self.is_enforced = True

    def failed(self, error: StoreError) -> None:
        """The store did not."""
        if self.is_enforced:
            _log.warning("limits of API keys do not hold: the store does not answer", error=str(error))
        self.is_enforced = False
        self._retry_at = self._timer() + RETRY_SECONDS

    def passed(self, key: str) -> None:
        """A request of the key passed meanwhile."""
        self._observer.limits_skipped(key)

    def is_due(self) -> bool:
        """Whether it is time to ask again."""
        return self._timer() >= self._retry_at
