"""Has the store count users' reports about answers.

A report identifies an answer only by an id. The assignment sealed in the id says which experiment, pair and
side the answer belonged to, and the experiment's snapshot has the weights of its signals.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, assert_never

from gateway.config.feedback import Missing
from gateway.config.found_signals import FoundSignal
from gateway.errors import InvalidFeedbackError, StoreHeldError
from gateway.experiments.collecting import WAYS, Takes
from gateway.experiments.missing_answers import Lack
from gateway.experiments.response_ids import ANY_DEFINITION, NOBODY, Assignment
from gateway.experiments.segments import BY, JUDGE, USERS, segments_counted
from gateway.experiments.snapshot import LiveExperiment
from gateway.experiments.store_history import StoreHistory
from gateway.learning.acknowledging import SETTLED, NotCounted, not_counted
from gateway.learning.given_feedback import Feedback, preference_result
from gateway.learning.rating import rate
from policy_store.errors import (
    ContradictingOutcomeError,
    StoreError,
    StoreUnavailableError,
    UnknownExperimentError,
)
from policy_store.log_records import Result
from policy_store.report_records import Precedence, Recorded, Report
from policy_store.roles import Role
from policy_store.store import PolicyStore

# The store remembers a report this much longer than its id is valid.
_MEMORY_SLACK_SECONDS: Final = 3600
SPOOLED_SECONDS: Final = 7 * 24 * 3600
"""How long a spooled report may wait. The store remembers it this much longer, for another replay."""


class ReportRecorder:
    """Records reports, one by one.

    Args:
        store: Counts comparisons.
        history: Knows whether the store lost something; then nothing is counted.
        clock: Unix seconds.
        has_several_keys: Whether there is more than one client key.
    """

    def __init__(
        self,
        store: PolicyStore,
        history: StoreHistory,
        clock: Callable[[], float],
        has_several_keys: Callable[[], bool],
    ) -> None:
        self._store = store
        self._history = history
        self._clock = clock
        self._has_several_keys = has_several_keys
        self._definitions: dict[tuple[int, str, int], str] = {}

    async def record(
        self,
        feedback: Feedback,
        assignment: Assignment,
        experiment: LiveExperiment,
        *,
        received_at: float | None = None,
    ) -> Recorded | NotCounted:
        """Have a report on an assigned answer counted, once.

        Args:
            feedback: The report.
            assignment: What the answer was given for.
            experiment: Its experiment.
            received_at: When a spooled report came, in Unix seconds; None for one that comes now.

        Raises:
            InvalidFeedbackError: The application did something wrong; nothing was changed.
            UnavailableError: The store did not answer.
            StoreHeldError: The store lost something and no operator has accepted that yet; nothing was
                counted.
        """
        match takes := WAYS[assignment.collect].takes:
            case Takes.SIGNAL:
                record = self._outcome
            case Takes.PREFERENCE | Takes.NOTHING | Takes.VERDICT:
                record = self._preference
            case _:
                assert_never(takes)
        self._check_not_held()
        try:
            became = await record(feedback, assignment, experiment, received_at)
        except ContradictingOutcomeError as error:
            became = _contradicted(feedback, experiment, error)
        except StoreError as error:
            return not_counted(error, assignment.experiment)
        self._notice(became, assignment)
        if experiment.found is not None and isinstance(became, Recorded):
            await rate(self._store, experiment.found, feedback, assignment, experiment)
        return became

    async def record_verdict(
        self, assignment: Assignment, experiment: LiveExperiment, result: Result
    ) -> Recorded | NotCounted:
        """Have a judge's verdict counted, once: as evidence if the experiment says so, or else apart.

        Verdicts about one user's requests are alike, as one user's votes are, so the user's cap holds for
        them as well; where both are evidence, it holds for both together. What an API key may give is no
        limit, because it is not the key that judges.

        Args:
            assignment: What the verdict is about.
            experiment: Its experiment.
            result: The result, seen from the pair's first policy.

        Raises:
            InvalidFeedbackError: The experiment was started anew; nothing was changed.
            UnavailableError: The store did not answer; a repetition is counted once.
        """
        self._check_not_held()
        try:
            became = await self._verdict(assignment, experiment, result)
        except StoreError as error:
            return not_counted(error, assignment.experiment)
        self._notice(became, assignment)
        return became

    def _check_not_held(self) -> None:
        """Count nothing while it is not known what the store lost. Raises StoreHeldError."""
        if self._history.held is not None:
            raise StoreHeldError(
                "Feedback is not counted at present, because the store lost something. Send it again later."
            )

    def _notice(self, became: Recorded | NotCounted, assignment: Assignment) -> None:
        """Remember the number of a comparison of the evidence."""
        if isinstance(became, Recorded) and became.comparison is not None:
            self._history.saw_comparisons(assignment.experiment, assignment.generation, became.comparison)

    async def _verdict(
        self, assignment: Assignment, experiment: LiveExperiment, result: Result
    ) -> Recorded | NotCounted:
        if self.is_over(assignment, None):
            return NotCounted.EXPIRED
        way = WAYS[assignment.collect]
        informs = None if experiment.counts_verdicts else Role.JUDGE
        report = self._report(
            assignment,
            experiment,
            way.source(None) if way.takes is Takes.VERDICT else Role.JUDGE,
            fingerprint=f"verdict={result}",
            definition=await self._definition(assignment, experiment),
            standing=Precedence.FIRST,
        )
        voter = report.voter if report.voter_cap else ""
        said = report._replace(voter=voter, key="", key_share=1.0, due_at=None, drawn="", informs=informs)
        said = said._replace(  # the judge sees both, in both orders
            position=None, served=assignment.builds, segments=_segments(assignment, experiment, JUDGE)
        )
        recorded = await self._store.record_preference(said, result)
        return recorded if informs is None else recorded._replace(comparison=None)

    async def _preference(
        self,
        feedback: Feedback,
        assignment: Assignment,
        experiment: LiveExperiment,
        received_at: float | None,
    ) -> Recorded | NotCounted:
        preferred = feedback.preference()
        if self.is_over(assignment, received_at):
            return NotCounted.EXPIRED
        return await self._store.record_preference(
            self._report(
                assignment,
                experiment,
                WAYS[assignment.collect].source(None),
                fingerprint=feedback.fingerprint(preferred, experiment.unit),
                definition=await self._definition(assignment, experiment),
                standing=feedback.standing(may_correct=experiment.may_correct),
                idempotency=feedback.called,
                received_at=received_at,
            ),
            preference_result(preferred, assignment.side),
        )

    async def _outcome(
        self,
        feedback: Feedback,
        assignment: Assignment,
        experiment: LiveExperiment,
        received_at: float | None,
    ) -> Recorded | NotCounted:
        value = feedback.rating(experiment.signals, experiment.scales)
        if self.is_over(assignment, received_at):
            return NotCounted.EXPIRED
        report = self._report(
            assignment,
            experiment,
            WAYS[assignment.collect].source(feedback.signal),
            fingerprint=feedback.fingerprint(value, experiment.unit),
            definition=await self._definition(assignment, experiment),
            standing=feedback.standing(may_correct=experiment.may_correct),
            idempotency=feedback.called,
            received_at=received_at,
        )
        report = _in_its_role(report, feedback.signal or "", assignment, experiment)
        return await self._store.record_outcome(
            report,
            side=1 if assignment.side else 0,
            value=value,
            tie_margin=experiment.tie_margin,
            wait_seconds=experiment.window_seconds,
        )

    async def note_missing(
        self, assignment: Assignment, experiment: LiveExperiment, what: Missing | FoundSignal | Lack
    ) -> None:
        """Have what is missing count, once the answer is old enough and if nothing is reported.

        Args:
            assignment: What the answer was given for, or the two answers.
            experiment: Its experiment, which says what that which is missing of one answer comes to.
            what: What is missing, of one answer or of two; or that the answer was abandoned.

        Raises:
            StoreUnavailableError: The store did not answer; a repetition changes nothing.
            StoreError: It does not count; nothing was changed.
        """
        if self._history.held is not None:
            raise StoreUnavailableError("Nothing counts until an operator accepted what the store lost.")
        if isinstance(what, FoundSignal):
            source, fingerprint, signal = what.value, f"{what}={experiment.signals[what]}", what.value
        else:
            lack = what.what if isinstance(what, Lack) else what
            source, fingerprint, signal = f"missing.{lack}", f"missing={lack}", ""
        report = self._report(
            assignment,
            experiment,
            WAYS[assignment.collect].source(source),
            fingerprint=fingerprint,
            definition=await self._definition(assignment, experiment),
            standing=Precedence.MISSING,
        )
        if isinstance(what, Lack):
            await self._store.record_preference(report, what.result)
            return
        await self._store.record_outcome(
            _in_its_role(report, signal, assignment, experiment),
            side=1 if assignment.side else 0,
            value=experiment.signals[what] if isinstance(what, FoundSignal) else experiment.missing[what],
            tie_margin=experiment.tie_margin,
            wait_seconds=experiment.window_seconds,
        )

    async def withdraw(self, assignment: Assignment, experiment: LiveExperiment) -> None:
        """Take back that an answer would be abandoned, because it is not; what was reported of it stands.

        Raises:
            StoreError: The store did not answer.
        """
        signal = FoundSignal.ABANDONED
        if experiment.found is not None and experiment.found.leaves_none_out:
            said = f"{signal}={experiment.signals[signal]}"
            informs = experiment.informing.get(signal)
            await self._store.withdraw_missing(
                experiment.name, assignment.generation, assignment.unit.hex(), said, informs
            )

    def is_over(self, assignment: Assignment, received_at: float | None = None) -> bool:
        """Whether a report that comes now, or came then, is too late."""
        return assignment.expires_at < (self._clock() if received_at is None else received_at)

    async def _definition(self, assignment: Assignment, experiment: LiveExperiment) -> str:
        """The full fingerprint of the definition that the id names; empty if the id names none.

        Raises:
            UnknownExperimentError: If the generation has another definition.
            StoreUnavailableError: If the store has to be asked and does not answer.
        """
        if assignment.definition == ANY_DEFINITION:
            return ""
        generation = assignment.generation
        if experiment.matches_store and generation == experiment.generation:
            known = experiment.definition
        else:
            place = (self._history.epoch, experiment.name, generation)
            if place not in self._definitions:
                found = await self._store.experiment(experiment.name, generation)
                self._definitions[place] = found.fingerprint()
            known = self._definitions[place]
        if not known.startswith(assignment.definition.hex()):
            raise UnknownExperimentError(f"Generation {generation} has another definition.")
        return known

    def _report(
        self,
        assignment: Assignment,
        experiment: LiveExperiment,
        source: str,
        *,
        fingerprint: str,
        definition: str,
        standing: Precedence,
        idempotency: str = "",
        received_at: float | None = None,
    ) -> Report:
        """The report for the store to count.

        The voter is the user that the request named. Without a name it is the API key if there are several
        keys; otherwise the voter is not known.
        """
        is_keyed = assignment.key != NOBODY and self._has_several_keys()
        is_named = assignment.voter != NOBODY
        voter = assignment.voter if is_named else assignment.key
        came_at = self._clock() if received_at is None else received_at
        # At least as long as the id is valid in all: this gateway's clock may be wrong now.
        whole_seconds = assignment.expires_at - assignment.assigned_at if assignment.assigned_at else 0
        valid_seconds = max(whole_seconds, math.ceil(assignment.expires_at - came_at))
        more_seconds = 0 if received_at is None else SPOOLED_SECONDS
        side, builds = assignment.side, assignment.builds
        return Report(  # by position, because naming so many fields takes three times as long
            assignment.experiment,
            assignment.generation,
            assignment.unit.hex(),
            assignment.first,
            assignment.second,
            source,
            fingerprint,
            valid_seconds + _MEMORY_SLACK_SECONDS + more_seconds,
            voter.hex() if is_named or is_keyed else "",
            assignment.key.hex() if is_keyed else "",
            experiment.voter_cap if is_named else 0,
            experiment.key_share,
            experiment.counts_at(assignment.assigned_at, assignment.expires_at),
            definition,
            standing,
            idempotency,
            assignment.drawn if experiment.needs_both(standing) else "",
            None,  # evidence, unless its role is another one
            assignment.assigned_at,
            assignment.position,
            builds[side : side + 1] if experiment.way.rates_answers else builds,
            (is_named and experiment.voter_cap_per_experiment) or 0,
            _segments(assignment, experiment, USERS),
        )


def _segments(assignment: Assignment, experiment: LiveExperiment, by: str) -> tuple[tuple[str, str], ...]:
    """The segments of a report, and by whom it is where users and a judge are evidence beside each other."""
    found = segments_counted(assignment.segments, experiment.segments) if assignment.segments else ()
    return (*found, (BY, by)) if experiment.counts_beside_users else found


def _contradicted(
    feedback: Feedback, experiment: LiveExperiment, error: ContradictingOutcomeError
) -> Recorded | NotCounted:
    """What becomes of a report that says something else than an earlier one. Raises InvalidFeedbackError."""
    if not feedback.repeats(error.reported, experiment.unit):
        return SETTLED
    if experiment.may_correct:
        return NotCounted.ALREADY_COMPARED
    raise InvalidFeedbackError(
        "Different feedback was already given for this response; the first one stands.",
        reason="contradicting",
        status=422,
        param="id",
    ) from error


def _in_its_role(report: Report, signal: str, assignment: Assignment, experiment: LiveExperiment) -> Report:
    """A report as it counts: as evidence, or later if its signal only informs."""
    role = experiment.informing.get(signal)
    if role is None:
        return report
    due_at = experiment.informs_at(assignment.assigned_at, assignment.expires_at)
    return report._replace(informs=role, due_at=due_at)
