"""What a user said or did about an answer becomes one outcome or comparison, counted exactly once.

The response id carries which experiment, pair and side the answer belonged to (response_ids.py); the
experiment's snapshot says what its signals are worth; one script in the store does the counting. A mistake of
the application is refused. What it could not know gets an ordinary answer, and `NotCounted` says why
(docs/decisions/0060-feedback-that-does-not-count.md). Neither changes anything; both are counted under a
reason from `DISCARD_REASONS`.

    Takes.PREFERENCE   the user names the better of two choices, a tie, or both bad  -> a comparison at once
    Takes.SIGNAL       a signal gives one answer's outcome, a number  -> a comparison as soon as the pair's
                       other policy has an outcome that no other comparison took

With `feedback.hold` the store keeps both until the answer is that old; planning.py has them counted then.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from typing import Final, Literal, assert_never

from gateway.errors import InvalidFeedbackError, StoreHeldError, UnavailableError
from gateway.experiments.collecting import WAYS, Takes
from gateway.experiments.response_ids import (
    ANY_DEFINITION,
    NOBODY,
    Apart,
    Assignment,
    ResponseIds,
    Unassigned,
    key_digest,
)
from gateway.experiments.snapshot import LiveExperiment, SnapshotHolder, Unit
from gateway.experiments.store_history import StoreHistory
from gateway.instrumentation.hooks import Hooks
from gateway.instrumentation.records import FeedbackDiscarded, FeedbackReceived
from gateway.learning.named_answers import FindAnswer, NamedAnswers, nothing_noted
from gateway.learning.signals import signal_value
from policy_store.errors import (
    AfterHoldError,
    ContradictingOutcomeError,
    ExperimentFinishedError,
    OverCapError,
    StoreRefusedError,
    StoreUnavailableError,
    UnknownExperimentError,
)
from policy_store.models import Receipt, Recorded, Report, Result
from policy_store.store import PolicyStore


class NotCounted(StrEnum):
    """Why a correct report changes nothing, for reasons the application that sends it cannot know."""

    UNASSIGNED = "unassigned_id"  # the answer belonged to no comparison
    PROVIDER_STATE = "provider_state"  # the conversation carried what only one policy's provider can read
    EARLIER_SESSION = "earlier_session"  # the session began before a decision or a change of the experiment
    EXPIRED = "expired_id"  # the experiment's `feedback.window` is over
    FINISHED = "finished"  # the experiment is decided
    VOTER_CAP = "voter_cap"  # the user gave as many votes on the pair as `feedback.voter_cap` allows
    AFTER_HOLD = "after_hold"  # the answer is older than the experiment's `feedback.hold`
    KEY_SHARE = "key_share"  # the API key gave as much of the pair's votes as `feedback.key_share` allows


_APART: Final[Mapping[Apart, NotCounted]] = {
    Apart.NOT_DRAWN: NotCounted.UNASSIGNED,
    Apart.PROVIDER_STATE: NotCounted.PROVIDER_STATE,
    Apart.EARLIER_SESSION: NotCounted.EARLIER_SESSION,
}

# Every `reason` of llmpo_feedback_discarded_total.
DISCARD_REASONS: Final = frozenset(
    {
        *(reason.value for reason in NotCounted),
        "ambiguous_id",
        "body_too_large",
        "contradicting",
        "foreign_id",
        "forged_id",
        "invalid_body",
        "invalid_value",
        "malformed_id",
        "store_held",
        "store_unavailable",
        "unknown_experiment",
        "unknown_signal",
        "unsupported_media_type",
        "wrong_kind",
    }
)
Preferred = Literal[0, 1, "tie", "both_bad"]
PREFERENCE_SIGNAL: Final = "preferred"  # how a side-by-side answer is labelled in metrics

# The store remembers what was said about an id for so much longer than the id is valid.
_MEMORY_SLACK_SECONDS: Final = 3600


@dataclass(frozen=True, slots=True)
class Feedback:
    """One report: either `signal` (with its value) or `preferred`, never both, which the parser checks."""

    response_id: str
    signal: str | None = None
    value: bool | float | None = None
    preferred: Preferred | None = None

    def subject(self, unit: Unit) -> str:
        """In a session, where many responses are one unit: which response this is about. Else empty."""
        if unit == "request":
            return ""
        return f"@{blake2b(self.response_id.encode(), digest_size=8).hexdigest()}"

    def fingerprint(self, value: Preferred | float, unit: Unit) -> str:
        """What was said, and about which response."""
        return f"{self.signal or PREFERENCE_SIGNAL}={value}{self.subject(unit)}"

    def repeats(self, reported: str, unit: Unit) -> bool:
        """Whether a fingerprint stored before is of the same signal on the same response."""
        said, at, response = reported.partition("@")
        signal = self.signal or PREFERENCE_SIGNAL
        return said.startswith(f"{signal}=") and at + response == self.subject(unit)


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What became of a report, as the caller is told."""

    became: Receipt | NotCounted
    experiment: str
    detail: str


