"""Counts the signals that are found in conversations, by the rules of reports.

`serving/finding.py` finds them. Here each becomes the outcome of one answer, in the ledger of its role.
Beside that the store notes what was found of an answer, to compare it with what users say of the same answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from typing_extensions import override

from gateway.config.found_signals import FoundSignal
from gateway.errors import InvalidFeedbackError, UnavailableError
from gateway.experiments.response_ids import Assignment, ResponseIds
from gateway.experiments.snapshot import LiveExperiment, SnapshotHolder, Unit
from gateway.learning.given_feedback import Feedback, answer_digest
from gateway.learning.recording import ReportRecorder
from gateway.learning.unreported import UnreportedOutcomes
from gateway.running.store_breaker import StoreBreaker
from policy_store.errors import StoreError
from policy_store.found_signals import UNKNOWN, HeardAnswer
from policy_store.report_records import Precedence


class _Found(Feedback):
    """A signal that was found. It contradicts nothing: what users report of the answer stands."""

    @override
    def repeats(self, reported: str, unit: Unit) -> bool:
        return False

    @override
    def standing(self, *, may_correct: bool) -> Precedence:
        return Precedence.FOUND


class FoundSignalStore(Protocol):
    """The part of the store that this module needs. Its methods raise StoreError."""

    async def hear_answer(
        self, name: str, generation: int, turn: str, answer: HeardAnswer, digest: str, seconds: float
    ) -> None:
        """Remember the answer to a question."""
        ...

    async def notice(self, name: str, generation: int, digest: str, found: str) -> None:
        """Note what the next request shows of an answer."""
        ...


class FoundSignals:
    """Counts what is found.

    Args:
        store: Remembers answers, and what was found of them.
        recorder: Withdraws what an answer was to count as.
        outcomes: Has found signals counted.
        note_abandoned: Told of answers that are abandoned if no request follows them.
        response_ids: Opens the ids of answers.
        snapshots: Hold this gateway's experiments.
        breaker: Told when the store does not answer.
    """

    def __init__(
        self,
        *,
        store: FoundSignalStore,
        recorder: ReportRecorder,
        outcomes: UnreportedOutcomes,
        note_abandoned: Callable[[Assignment, LiveExperiment, FoundSignal], None],
        response_ids: ResponseIds,
        snapshots: SnapshotHolder,
        breaker: StoreBreaker,
    ) -> None:
        self._store = store
        self._recorder = recorder
        self._outcomes = outcomes
        self._note_abandoned = note_abandoned
        self._response_ids = response_ids
        self._snapshots = snapshots
        self._breaker = breaker

    async def answered(self, turn: str, answer: HeardAnswer) -> None:
        """Remember an answer until it counts; until then the next request may show something of it."""
        opened = self._opened(answer.response_id)
        if opened is None:
            return
        assignment, experiment = opened
        seconds = experiment.hold_seconds or experiment.window_seconds
        digest, generation = answer_digest(answer.response_id), assignment.generation
        try:
            await self._store.hear_answer(experiment.name, generation, turn, answer, digest, seconds)
        except StoreError as error:
            self._breaker.failed(error)
            return
        if experiment.found is not None and experiment.found.leaves_none_out:
            self._note_abandoned(assignment, experiment, FoundSignal.ABANDONED)

    async def found(self, response_id: str, signal: FoundSignal | None) -> None:
        """Count what was found of an answer; without a listed signal it only is not abandoned."""
        opened = self._opened(response_id)
        if opened is None:
            return
        assignment, experiment = opened
        listed = frozenset() if experiment.found is None else experiment.found.signals
        try:
            await self._store.notice(
                assignment.experiment,
                assignment.generation,
                answer_digest(response_id),
                UNKNOWN if signal is None else signal.value,
            )
            if signal is None or signal not in listed:
                await self._recorder.withdraw(assignment, experiment)
                return
        except StoreError as error:
            self._breaker.failed(error)
            return
        found = _Found(response_id, signal=signal.value, value=True)
        await self._outcomes.count(found, signal.value, assignment, experiment)

    def _opened(self, response_id: str) -> tuple[Assignment, LiveExperiment] | None:
        """What an answer was assigned, and its experiment; None if it can count no more."""
        try:
            assignment = self._response_ids.open(response_id)
        except (InvalidFeedbackError, UnavailableError):
            return None
        experiment = self._snapshots.current.experiments.get(assignment.experiment)
        if not isinstance(assignment, Assignment) or experiment is None:
            return None
        return assignment, experiment
