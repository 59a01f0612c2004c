"""Whether limits can be accounted for. While the store does not answer, no request is refused.

The first request that finds the store silent has waited for it in vain. Later ones pass without waiting, and
once a second one of them has the store asked in the background whether it answers again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from gateway.running.logs import get_logger
from policy_store.errors import StoreError

_log = get_logger(__name__)

RETRY_SECONDS: Final = 1.0


class LimitHealth:
    """What the last call of the store showed. `timer` gives seconds that only ever grow."""

    def __init__(self, timer: Callable[[], float] = time.monotonic) -> None:
        self._timer = timer
        self._retry_at = 0.0
        self.is_enforced = True

    def answered(self) -> None:
        """The store answered."""
        if not self.is_enforced:
            _log.info("limits_hold")
        self.is_enforced = True

    def failed(self, error: StoreError) -> None:
        """The store did not answer."""
        if self.is_enforced:
            _log.warning("limits_not_enforced", error=str(error))
        self.is_enforced = False
        self._retry_at = self._timer() + RETRY_SECONDS

    def is_due(self) -> bool:
        """Whether it is time to ask again."""
        return self._timer() >= self._retry_at
