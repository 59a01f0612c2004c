"""The answer to a report, and the reasons that metrics count."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple, Self

from gateway.errors import InvalidFeedbackError, StoreHeldError, StoreUnconfirmedError, UnavailableError
from policy_store.errors import (
    AfterHoldError,
    ExperimentFinishedError,
    OverCapError,
    StoreError,
    StoreRefusedError,
    StoreUnavailableError,
    UnconfirmedError,
    UnknownExperimentError,
)
from policy_store.report_records import Receipt, Recorded


class NotCounted(StrEnum):
    """Why a correct report changes nothing, for reasons that the application cannot know."""

    UNASSIGNED = "unassigned_id"  # the answer belonged to no comparison
    # the conversation carried something that only one policy's provider can read
    PROVIDER_STATE = "provider_state"
    EARLIER_SESSION = "earlier_session"  # the session began before a decision or a change of the experiment
    EXPIRED = "expired_id"  # the experiment's `feedback.window` is over
    FINISHED = "finished"  # the experiment is decided
    VOTER_CAP = "voter_cap"  # the user gave as many votes on the pair as `feedback.voter_cap` allows
    # and this: in the whole experiment as `feedback.voter_cap_per_experiment` allows
    VOTER_CAP_PER_EXPERIMENT = "voter_cap_per_experiment"
    AFTER_HOLD = "after_hold"  # the answer is older than the experiment's `feedback.hold`
    ALREADY_COMPARED = "already_compared"  # it corrects a report that was compared already
    NOTHING_SAID = "nothing_said"  # a comment alone, a trial run or a weight of 0
    KEY_SHARE = "key_share"  # the API key gave as much of the pair's votes as `feedback.key_share` allows


class WaitingPlace(StrEnum):
    """Where a report waits that the store cannot count yet."""

    SPOOLED = "spooled"  # on this gateway's disk


# Every `reason` of llmpo_feedback_discarded_total.
DISCARD_REASONS: Final = frozenset(
    {
        *(reason.value for reason in NotCounted),
        "ambiguous_id",
        "body_too_large",
        "contradicting",
        "expired_link",
        "foreign_id",
        "forged_id",
        "forged_link",
        "found_signal",
        "invalid_body",
        "invalid_value",
        "malformed_id",
        "store_held",
        "spooled_too_long",
        "store_unavailable",
        "store_unconfirmed",
        "unknown_experiment",
        "unknown_signal",
        "unsupported_media_type",
        "wrong_kind",
    }
)


def discard_reason(error: InvalidFeedbackError | UnavailableError) -> str:
    """Which of these reasons an error of a report is."""
    if isinstance(error, InvalidFeedbackError):
        return error.reason
    kinds = {StoreHeldError: "store_held", StoreUnconfirmedError: "store_unconfirmed"}
    return kinds.get(type(error), "store_unavailable")


def not_counted(error: StoreError, experiment: str) -> NotCounted:
    """Why a report about an experiment is not counted, if that is no fault; or raises the caller's error."""
    match error:
        case ExperimentFinishedError():
            return NotCounted.FINISHED
        case OverCapError():
            return NotCounted(error.cap)
        case AfterHoldError():
            return NotCounted.AFTER_HOLD
        case UnknownExperimentError():
            raise InvalidFeedbackError(
                f"The experiment {experiment!r} was started anew since this response was given.",
                reason="unknown_experiment",
                status=404,
                param="id",
            ) from error
        case UnconfirmedError():
            raise StoreUnconfirmedError(
                "The feedback is stored, but too few replicas of the store have confirmed that, so a "
                "failover could lose it. Send it again later; it is counted once."
            ) from error
        case StoreUnavailableError():
            known = "was not" if isinstance(error, StoreRefusedError) else "may not have been"
            raise UnavailableError(
                f"The feedback {known} stored. Send it again later; it is counted once."
            ) from error
        case _:
            raise error


# A thumb after a copy says more about the same answer, and a thumb down later in a session is about another
# answer. Neither contradicts what was counted, and neither is the caller's fault.
SETTLED: Final = Recorded(Receipt.DUPLICATE)
_SETTLED_DETAIL: Final = (
    "An earlier report already settled this outcome; one is counted for each request or session."
)
_SPOOLED_DETAIL: Final = "Kept safe; it is counted, once, when the store is back, if it counts."
_DETAILS: Final[Mapping[Receipt, str]] = {
    Receipt.COUNTED: "A comparison was counted.",
    Receipt.HELD: "Kept until the answer is old enough: the experiment's feedback.hold, or longer if the "
    "signal only informs forecasts.",
    Receipt.PENDING: "Kept until the other policy of the pair has an outcome to compare with.",
    Receipt.REPLACED: "Took the place of the earlier report on this answer.",
    Receipt.DUPLICATE: "Already received; nothing was counted again.",
}
_NOT_COUNTED_DETAILS: Final[Mapping[NotCounted, str]] = {
    NotCounted.UNASSIGNED: "This response was not part of a comparison.",
    NotCounted.PROVIDER_STATE: "The conversation had to stay with the policy that began it.",
    NotCounted.EARLIER_SESSION: "The session began before the experiment was decided or changed.",
    NotCounted.EXPIRED: "Feedback on this response came too late: feedback.window is over.",
    NotCounted.FINISHED: "The experiment has finished; it no longer counts feedback.",
    NotCounted.AFTER_HOLD: "The answer is older than the experiment's feedback.hold.",
    NotCounted.VOTER_CAP: "This user has given all the votes allowed on the two policies compared.",
    NotCounted.VOTER_CAP_PER_EXPERIMENT: "This user has given all the votes allowed in the experiment.",
    NotCounted.ALREADY_COMPARED: "The earlier report was compared with another outcome already; it stands.",
    NotCounted.NOTHING_SAID: "Comments, trial runs and weights of 0 are accepted; nothing is kept of them.",
    NotCounted.KEY_SHARE: "This API key has given all the votes allowed on the two policies compared.",
}


class Acknowledgement(NamedTuple):
    """The answer to a report."""

    became: Receipt | NotCounted | WaitingPlace
    experiment: str
    detail: str

    @classmethod
    def of(cls, recorded: Recorded | NotCounted | WaitingPlace, experiment: str) -> Self:
        """The answer to a report about this experiment."""
        if isinstance(recorded, WaitingPlace):
            return cls(recorded, experiment, _SPOOLED_DETAIL)
        if isinstance(recorded, NotCounted):
            return cls(recorded, experiment, _NOT_COUNTED_DETAILS[recorded])
        detail = _SETTLED_DETAIL if recorded is SETTLED else _DETAILS[recorded.receipt]
        return cls(recorded.receipt, experiment, detail)
