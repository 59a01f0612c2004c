"""One circuit breaker for everything that asks the store, so that a silent store does not delay answers.

The first request that finds the store silent waits for it. Later requests go on without the store: sessions
are drawn, limits are not enforced, and notes of earlier turns are not looked up. A background task asks the
store again once a second; its first answer closes the breaker for all of them.

A store that answers, but slowly, would delay every session. After two slow answers in a row to that task
sessions go on without it as well, until an answer is quick. Limits of keys have a shorter time-out of their
own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from gateway.running.logs import get_logger
from policy_store.errors import StoreError

_log = get_logger(__name__)

RETRY_SECONDS: Final = 1.0
SLOW_SECONDS: Final = 0.25
_SLOW_IN_A_ROW: Final = 2


class StoreBreaker:
    """Whether the store answered last, and soon.

    Args:
        timer: Monotonic seconds.
        slow_seconds: An answer that takes longer is slow.

    Attributes:
        is_open: Whether the store does not answer.
    """

    def __init__(
        self, timer: Callable[[], float] = time.monotonic, *, slow_seconds: float = SLOW_SECONDS
    ) -> None:
        self._timer = timer
        self._slow_seconds = slow_seconds
        self._retry_at = 0.0
        self._slow_answers = 0
        self.is_open = False

    @property
    def spares_sessions(self) -> bool:
        """Whether sessions go on without the store, because it does not answer or is slow."""
        return self.is_open or self._slow_answers >= _SLOW_IN_A_ROW

    def took(self, seconds: float) -> None:
        """Note how long the store took to answer the background task."""
        before = self._slow_answers
        self._slow_answers = before + 1 if seconds > self._slow_seconds else 0
        if self._slow_answers == _SLOW_IN_A_ROW:
            _log.warning("store_slow", seconds=round(seconds, 3))
        elif before >= _SLOW_IN_A_ROW and not self._slow_answers:
            _log.info("store_quick_again")

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
