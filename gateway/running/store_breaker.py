"""One circuit breaker for everything that asks the store, so that a silent store does not delay answers.

The first request that finds the store silent waits for it. Later requests go on without the store: sessions
are drawn, limits are not enforced, and notes of earlier turns are not looked up. A background task asks the
store again once a second; its first answer closes the breaker for all of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from gateway.running.logs import get_logger
from policy_store.errors import StoreError

_log = get_logger(__name__)

RETRY_SECONDS: Final = 1.0


class StoreBreaker:
    """Whether the store answered last. `timer` gives monotonic seconds."""

    def __init__(self, timer: Callable[[], float] = time.monotonic) -> None:
        self._timer = timer
        self._retry_at = 0.0
        self.is_open = False

    def answered(self) -> None:
        """Note that the store answered."""
        if self.is_open:
            _log.info("answering_with_store", limits="hold")
        self.is_open = False

    def failed(self, error: StoreError) -> None:
        """Note that the store did not answer."""
        if not self.is_open:
            _log.warning("answering_without_store", limits="do not hold", error=str(error))
        self.is_open = True
        self._retry_at = self._timer() + RETRY_SECONDS

    def is_due(self) -> bool:
        """Whether it is time to ask again."""
        return self._timer() >= self._retry_at
