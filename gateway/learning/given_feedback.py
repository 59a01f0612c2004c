"""A report about an answer, before anything is known about the answer."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Final, Literal, NamedTuple

from gateway.errors import InvalidFeedbackError
from gateway.experiments.snapshot import Unit
from gateway.learning.signals import signal_value
from policy_store.log_records import Result
from policy_store.report_records import Precedence

_TAIL: Final = 64  # characters at the end of a sealed id, which are its own whatever comes before
Preferred = Literal[0, 1, "tie", "both_bad"]
PREFERENCE_SIGNAL: Final = "preferred"  # how a side-by-side answer is labelled in metrics


class Feedback(NamedTuple):
    """One report: either `signal` (with its value) or `preferred`, never both, which the parser checks.

    Attributes:
        response_id: The answer it is about, by any id that names it.
        signal: What it rates the answer by.
        value: What the signal says.
        preferred: Which choice of two was better.
        idempotency_key: What its sender calls it, the same when it is sent again.
        already_called: Digest of an idempotency key, where only that is known.
        is_to_count: Whether it says anything; a comment alone, a trial run and a weight of 0 do not.
    """

    response_id: str
    signal: str | None = None
    value: bool | float | None = None
    preferred: Preferred | None = None
    idempotency_key: str | None = None
    is_to_count: bool = True
    already_called: str = ""

    @property
    def called(self) -> str:
        """Digest of what its sender calls it; empty if it calls it nothing."""
        if not self.idempotency_key:
            return self.already_called
        return blake2b(self.idempotency_key.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()

    def subject(self, unit: Unit) -> str:
        """Which response of a session the report is about; empty if the unit is a request."""
        if unit == "request":
            return ""
        return f"@{blake2b(self.response_id.encode(), digest_size=8).hexdigest()}"

    def standing(self, *, may_correct: bool) -> Precedence:
        """How it stands to an earlier report of its unit, which a later one may correct or not."""
        return Precedence.REPLACE if may_correct else Precedence.FIRST

    def fingerprint(self, value: Preferred | float, unit: Unit) -> str:
        """A text for what was said about which response."""
        return f"{self.signal or PREFERENCE_SIGNAL}={value}{self.subject(unit)}"

    def repeats(self, reported: str, unit: Unit) -> bool:
        """Whether a stored fingerprint is of the same signal on the same response."""
        said, at, response = reported.partition("@")
        signal = self.signal or PREFERENCE_SIGNAL
        return said.startswith(f"{signal}=") and at + response == self.subject(unit)

    def rating(self, weights: Mapping[str, float], scales: Mapping[str, tuple[float, float]]) -> float:
        """The outcome that the report gives to one answer.

        Args:
            weights: The experiment's declared signals.
            scales: The lowest and the highest grade of those with a scale.

        Raises:
            InvalidFeedbackError: The report names one of two choices, or its signal or value does not fit.
        """
        if self.signal is None:
            raise InvalidFeedbackError(
                "This response showed only one answer, so no choice can be preferred: "
                'send a "signal" and its "value".',
                reason="wrong_kind",
                status=422,
                param="signal",
            )
        return signal_value(self.signal, self.value, weights, scales)

    def preference(self) -> Preferred:
        """The one of two choices that the report names.

        Raises:
            InvalidFeedbackError: The report rates one answer.
        """
        if self.preferred is None:
            raise InvalidFeedbackError(
                "This response showed two choices: say which was better with "
                '"preferred": 0, 1, "tie" or "both_bad".',
                reason="wrong_kind",
                status=422,
                param="preferred",
            )
        return self.preferred


def answer_digest(response_id: str) -> str:
    """What stands for an answer where it is rated: the same for the answer's id and for its request's."""
    return blake2b(response_id[-_TAIL:].encode(), digest_size=8).hexdigest()


def preference_result(preferred: Preferred, side: int) -> Result:
    """The result of a comparison, seen from the pair's first policy.

    Args:
        preferred: The choice the user named; both bad counts as a tie.
        side: Which of (first, second) was shown as choice 0.
    """
    if preferred in {"tie", "both_bad"}:
        return Result.TIE
    return Result.WIN if preferred == side else Result.LOSS