class FeedbackService:
    """Receives what users report, and has the store count it.

    Args:
        store: Where comparisons are counted.
        response_ids: Opens the ids of responses.
        snapshots: Holds the experiments this gateway has.
        hooks: Are told what became of each report.
        history: Knows when the store is not what it was: then nothing is counted.
        clock: Unix seconds.
        has_several_keys: Whether there are client keys to tell apart.
        find_answer: Tells which answer of an API key, or of any, a request's id stands for.
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
    ) -> None:
        self._store = store
        self._snapshots = snapshots
        self._hooks = hooks
        self._history = history
        self._clock = clock
        self._has_several_keys = has_several_keys
        self._definitions: dict[tuple[int, str, int], str] = {}
        self._answers = NamedAnswers(response_ids, find_answer)

    async def receive(
        self, feedback: Feedback, key: str | None = None, *, is_admin: bool = True
    ) -> Acknowledgement:
        """Count `feedback`, once.

        Args:
            feedback: What is reported.
            key: Name of the API key that reports it; None where none is needed.
            is_admin: Whether it may report on answers of other keys.

        Raises:
            InvalidFeedbackError: The application did something wrong; nothing was changed.
            UnavailableError: The store did not answer; it is not known to be counted, so send it again:
                a repetition is never counted twice.
            StoreHeldError: The store lost something and no operator accepted that yet; nothing was counted.
        """
        try:
            assigned = await self._answers.open(feedback.response_id, key)
            experiment = self._experiment(assigned, key, is_admin=is_admin)
            if isinstance(assigned, Assignment):
                recorded = await self._record_unless_held(feedback, assigned, experiment)
            else:
                recorded = _APART[assigned.why]
                if experiment.way.rates_answers:
                    _rating(feedback, experiment)  # reports a mistake at the first answer already
        except InvalidFeedbackError as error:
            self.discarded(error.reason)
            raise
        except UnavailableError as error:
            self.discarded("store_held" if isinstance(error, StoreHeldError) else "store_unavailable")
            raise
        if isinstance(recorded, NotCounted):
            self.discarded(recorded.value)
            return Acknowledgement(recorded, experiment.name, _NOT_COUNTED_DETAILS[recorded])
        signal = feedback.signal or PREFERENCE_SIGNAL
        self._hooks.tell(FeedbackReceived(experiment.name, signal, recorded.receipt.value))
        detail = _SETTLED_DETAIL if recorded is _SETTLED else _DETAILS[recorded.receipt]
        return Acknowledgement(recorded.receipt, experiment.name, detail)

    def discarded(self, reason: str) -> None:
        """Announce a report that changed nothing, even one refused before it could be read."""
        self._hooks.tell(FeedbackDiscarded(reason))

    def _experiment(
        self, assigned: Assignment | Unassigned, key: str | None, *, is_admin: bool
    ) -> LiveExperiment:
        """The experiment of a response. Raises InvalidFeedbackError where the key may not report on it."""
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
                "No response of that id was given to this API key.",
                reason="foreign_id",
                status=404,
                param="id",
            )
        return experiment

    async def _record_unless_held(
        self, feedback: Feedback, assignment: Assignment, experiment: LiveExperiment
    ) -> Recorded | NotCounted:
        if self._history.held is not None:
            raise StoreHeldError(
                "Feedback is not counted for now: the store lost something. Send it again later."
            )
        recorded = await self._record(feedback, assignment, experiment)
        if isinstance(recorded, Recorded) and recorded.comparison is not None:
            number = recorded.comparison.number
            self._history.saw_comparisons(experiment.name, assignment.generation, number)
        return recorded

    async def _record(
        self, feedback: Feedback, assignment: Assignment, experiment: LiveExperiment
    ) -> Recorded | NotCounted:
        match takes := WAYS[assignment.collect].takes:
            case Takes.SIGNAL:
                record = self._outcome
            case Takes.PREFERENCE:
                record = self._preference
            case _:
                assert_never(takes)
        try:
            return await record(feedback, assignment, experiment)
        except ContradictingOutcomeError as error:
            if not feedback.repeats(error.reported, experiment.unit):
                return _SETTLED
            raise InvalidFeedbackError(
                "Different feedback was already given for this response; the first one stands.",
                reason="contradicting",
                status=422,
                param="id",
            ) from error
        except ExperimentFinishedError:
            return NotCounted.FINISHED
        except OverCapError as error:
            return NotCounted(error.cap)
        except AfterHoldError:
            return NotCounted.AFTER_HOLD
        except UnknownExperimentError as error:
            raise InvalidFeedbackError(
                f"The experiment {experiment.name!r} was started anew since this response was given.",
                reason="unknown_experiment",
                status=404,
                param="id",
            ) from error
        except StoreUnavailableError as error:
            known = "was not" if isinstance(error, StoreRefusedError) else "may not have been"
            raise UnavailableError(
                f"The feedback {known} stored. Send it again later; it is counted once."
            ) from error

    async def _preference(
        self, feedback: Feedback, assignment: Assignment, experiment: LiveExperiment
    ) -> Recorded | NotCounted:
        if feedback.preferred is None:
            raise InvalidFeedbackError(
                "This response showed two choices: say which was better with "
                '"preferred": 0, 1, "tie" or "both_bad".',
                reason="wrong_kind",
                status=422,
                param="preferred",
            )
        if self._is_over(assignment):
            return NotCounted.EXPIRED
        return await self._store.record_preference(
            self._report(
                assignment,
                experiment,
                WAYS[assignment.collect].source(None),
                fingerprint=feedback.fingerprint(feedback.preferred, experiment.unit),
                definition=await self._definition(assignment, experiment),
            ),
            preference_result(feedback.preferred, assignment.side),
        )

    async def _outcome(
        self, feedback: Feedback, assignment: Assignment, experiment: LiveExperiment
    ) -> Recorded | NotCounted:
        value = _rating(feedback, experiment)
        if self._is_over(assignment):
            return NotCounted.EXPIRED
        return await self._store.record_outcome(
            self._report(
                assignment,
                experiment,
                WAYS[assignment.collect].source(feedback.signal),
                fingerprint=feedback.fingerprint(value, experiment.unit),
                definition=await self._definition(assignment, experiment),
            ),
            side=1 if assignment.side else 0,
            value=value,
            tie_margin=experiment.tie_margin,
            wait_seconds=experiment.window_seconds,
        )

    def _is_over(self, assignment: Assignment) -> bool:
        return assignment.expires_at < self._clock()

    async def _definition(self, assignment: Assignment, experiment: LiveExperiment) -> str:
        """The whole fingerprint of what the id says the experiment was; empty where it does not say.

        Raises:
            UnknownExperimentError: If the generation is of another definition.
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
            raise UnknownExperimentError(f"Generation {generation} is of another definition.")
        return known

    def _report(
        self,
        assignment: Assignment,
        experiment: LiveExperiment,
        source: str,
        *,
        fingerprint: str,
        definition: str,
    ) -> Report:
        """What the store is to count.

        The voter is the user named; without a name it is the API key, where there are several keys; otherwise
        the voter is not known.
        """
        is_keyed = assignment.key != NOBODY and self._has_several_keys()
        is_named = assignment.voter != NOBODY
        voter = assignment.voter if is_named else assignment.key
        valid_seconds = max(0, math.ceil(assignment.expires_at - self._clock()))
        return Report(
            experiment=assignment.experiment,
            generation=assignment.generation,
            unit=assignment.unit.hex(),
            first=assignment.first,
            second=assignment.second,
            source=source,
            fingerprint=fingerprint,
            keep_seconds=valid_seconds + _MEMORY_SLACK_SECONDS,
            voter=voter.hex() if is_named or is_keyed else "",
            key=assignment.key.hex() if is_keyed else "",
            voter_cap=experiment.voter_cap if is_named else 0,
            key_share=experiment.key_share,
            due_at=_due_at(assignment, experiment),
            definition=definition,
        )


