"""A request, answered: routed, asked of one policy or two, labelled.

Whatever goes wrong before the first byte, the incumbent answers instead and the answer takes no part in the
experiment; where the incumbent fails as well, the fallbacks of its model do. What nobody could answer is an
error, and then it is the incumbent's: a request that is itself invalid comes back with the provider's own
words. A candidate has no fallback but the incumbent: another model's answer would be counted as its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from gateway.errors import UpstreamError
from gateway.experiments.response_ids import Assignment, ResponseIds
from gateway.experiments.snapshot import LiveExperiment
from gateway.running.logs import get_logger
from gateway.serving.answerable import check_answerable
from gateway.serving.attempting import Attempts, AttemptStream, Call
from gateway.serving.calling import (
    POLICY_FAILURES,
    AnswerStream,
    PolicyCalls,
    PolicyFailure,
    PolicyStream,
    Question,
    Turn,
    failure_reason,
)
from gateway.serving.dueling import DuelLabel, DuelStream, both, merge_answers
from gateway.serving.ejection import Target
from gateway.serving.observer import RequestObserver
from gateway.serving.relabelling import label_for
from gateway.serving.routing import Draws, Duel, Incumbent, Route, Single, route
from gateway.serving.sticky import Sticky
from gateway.upstream.base import ModelTarget, RawHeaders

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back to the caller.

    Attributes:
        content: A whole JSON body, or a stream whose first block is ready.
        waited_seconds: How long providers were waited for, up to the first byte.
        policies: Names of those that answered, in the order shown; for admins only.
        models: The models that answered, in the same order; for admins only.
        fallback: Why somebody else than was asked first answered, or None; for admins only.
        headers: A plain model's rate limits. An experiment's would tell which policy answered.
    """

    content: bytes | AnswerStream
    waited_seconds: float
    policies: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    fallback: str | None = None
    headers: RawHeaders = ()


class _By(NamedTuple):
    """Who answered: the names of policies, if any, and of models."""

    policies: tuple[str, ...]
    models: tuple[str, ...]


