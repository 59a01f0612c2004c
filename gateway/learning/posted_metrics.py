"""Takes the numbers that an application posts about answers, for guardrails.

The application names an answer by its id and does not learn which policy gave it. Only answers of a
comparison are measured, because chance alone decided which policy gave them. The store remembers each number
as long as feedback on the answer is accepted, so a repetition changes nothing; the pair that a number
makes is counted with those of all answers (`gauging.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from gateway.errors import InvalidFeedbackError, StoreHeldError, UnavailableError
from gateway.experiments.collecting import Assigns
from gateway.experiments.guardrails import Guardrail, Measure
from gateway.experiments.response_ids import (
    NOBODY,
    Assignment,
    ResponseIds,
    Unassigned,
    key_digest,
)
from gateway.experiments.snapshot import LiveExperiment, SnapshotHolder
from gateway.experiments.store_history import StoreHistory
from gateway.learning.acknowledging import NotCounted
from gateway.learning.gauging import Gauges
from gateway.learning.named_answers import FindAnswer, NamedAnswers
from policy_store.errors import ContradictingOutcomeError, StoreError
from policy_store.store import PolicyStore

_DIGEST_BYTES: Final = 16
_KEEP_LONGER_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class PostedMetric:
    """A number about an answer.

    Attributes:
        response_id: Names the answer, as in feedback.
        metric: The name of a guardrail.
        value: The number, or whether something is so.
        choice: Which of two answers shown together it is about.
    """

    response_id: str
    metric: str
    value: bool | float
    choice: int | None = None


class PostedMetrics:
    """Takes posted numbers.

    Args:
        store: Remembers which numbers were posted.
        response_ids: Opens the ids of responses.
        snapshots: Hold this gateway's experiments.
        history: Knows whether the store lost something; then nothing is taken.
        gauges: Counts the pairs.
        clock: Unix seconds.
        find_answer: Tells which answer a request's or trace's id stands for.
    """

    def __init__(
        self,
        store: PolicyStore,
        response_ids: ResponseIds,
        snapshots: SnapshotHolder,
        history: StoreHistory,
        gauges: Gauges,
        clock: Callable[[], float],
        find_answer: FindAnswer,
    ) -> None:
        self._store = store
        self._snapshots = snapshots
        self._history = history
        self._gauges = gauges
        self._clock = clock
        self._answers = NamedAnswers(response_ids, find_answer)

    async def take(
        self, name: str, posted: PostedMetric, key: str | None, *, is_admin: bool
    ) -> bool | NotCounted:
        """Take a number: whether it is new, or why it does not count.

        Args:
            name: The experiment that the answer is to be of.
            posted: The number.
            key: Name of the API key that posts; None if none is needed.
            is_admin: Whether the key may post about answers of other keys.

        Raises:
            InvalidFeedbackError: The application did something wrong; nothing was changed.
            UnavailableError: The store did not answer. Post it again: no number counts twice.
            StoreHeldError: The store lost something and no operator has accepted that yet.
        """
        experiment = self._snapshots.current.experiment(name)
        guardrail = _posted_guardrail(experiment, posted.metric)
        number = _number(guardrail, posted.value)
        response_id, assigned = posted.response_id, self._answers.open(posted.response_id)
        if assigned is None:
            response_id, assigned = await self._answers.find(response_id, key)
        _check_owner(experiment, assigned, key, is_admin=is_admin)
        if self._history.held is not None:
            raise StoreHeldError("Metrics are not counted at present, because the store lost something.")
        if isinstance(assigned, Unassigned):
            return NotCounted.UNASSIGNED
        policy = _policy(experiment, assigned, posted.choice)
        if self._clock() >= assigned.expires_at:
            return NotCounted.EXPIRED
        if not experiment.is_run_of(assigned):
            return NotCounted.FINISHED
        is_new = await self._noted(experiment, posted, response_id, assigned, number)
        if is_new:
            self._gauges.take(experiment, guardrail, policy, number)
        return is_new

    async def _noted(
        self,
        experiment: LiveExperiment,
        posted: PostedMetric,
        response_id: str,
        assigned: Assignment,
        number: float,
    ) -> bool:
        about = f"{response_id}\n{posted.metric}\n{posted.choice}"
        digest = blake2b(about.encode(), digest_size=_DIGEST_BYTES).hexdigest()
        keep = max(int(assigned.expires_at - self._clock()), 0) + _KEEP_LONGER_SECONDS
        try:
            return await self._store.note_metric(
                experiment.name, assigned.generation, digest, repr(number), keep
            )
        except ContradictingOutcomeError as error:
            raise InvalidFeedbackError(
                f"Another {posted.metric} was posted for this response before; it stands.",
                reason="contradicting",
                status=422,
                param="value",
            ) from error
        except StoreError as error:
            raise UnavailableError(
                "The metric may not have been stored. Post it again later; it is counted once."
            ) from error


def _posted_guardrail(experiment: LiveExperiment, metric: str) -> Guardrail:
    own = {each.name: each for each in experiment.guardrails if each.measure is Measure.POSTED}
    if metric in own:
        return own[metric]
    declared = f"Declared: {', '.join(sorted(own))}." if own else "It declares none."
    is_measured = any(each.name == metric for each in experiment.guardrails)
    problem = (
        "The gateway measures this metric itself; post only metrics of your own."
        if is_measured
        else "The experiment's guardrails have no posted metric of that name."
    )
    raise InvalidFeedbackError(f"{problem} {declared}", reason="unknown_metric", status=422, param="metric")


def _number(guardrail: Guardrail, value: bool | float) -> float:
    if guardrail.is_boolean is not isinstance(value, bool):
        wanted = "true or false" if guardrail.is_boolean else "a number"
        raise InvalidFeedbackError(
            f"The value of {guardrail.name!r} must be {wanted}.",
            reason="invalid_value",
            status=422,
            param="value",
        )
    if not guardrail.low <= value <= guardrail.high:
        raise InvalidFeedbackError(
            f"The value of {guardrail.name!r} must be from {guardrail.low:g} to {guardrail.high:g}, the "
            "range in the experiment's file.",
            reason="invalid_value",
            status=422,
            param="value",
        )
    return float(value)


def _check_owner(
    experiment: LiveExperiment, assigned: Assignment | Unassigned, key: str | None, *, is_admin: bool
) -> None:
    if assigned.experiment != experiment.name:
        raise InvalidFeedbackError(
            f"This response belongs to the experiment {assigned.experiment!r}.",
            reason="wrong_experiment",
            status=422,
            param="id",
        )
    if not (is_admin or experiment.shares_ids or assigned.key in (NOBODY, key_digest(key))):
        raise InvalidFeedbackError(
            "This API key got no response with this id.", reason="foreign_id", status=404, param="id"
        )


def _policy(experiment: LiveExperiment, assigned: Assignment, choice: int | None) -> int:
    """The policy that gave an answer."""
    pair = assigned.first, assigned.second
    if experiment.way.assigns is not Assigns.BOTH:
        if choice is not None:
            raise _choice("This response showed one answer, so it has no choice to name: leave it out.")
        return pair[assigned.side]
    if choice not in (0, 1):
        raise _choice("This response showed two answers: say which with `choice`, 0 or 1.")
    shown = pair if assigned.side == 0 else pair[::-1]
    return shown[choice]


def _choice(problem: str) -> InvalidFeedbackError:
    return InvalidFeedbackError(problem, reason="invalid_value", status=422, param="choice")