_DETAILS: Final = {
    Receipt.COUNTED: "A comparison was counted.",
    Receipt.HELD: "Counted once the answer is as old as the experiment's feedback.hold.",
    Receipt.PENDING: "Kept until the other policy of the pair has an outcome to compare with.",
    Receipt.DUPLICATE: "Already received; nothing was counted again.",
}
_NOT_COUNTED_DETAILS: Final = {
    NotCounted.UNASSIGNED: "This response was not part of a comparison.",
    NotCounted.PROVIDER_STATE: "The conversation had to stay with the policy that began it.",
    NotCounted.EARLIER_SESSION: "The session began before the experiment was decided or changed.",
    NotCounted.EXPIRED: "The time in which feedback on this response is accepted is over.",
    NotCounted.FINISHED: "The experiment has finished; it no longer counts feedback.",
    NotCounted.AFTER_HOLD: "The answer is older than the experiment's feedback.hold.",
    NotCounted.VOTER_CAP: "This user's votes on the two policies compared have been counted already.",
    NotCounted.KEY_SHARE: "This API key has given its share of the votes on the two policies compared.",
}
# A thumb after a copy says more about the same answer, and a thumb down later in a session is about another
# one: neither contradicts what was counted, and neither is a fault of the caller's.
_SETTLED: Final = Recorded(Receipt.DUPLICATE, None)
_SETTLED_DETAIL: Final = (
    "An earlier report already settled this outcome; one is counted for each request or session."
)


def _due_at(assignment: Assignment, experiment: LiveExperiment) -> float | None:
    """When a report counts; None for at once."""
    if experiment.hold_seconds is None:
        return None
    answered_at = assignment.expires_at - experiment.window_seconds
    return (assignment.assigned_at or answered_at) + experiment.hold_seconds


def _rating(feedback: Feedback, experiment: LiveExperiment) -> float:
    """The outcome a report gives one answer. Raises InvalidFeedbackError."""
    if feedback.signal is None:
        raise InvalidFeedbackError(
            "This response showed one answer, so there is nothing to prefer it to: "
            'send a "signal" and its "value".',
            reason="wrong_kind",
            status=422,
            param="signal",
        )
    return signal_value(feedback.signal, feedback.value, experiment.signals)


def preference_result(preferred: Preferred, side: int) -> Result:
    """How a comparison ended, seen from the pair's first policy.

    Args:
        preferred: The choice the user named; both bad counts as a tie.
        side: Which of (first, second) was shown as choice 0.
    """
    if preferred in {"tie", "both_bad"}:
        return Result.TIE
    return Result.WIN if preferred == side else Result.LOSS
