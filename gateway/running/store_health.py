"""Whether the shared store answers and accepts writes: flags for /metrics and /readyz, a log line per change.

One failure means little, for example while everything on a machine is starting. So only two failures in a
row are an outage. One write without an answer means little too, because the whole server may be silent. But
if reads are answered in the meantime and a second write is not, then only writes are held back.
"""

from __future__ import annotations

from typing import Final

from gateway.running.logs import get_logger
from policy_store.errors import StoreError, StoreRefusedError, UnconfirmedError
from policy_store.refusals import REFUSALS

_log = get_logger(__name__)

_REFUSED: Final = {"feedback": "is refused"}
_UNCONFIRMED: Final = {
    "feedback": "is not acknowledged",
    "remedy": "bring the replicas back, or lower LLMPO_STORE_CONFIRMING_REPLICAS",
}


class StoreHealth:
    """The state of the store; everything that asks the store regularly reports to it.

    Attributes:
        is_up: Whether the store answers; None until it is known.
        is_writable: Whether it accepts writes; None until that is known, and while it does not answer.
        says: Why it accepts none, without addresses or secrets; otherwise empty.
    """

    def __init__(self) -> None:
        self.is_up: bool | None = None
        self.is_writable: bool | None = None
        self.says = ""
        self._was_asked = False
        self._is_write_unanswered = False
        self._was_read_since = False
        self._is_said = False

    def answered(self) -> None:
        """Note that the store answered."""
        if self.is_up is False:
            _log.info("store_back")
        self.is_up = True
        self._was_read_since = True

    def failed(self, error: StoreError) -> None:
        """Note that the store did not answer, or did not do what it was asked."""
        if isinstance(error, UnconfirmedError) or (
            isinstance(error, StoreRefusedError) and not REFUSALS[error.word].stops_reads
        ):
            self.answered()
            self._refuses_writes(error)
            return
        self._is_write_unanswered = False
        if self.is_up is None and not self._was_asked:
            self._was_asked = True
            return
        if self.is_up is not False:
            _log.warning("store_unreachable", served_from="the last snapshot", error=str(error))
        self.is_up, self.is_writable, self.says = False, None, ""

    def wrote(self) -> None:
        """Note that the store accepted a write."""
        if self._is_said:
            _log.info("store_writable")
        self._is_said = False
        self.is_writable, self.says = True, ""
        self._is_write_unanswered = False

    def failed_to_write(self, error: StoreError) -> None:
        """Note that the store did not accept a write."""
        if isinstance(error, StoreRefusedError | UnconfirmedError):
            self.failed(error)
        elif self._is_write_unanswered and self._was_read_since:
            self._refuses_writes(error)
        else:
            self._is_write_unanswered, self._was_read_since = True, False

    def _refuses_writes(self, error: StoreError) -> None:
        if not self._is_said or self.says not in ("", str(error)):
            told = _UNCONFIRMED if isinstance(error, UnconfirmedError) else _REFUSED
            _log.warning("store_not_writable", **told, error=str(error))
        self._is_said = True
        self.is_writable, self.says = False, str(error)
