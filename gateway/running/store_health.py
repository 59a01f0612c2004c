"""Whether the shared store answers: one flag for /metrics, one log line per change.

The first attempt of a starting process, often on a machine where everything starts, may fail without meaning
anything. So it takes two failures in a row to call it an outage.
"""

from __future__ import annotations

from gateway.running.logs import get_logger
from policy_store.errors import StoreError

_log = get_logger(__name__)


class StoreHealth:
    """Told by the refresher, which asks the store several times a second."""

    def __init__(self) -> None:
        self.is_up: bool | None = None  # None until it is known
        self._was_asked = False

    def answered(self) -> None:
        """The store answered."""
        if self.is_up is False:
            _log.info("store_back")
        self.is_up = True

    def failed(self, error: StoreError) -> None:
        """The store did not answer."""
        if self.is_up is None and not self._was_asked:
            self._was_asked = True
            return
        if self.is_up is not False:
            _log.warning("store_unreachable", served_from="the last snapshot", error=str(error))
        self.is_up = False
