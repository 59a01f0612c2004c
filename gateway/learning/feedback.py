"""Turns what a user said or did about an answer into one outcome or comparison, counted exactly once.

The response id carries which experiment, pair and side the answer belonged to (response_ids.py); the
experiment's snapshot has the weights of its signals; one script in the store does the counting. A mistake of
the application is refused. If a report does not count for a reason that the application could not know, it
gets an ordinary answer with a `NotCounted` (docs/decisions/0060-feedback-that-does-not-count.md). Neither
changes anything; both are counted under a reason from `DISCARD_REASONS`.

    Takes.PREFERENCE   the user names the better of two choices, a tie, or both bad  -> a comparison at once
    Takes.SIGNAL       a signal gives one answer's outcome, a number  -> a comparison as soon as the pair's
                       other policy has an outcome that is not in another comparison
    Takes.NOTHING      nothing is reported: `kept_answers.py` counts what conversations show

With `feedback.hold` the store keeps both until the answer is that old; planning.py has them counted then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from gateway.errors import InvalidFeedbackError, UnavailableError
from gateway.experiments.collecting import Takes
from gateway.experiments.response_ids import NOBODY, Apart, Assignment, ResponseIds, Unassigned, key_digest
from gateway.experiments.snapshot import LiveExperiment, SnapshotHolder
from gateway.experiments.store_history import StoreHistory
from gateway.instrumentation.hooks import Hooks
from gateway.instrumentation.records import FeedbackDiscarded, FeedbackReceived
from gateway.learning.acknowledging import Acknowledgement, NotCounted, WaitingPlace, discard_reason
from gateway.learning.given_feedback import PREFERENCE_SIGNAL, Feedback
from gateway.learning.named_answers import FindAnswer, NamedAnswers, nothing_noted
from gateway.learning.recording import SPOOLED_SECONDS, ReportRecorder
from gateway.learning.signals import check_signal, refuse_found
from gateway.learning.spool import Spool
from gateway.learning.spool_file import SpooledReport
from policy_store.report_records import Recorded
from policy_store.store import PolicyStore

_APART: Final[Mapping[Apart, NotCounted]] = {
    Apart.NOT_DRAWN: NotCounted.UNASSIGNED,
    Apart.PROVIDER_STATE: NotCounted.PROVIDER_STATE,
    Apart.EARLIER_SESSION: NotCounted.EARLIER_SESSION,
}


class OpenedReport(NamedTuple):
    """A report about an answer that is known.

    Attributes:
        feedback: The report, about the id that seals what the answer was given for.
        assigned: What the answer was given for.
        experiment: The answer's experiment.
    """

    feedback: Feedback
    assigned: Assignment | Unassigned
    experiment: LiveExperiment

    @property
    def unit(self) -> tuple[str, bytes] | None:
        """What several reports may be about, whose order then matters; None if it is not to be counted."""
        assigned = self.assigned
        return (assigned.experiment, assigned.unit) if isinstance(assigned, Assignment) else None


class _RefusalsTold:
    """Announces why a report is refused inside; one serves all reports, because it keeps nothing of them.

    Args:
        tell: Announces the reason.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, InvalidFeedbackError | UnavailableError):
            self._tell(discard_reason(error))