class Answering:
    """Answers for experiments and plain models.

    Args:
        attempts: Asks providers.
        response_ids: Makes response ids.
        sticky: Routes sessions.
        observer: Told what happened.
        draws: Randomness for routing.
        clock: Unix seconds.
        timer: Seconds that only ever grow.
    """

    def __init__(
        self,
        *,
        attempts: Attempts,
        response_ids: ResponseIds,
        sticky: Sticky,
        observer: RequestObserver,
        draws: Draws,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._attempts = attempts
        self._calls = PolicyCalls(attempts, observer, timer)
        self._response_ids = response_ids
        self._observer = observer
        self._sticky = sticky
        self._draws = draws
        self._clock = clock
        self._timer = timer

    async def answer_plainly(self, target: ModelTarget, question: Question) -> Answer:
        """A model's answer, or a fallback's, exactly as its provider gave it. Raises UpstreamError."""
        calls = [
            Call(Target(one.name), question.to(one, question.payload), question.is_streamed)
            for one in (target, *target.fallbacks)
        ]
        started = self._timer()
        call, answer, failure = await self._attempts.first_of(calls, self._attempts.begin())
        waited_seconds = self._timer() - started
        served = call.target.model
        if failure is not None:
            self._observer.model_fell_back(target.name, served, failure.reason)
        return Answer(
            answer if isinstance(answer, AttemptStream) else answer.body,
            waited_seconds,
            models=(served,),
            fallback=None if failure is None else failure.reason,
            headers=answer.headers,
        )

    async def answer(
        self, experiment: LiveExperiment, models: Mapping[str, ModelTarget], question: Question
    ) -> Answer:
        """An experiment's answer.

        Raises:
            InvalidRequestError: If the experiment cannot answer such a request.
            UpstreamError: If the incumbent's provider failed, too.
            RenderError: If the incumbent's template did.
        """
        check_answerable(experiment, question)
        turn = Turn(experiment, models, question, self._attempts.begin())
        match await self._route(turn):
            case Incumbent():
                return await self._incumbent(turn, {})
            case Single(assignment, policy):
                return await self._single(turn, assignment, policy)
            case Duel() as duel:
                return await self._duel(turn, duel)

    async def _route(self, turn: Turn) -> Route:
        experiment, session = turn.experiment, turn.question.session
        if experiment.unit == "session" and session is not None:
            return await self._sticky.route(experiment, session, self._clock())
        return route(experiment, None, self._draws, self._clock())

    async def _single(self, turn: Turn, assignment: Assignment, policy: int) -> Answer:
        try:
            reply = await self._calls.ask(turn, policy)
        except POLICY_FAILURES as error:
            return await self._incumbent(turn, {policy: error})
        return self._alone(
            turn, _policy(turn, policy), reply, self._response_ids.seal(assignment, _prefix(turn))
        )

    async def _duel(self, turn: Turn, duel: Duel) -> Answer:
        left, right = duel.shown
        turn.effort.planned = 2
        replies = await both(self._calls.ask(turn, left), self._calls.ask(turn, right))
        experiment = turn.experiment
        label = DuelLabel(self._response_ids.seal(duel.assignment), experiment.name, int(self._clock()))
        content: bytes | AnswerStream
        match replies:
            case (bytes() as first, bytes() as second):
                content = merge_answers((first, second), label)
            case (PolicyStream() as first, PolicyStream() as second):
                content = DuelStream((first, second), label, shows_usage=_asks_for_usage(turn.question))
            case _:
                return await self._half_duel(turn, dict(zip(duel.shown, replies, strict=True)))
        return Answer(content, turn.waited_seconds, *_policy(turn, left, right))

    async def _half_duel(
        self, turn: Turn, replies: dict[int, bytes | PolicyStream | PolicyFailure]
    ) -> Answer:
        """One policy failed, or both did: what is left takes no part in the experiment."""
        failures = {policy: reply for policy, reply in replies.items() if isinstance(reply, POLICY_FAILURES)}
        for policy, reply in replies.items():
            if not isinstance(reply, POLICY_FAILURES):
                return self._unassigned(turn, _policy(turn, policy), reply, self._fell_back(turn, failures))
        return await self._incumbent(turn, failures)

    async def _incumbent(self, turn: Turn, failures: Mapping[int, PolicyFailure]) -> Answer:
        """Let the incumbent answer, `failures` being the policies that could not."""
        policy = turn.experiment.incumbent
        if policy not in failures:
            try:
                reply = await self._calls.ask(turn, policy)
            except POLICY_FAILURES as error:
                failures = {**failures, policy: error}
            else:
                return self._unassigned(turn, _policy(turn, policy), reply, self._fell_back(turn, failures))
        return await self._in_its_place(turn, failures)

    async def _in_its_place(self, turn: Turn, failures: Mapping[int, PolicyFailure]) -> Answer:
        """Let a fallback of the incumbent's model answer; its own failure is among `failures`."""
        policy = turn.experiment.incumbent
        try:
            served, reply = await self._calls.stand_in(turn, policy, failures[policy])
        except POLICY_FAILURES as error:
            told = _refusal(failures, error)
            self._count_failures(turn, {**failures, policy: told})
            raise _in_its_terms(told, turn) from error
        if served is None:
            others = {other: error for other, error in failures.items() if other != policy}
            return self._unassigned(turn, _policy(turn, policy), reply, self._fell_back(turn, others))
        return self._unassigned(turn, _By((), (served,)), reply, self._fell_back(turn, failures))

    def _unassigned(self, turn: Turn, by: _By, reply: bytes | AnswerStream, fallback: str | None) -> Answer:
        """An answer that takes no part in the experiment."""
        response_id = self._response_ids.seal_unassigned(turn.experiment.name, _prefix(turn))
        return self._alone(turn, by, reply, response_id, fallback)

    def _alone(
        self, turn: Turn, by: _By, reply: bytes | AnswerStream, response_id: str, fallback: str | None = None
    ) -> Answer:
        label = label_for(turn.question, response_id, turn.experiment.name)
        content = label.relabel(reply) if isinstance(reply, bytes) else label.relabel_stream(reply)
        return Answer(content, turn.waited_seconds, *by, fallback=fallback)

    def _fell_back(self, turn: Turn, failures: Mapping[int, PolicyFailure]) -> str | None:
        """Count who could not answer; why the first of them could not, or None if all could."""
        if not failures:
            return None
        for policy, error in failures.items():
            self._count_failure(turn, policy, error)
        reason = failure_reason(next(iter(failures.values())))
        self._observer.fell_back(turn.experiment.name, reason)
        return reason

    def _count_failures(self, turn: Turn, failures: Mapping[int, PolicyFailure]) -> None:
        """Count what failed, the incumbent too; a request they all call invalid is no policy's failure."""
        if not all(
            isinstance(error, UpstreamError) and error.is_callers_fault for error in failures.values()
        ):
            for policy, error in failures.items():
                self._count_failure(turn, policy, error)

    def _count_failure(self, turn: Turn, policy: int, error: PolicyFailure) -> None:
        self._calls.failed(turn, policy, error)
        reason = failure_reason(error)
        if reason == "ejected":
            return  # said once, when it was ejected
        _log.warning(
            "policy_failed",
            experiment=turn.experiment.name,
            policy=turn.experiment.policies[policy].name,
            reason=reason,
        )


def _policy(turn: Turn, *policies: int) -> _By:
    shown = [turn.experiment.policies[policy] for policy in policies]
    return _By(tuple(policy.name for policy in shown), tuple(policy.model for policy in shown))


def _asks_for_usage(question: Question) -> bool:
    """Whether a stream's caller wants its usage; a last event without choices is a surprise otherwise."""
    return bool((question.payload.get("stream_options") or {}).get("include_usage"))


def _prefix(turn: Turn) -> str:
    return turn.question.surface.id_prefix


def _refusal(failures: Mapping[int, PolicyFailure], error: PolicyFailure) -> PolicyFailure:
    """What to tell: a policy's refusal of the request where second attempts are used up, else `error`."""
    if not isinstance(error, UpstreamError) or error.reason != "retry_budget":
        return error
    refusals = (
        each for each in failures.values() if isinstance(each, UpstreamError) and each.is_callers_fault
    )
    return next(refusals, error)


def _in_its_terms(error: PolicyFailure, turn: Turn) -> PolicyFailure:
    """A provider's error under the experiment's name: what is asked there must not show here."""
    if not isinstance(error, UpstreamError) or not error.is_callers_fault:
        return error
    name = turn.experiment.name
    message, body = str(error), error.body
    for policy in turn.experiment.policies:
        target = turn.models[policy.model]
        for hidden in (target.model, target.name):
            message = message.replace(hidden, name)
            body = body and body.replace(hidden.encode(), name.encode())
    return UpstreamError(message, status=error.status, reason=error.reason, body=body, is_callers_fault=True)
