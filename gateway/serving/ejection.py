"""Targets that failed several times in a row are left alone for a while, so that others answer at once.

A circuit breaker for each target, kept by each process for itself: closed, it counts failures in a row; at
the limit it opens for a back-off that doubles with every probe that fails; then it is half open, and one
request at a time is let through as the probe. An answer closes it again.

Ejecting moves requests elsewhere, it never refuses them: with nobody else left, the ejected target is asked
anyway (`EjectionBook.insist`), and its answer brings it back like a probe's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from gateway.running.logs import get_logger

FAILURES_IN_A_ROW: Final = 5
FIRST_BACKOFF_SECONDS: Final = 1.0
LONGEST_BACKOFF_SECONDS: Final = 60.0

_log = get_logger(__name__)


class Target(NamedTuple):
    """What can be ejected: a model asked by its name, or a policy of an experiment with its model."""

    model: str
    experiment: str = ""
    policy: str = ""


class EjectionObserver(Protocol):
    """Hears when a target is ejected and when it is back."""

    def target_ejected(self, target: Target) -> None:
        """Requests go elsewhere from now on."""

    def target_readmitted(self, target: Target) -> None:
        """It answered and takes part again."""


@dataclass(slots=True)
class _Record:
    """A target that failed lately. `until` is None while it is not ejected."""

    failures: int = 0
    ejections: int = 0
    until: float | None = None
    is_probed: bool = False


class EjectionBook:
    """Knows which targets are ejected.

    Args:
        observer: Told of every change.
        clock: Seconds that only ever grow.
        failures: How many failures in a row eject a target.
        longest_seconds: Where the back-off stops doubling.
    """

    def __init__(
        self,
        observer: EjectionObserver,
        clock: Callable[[], float] = time.monotonic,
        *,
        failures: int = FAILURES_IN_A_ROW,
        longest_seconds: float = LONGEST_BACKOFF_SECONDS,
    ) -> None:
        self._observer = observer
        self._clock = clock
        self._limit = failures
        self._longest_seconds = longest_seconds
        self._records: dict[Target, _Record] = {}

    def admit(self, target: Target) -> Admission | None:
        """Leave to ask `target`, as a probe where one is due; None while it is ejected."""
        record = self._records.get(target)
        if record is None or record.until is None:
            return Admission(self, target)
        if record.is_probed or self._clock() < record.until:
            return None
        record.is_probed = True
        return Admission(self, target, is_probe=True, was_ejected=True)

    def insist(self, target: Target) -> Admission:
        """Leave to ask `target` whether or not it is ejected, because nobody else is left."""
        admission = self.admit(target)
        return Admission(self, target, was_ejected=True) if admission is None else admission

    def is_ejected(self, target: Target) -> bool:
        """Whether requests go elsewhere, but for the probes."""
        record = self._records.get(target)
        return record is not None and record.until is not None

    def answered(self, admission: Admission) -> None:
        """Forget the failures. An answer asked for before the ejection says nothing about now."""
        record = self._records.get(admission.target)
        if record is None or (record.until is not None and not admission.was_ejected):
            return
        del self._records[admission.target]
        if record.until is not None:
            _log.info("target is back", **_named(admission.target))
            self._observer.target_readmitted(admission.target)

    def failed(self, admission: Admission, at_least_seconds: float) -> None:
        """Count a failure; only a probe's makes an ejection longer."""
        record = self._records.setdefault(admission.target, _Record())
        if record.until is None:
            record.failures += 1
            if record.failures >= self._limit:
                self._eject(record, at_least_seconds)
                _log.warning("target ejected", failures=record.failures, **_named(admission.target))
                self._observer.target_ejected(admission.target)
        elif admission.is_probe:
            self._eject(record, at_least_seconds)

    def probe_ended(self, admission: Admission) -> None:
        """Let the next probe through: this one showed nothing."""
        record = self._records.get(admission.target)
        if record is not None:
            record.is_probed = False

    def _eject(self, record: _Record, at_least_seconds: float) -> None:
        backoff = max(FIRST_BACKOFF_SECONDS * 2.0 ** min(record.ejections, 32), at_least_seconds)
        record.until = self._clock() + min(backoff, self._longest_seconds)
        record.ejections += 1
        record.is_probed = False


class Admission:
    """Leave to ask a target once. Say exactly once how it went; what is said later is not heard."""

    __slots__ = ("_book", "_is_open", "is_probe", "target", "was_ejected")

    def __init__(
        self, book: EjectionBook, target: Target, *, is_probe: bool = False, was_ejected: bool = False
    ) -> None:
        self._book = book
        self._is_open = True
        self.target = target
        self.is_probe = is_probe
        self.was_ejected = was_ejected

    def answered(self) -> None:
        """The target gave a whole answer."""
        if self._closes():
            self._book.answered(self)

    def failed(self, at_least_seconds: float = 0.0) -> None:
        """It did not; `at_least_seconds` is how long it asked to be left alone."""
        if self._closes():
            self._book.failed(self, at_least_seconds)

    def released(self) -> None:
        """Nothing was learnt: the caller left, or the request itself was at fault."""
        if self._closes() and self.is_probe:
            self._book.probe_ended(self)

    def _closes(self) -> bool:
        was_open, self._is_open = self._is_open, False
        return was_open


def _named(target: Target) -> dict[str, str]:
    return {name: value for name, value in target._asdict().items() if value}