class FeedbackService:
    """Receives users' reports and has the store count them.

    Args:
        store: Counts comparisons.
        response_ids: Opens the ids of responses.
        snapshots: Hold this gateway's experiments.
        hooks: Hear what became of each report.
        history: Knows whether the store lost something; then nothing is counted.
        clock: Unix seconds.
        has_several_keys: Whether there is more than one client key.
        find_answer: Tells which answer of an API key, or of any, a request's or trace's id stands for.
        spool: Keeps reports while the store is away, for experiments that ask for that; None for none.
    """

    def __init__(
        self,
        store: PolicyStore,
        response_ids: ResponseIds,
        snapshots: SnapshotHolder,
        hooks: Hooks,
        history: StoreHistory,
        clock: Callable[[], float],
        has_several_keys: Callable[[], bool] = lambda: False,
        find_answer: FindAnswer = nothing_noted,
        spool: Spool | None = None,
    ) -> None:
        self._snapshots = snapshots
        self._hooks = hooks
        self._clock = clock
        self._spool = spool
        self._recorder = ReportRecorder(store, history, clock, has_several_keys)
        self._answers = NamedAnswers(response_ids, find_answer)
        self._refusals_told = _RefusalsTold(self.discarded)

    async def receive(
        self, feedback: Feedback, key: str | None = None, *, is_admin: bool = True
    ) -> Acknowledgement:
        """Count `feedback`, once: `opened`, then `count`, whose arguments and errors these are."""
        return await self.count(await self.opened(feedback, key, is_admin=is_admin))

    async def opened(
        self, feedback: Feedback, key: str | None = None, *, is_admin: bool = True
    ) -> OpenedReport:
        """A report with what its answer was given for.

        Args:
            feedback: The report.
            key: Name of the API key that reports; None if none is needed.
            is_admin: Whether the key may report on answers of other keys.

        Raises:
            InvalidFeedbackError: The application did something wrong.
            UnavailableError: The store has to be asked, and did not answer.
        """
        with self._refusals_told:
            return await self._opened(feedback, key, is_admin=is_admin)

    async def count(self, report: OpenedReport) -> Acknowledgement:
        """Count a report, once.

        Raises:
            InvalidFeedbackError: The application did something wrong; nothing was changed.
            UnavailableError: The store did not answer, so it is not known whether the report was counted.
                Send it again: a repetition is never counted twice.
            StoreHeldError: The store lost something and no operator has accepted that yet; nothing was
                counted.
        """
        feedback, assigned, experiment = report
        with self._refusals_told:
            if isinstance(assigned, Assignment) and feedback.is_to_count:
                if experiment.spools and self._spool is not None:
                    recorded = await self._kept_or_recorded(self._spool, feedback, assigned, experiment)
                else:
                    recorded = await self._recorder.record(feedback, assigned, experiment)
            else:
                _check_said(feedback, assigned, experiment)  # even if the answer takes no part
                recorded = NotCounted.NOTHING_SAID  # which does not tell whether the answer takes part
                if isinstance(assigned, Unassigned) and feedback.is_to_count:
                    recorded = _APART[assigned.why]
        self._tell(feedback, recorded, experiment)
        return Acknowledgement.of(recorded, experiment.name)

    async def recount(self, report: SpooledReport) -> None:
        """Have a report counted that was spooled; what becomes of it is only told.

        Raises:
            UnavailableError: The store does not count it yet.
        """
        if self._clock() - report.received_at > SPOOLED_SECONDS:
            self.discarded("spooled_too_long")
            return
        feedback = report.feedback
        try:
            feedback, assigned, experiment = await self._opened(feedback, None, is_admin=True)
            if isinstance(assigned, Assignment):
                recorded = await self._recorder.record(
                    feedback, assigned, experiment, received_at=report.received_at
                )
                self._tell(feedback, recorded, experiment)
        except InvalidFeedbackError as error:
            self.discarded(error.reason)

    async def _kept_or_recorded(
        self, spool: Spool, feedback: Feedback, assigned: Assignment, experiment: LiveExperiment
    ) -> Recorded | NotCounted | WaitingPlace:
        """What the store made of a report; or that it waits, if the store is away."""
        _check_said(feedback, assigned, experiment)
        if self._recorder.is_over(assigned):
            return NotCounted.EXPIRED
        report = SpooledReport.of(feedback, self._clock())
        if spool.is_waiting and await spool.keep(report):
            return WaitingPlace.SPOOLED
        try:
            return await self._recorder.record(feedback, assigned, experiment)
        except UnavailableError:
            if await spool.keep(report):
                return WaitingPlace.SPOOLED
            raise

    def _tell(
        self, feedback: Feedback, recorded: Recorded | NotCounted | WaitingPlace, experiment: LiveExperiment
    ) -> None:
        """Announce what became of a report."""
        if isinstance(recorded, NotCounted):
            self.discarded(recorded.value)
            return
        became = recorded.value if isinstance(recorded, WaitingPlace) else recorded.receipt.value
        self._hooks.tell(FeedbackReceived(experiment.name, feedback.signal or PREFERENCE_SIGNAL, became))

    async def linkable(
        self, feedback: Feedback, key: str | None, *, is_admin: bool
    ) -> tuple[Feedback, LiveExperiment]:
        """A report that may be made later, by its link alone: checked as far as it goes, and counted nowhere.

        Args:
            feedback: What will be reported; without a value where that is said later.
            key: Name of the API key that asks for the link.
            is_admin: Whether the key may report on answers of other keys.

        Returns:
            The report, about an id that needs no looking up, and the answer's experiment.

        Raises:
            InvalidFeedbackError: The application did something wrong.
            UnavailableError: The store did not answer.
        """
        with self._refusals_told:
            feedback, assigned, experiment = await self._opened(feedback, key, is_admin=is_admin)
            if feedback.signal is not None and feedback.value is None and experiment.way.rates_answers:
                check_signal(feedback.signal, experiment.signals)
            else:
                _check_said(feedback, assigned, experiment)
        return feedback, experiment

    def discarded(self, reason: str) -> None:
        """Announce a report that changed nothing, even one that was refused before it could be parsed."""
        self._hooks.tell(FeedbackDiscarded(reason))

    async def _opened(self, feedback: Feedback, key: str | None, *, is_admin: bool) -> OpenedReport:
        assigned = self._answers.open(feedback.response_id)
        if assigned is None:
            found, assigned = await self._answers.find(feedback.response_id, key)
            feedback = feedback._replace(response_id=found)
        experiment = self._experiment(assigned, key, is_admin=is_admin)
        refuse_found(feedback.signal, experiment.found)
        return OpenedReport(feedback, assigned, experiment)

    def _experiment(
        self, assigned: Assignment | Unassigned, key: str | None, *, is_admin: bool
    ) -> LiveExperiment:
        """The experiment of a response.

        Raises:
            InvalidFeedbackError: If the key may not report on it, or the experiment takes no reports.
        """
        experiment = self._snapshots.current.experiments.get(assigned.experiment)
        if experiment is None:
            raise InvalidFeedbackError(
                f"This response belongs to the experiment {assigned.experiment!r}, "
                "which this gateway no longer has.",
                reason="unknown_experiment",
                status=404,
                param="id",
            )
        may_report = is_admin or experiment.shares_ids or assigned.key in (NOBODY, key_digest(key))
        if not may_report:
            raise InvalidFeedbackError(
                "This API key got no response with this id.",
                reason="foreign_id",
                status=404,
                param="id",
            )
        if experiment.way.takes is Takes.NOTHING:
            raise InvalidFeedbackError(
                "This experiment takes no reports: it counts which answer a conversation goes on from.",
                reason="wrong_kind",
                status=422,
                param="id",
            )
        return experiment


def _check_said(feedback: Feedback, assigned: Assignment | Unassigned, experiment: LiveExperiment) -> None:
    """Refuse what cannot be said of such an answer. Raises InvalidFeedbackError."""
    if feedback.signal is None and feedback.preferred is None:
        return  # a comment
    if experiment.way.rates_answers:
        feedback.rating(experiment.signals, experiment.scales)
    elif isinstance(assigned, Assignment):
        feedback.preference()
