"""Ejects respondents that failed several times in a row, so that others answer at once for a while.

Each process keeps a circuit breaker for each respondent. While closed, it counts failures in a row. At the
limit it opens for a back-off that doubles with every failed probe. Then it is half open and lets one request
at a time through as a probe. An answer closes it again.

Ejection moves requests elsewhere and never refuses them: when no other respondent is left, the ejected one is
asked anyway, and its answer readmits it as a probe's would.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gateway.instrumentation.hooks import Hooks
from gateway.instrumentation.records import Ejected, EjectionEnded
from gateway.running.logs import get_logger
from gateway.serving.exchange import Respondent

FAILURES_IN_A_ROW: Final = 5
FIRST_BACKOFF_SECONDS: Final = 1.0
LONGEST_BACKOFF_SECONDS: Final = 60.0

_log = get_logger(__name__)


@dataclass(slots=True)
class _Record:
    """A respondent that failed recently. `until` is None while it is not ejected."""

    of: Respondent
    failures: int = 0
    ejections: int = 0
    until: float | None = None
    is_probed: bool = False


class EjectionBook:
    """Knows which respondents are ejected.

    Args:
        hooks: Hear of every change.
        timer: Monotonic seconds.
        failures: How many failures in a row eject a respondent.
        longest_seconds: The longest back-off.
    """

    def __init__(
        self,
        hooks: Hooks,
        timer: Callable[[], float] = time.monotonic,
        *,
        failures: int = FAILURES_IN_A_ROW,
        longest_seconds: float = LONGEST_BACKOFF_SECONDS,
    ) -> None:
        self._hooks = hooks
        self._timer = timer
        self._limit = failures
        self._longest_seconds = longest_seconds
        self._records: dict[tuple[str, str, str], _Record] = {}

    def admit(self, respondent: Respondent, *, even_if_ejected: bool = False) -> Ticket | None:
        """Permission to ask, as a probe if one is due; None while the respondent is ejected.

        Args:
            respondent: The respondent to ask.
            even_if_ejected: Permit it even if it is ejected, because there is no other respondent left.
        """
        if not self._records:
            return Ticket(self, respondent)
        record = self._records.get(respondent.name)
        if record is not None and not record.of.is_same(respondent):
            # The operator changed its configuration, so earlier failures say nothing about it.
            self._forget(record)
            record = None
        if record is None or record.until is None:
            return Ticket(self, respondent)
        if not record.is_probed and self._timer() >= record.until:
            record.is_probed = True
            return Ticket(self, respondent, is_probe=True, was_ejected=True)
        return Ticket(self, respondent, was_ejected=True) if even_if_ejected else None

    def answered(self, ticket: Ticket) -> None:
        """Forget the failures, unless the answer was asked for before the ejection."""
        record = self._record_of(ticket) if self._records else None
        if record is not None and (record.until is None or ticket.was_ejected):
            self._forget(record)

    def failed(self, ticket: Ticket, at_least_seconds: float) -> None:
        """Count a failure; only a failed probe makes an ejection longer."""
        name = ticket.respondent.name
        record = self._records.setdefault(name, _Record(ticket.respondent))
        if not record.of.is_same(ticket.respondent):
            return  # the respondent was replaced by another one
        if record.until is None:
            record.failures += 1
            if record.failures >= self._limit:
                self._eject(record, at_least_seconds)
                gone = Ejected(*name)
                _log.warning("ejected", failures=record.failures, **_given(gone))
                self._hooks.tell(gone)
        elif ticket.is_probe:
            self._eject(record, at_least_seconds)

    def probe_ended(self, ticket: Ticket) -> None:
        """Let the next probe through, because this one had no result."""
        record = self._record_of(ticket)
        if record is not None:
            record.is_probed = False

    def keep(self, is_kept: Callable[[Respondent], bool]) -> None:
        """Forget the respondents that are no more."""
        for record in [each for each in self._records.values() if not is_kept(each.of)]:
            self._forget(record)

    def _record_of(self, ticket: Ticket) -> _Record | None:
        record = self._records.get(ticket.respondent.name)
        return record if record is not None and record.of.is_same(ticket.respondent) else None

    def _forget(self, record: _Record) -> None:
        del self._records[record.of.name]
        if record.until is not None:
            back = EjectionEnded(*record.of.name)
            _log.info("readmitted", **_given(back))
            self._hooks.tell(back)

    def _eject(self, record: _Record, at_least_seconds: float) -> None:
        backoff = max(FIRST_BACKOFF_SECONDS * 2.0 ** min(record.ejections, 32), at_least_seconds)
        record.until = self._timer() + min(backoff, self._longest_seconds)
        record.ejections += 1
        record.is_probed = False


class Ticket:
    """Permission to ask a respondent once. The holder reports the result; only the first report counts."""

    __slots__ = ("_book", "_is_open", "is_probe", "respondent", "was_ejected")

    def __init__(
        self,
        book: EjectionBook,
        respondent: Respondent,
        *,
        is_probe: bool = False,
        was_ejected: bool = False,
    ) -> None:
        self._book = book
        self._is_open = True
        self.respondent = respondent
        self.is_probe = is_probe
        self.was_ejected = was_ejected

    def answered(self) -> None:
        """Report that the respondent gave a whole answer."""
        if self._is_open:
            self._is_open = False
            self._book.answered(self)

    def failed(self, at_least_seconds: float = 0.0) -> None:
        """Report that it failed; `at_least_seconds` is the `retry-after` that it asked for."""
        if self._closes():
            self._book.failed(self, at_least_seconds)

    def released(self) -> None:
        """Report that there is no result: the caller left, or the request itself was at fault."""
        if self._closes() and self.is_probe:
            self._book.probe_ended(self)

    def _closes(self) -> bool:
        was_open, self._is_open = self._is_open, False
        return was_open


def _given(event: Ejected | EjectionEnded) -> dict[str, str]:
    return {name: value for name, value in event._asdict().items() if value}
