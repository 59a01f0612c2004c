"""One policy asked for one answer: its prompt rendered, its provider called, what happened counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from gateway.errors import RenderError, UpstreamError
from gateway.experiments.snapshot import LiveExperiment
from gateway.serving.attempting import Answered, Attempts, AttemptStream, Call, Effort
from gateway.serving.ejection import Target
from gateway.serving.observer import RequestObserver, Role
from gateway.upstream.base import ModelTarget, UpstreamRequest, UpstreamStream
from gateway.upstream.surfaces import CHAT, Surface
from gateway.upstream.usage import mentions_usage, tokens_used

PolicyFailure = UpstreamError | RenderError
POLICY_FAILURES: Final = (UpstreamError, RenderError)


class AnswerStream(Protocol):
    """An answer being streamed to the caller; the same shape as `UpstreamStream`."""

    async def read(self) -> bytes:
        """The next block of whole events; empty at the end. Raises UpstreamError."""
        ...

    async def aclose(self) -> None:
        """Free the providers at once. May be called at any time, and again."""
        ...


@dataclass(frozen=True, slots=True)
class Question:
    """A checked request.

    Attributes:
        payload: As the caller sent it.
        is_streamed: Whether the answer is to be streamed.
        session: What names its session, or its user; see `api.session`. None if nothing does.
        surface: The kind of request.
        headers: Headers of the caller's that go on to the provider.
    """

    payload: dict[str, Any]
    is_streamed: bool
    session: str | None = None
    surface: Surface = CHAT
    headers: Mapping[str, str] = field(default_factory=dict)

    def to(self, target: ModelTarget, payload: Mapping[str, Any]) -> UpstreamRequest:
        """What a provider is asked."""
        return UpstreamRequest(target, payload, self.surface, self.headers)


class Turn:
    """One question to one experiment, being answered within one `effort`.

    `waited_seconds` is the time during which at least one provider was being waited for.
    """

    __slots__ = ("_since", "_waits", "effort", "experiment", "models", "question", "waited_seconds")

    def __init__(
        self,
        experiment: LiveExperiment,
        models: Mapping[str, ModelTarget],
        question: Question,
        effort: Effort,
    ) -> None:
        self.experiment = experiment
        self.models = models
        self.question = question
        self.effort = effort
        self.waited_seconds = 0.0
        self._waits = 0
        self._since = 0.0

    def begin_wait(self, now: float) -> None:
        """A provider is asked."""
        if self._waits == 0:
            self._since = now
        self._waits += 1

    def end_wait(self, now: float) -> None:
        """A provider answered or failed."""
        self._waits -= 1
        if self._waits == 0:
            self.waited_seconds += now - self._since


def failure_reason(error: PolicyFailure) -> str:
    """A bounded word for metrics."""
    return error.reason if isinstance(error, UpstreamError) else "template"


class PolicyCalls:
    """Asks policies."""

    def __init__(
        self,
        attempts: Attempts,
        observer: RequestObserver,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._attempts = attempts
        self._observer = observer
        self._timer = timer

    async def ask(self, turn: Turn, policy: int) -> bytes | PolicyStream:
        """A policy's answer, a JSON object, or a stream once its first event is there.

        Raises:
            UpstreamError: If its provider failed, or is not asked for now.
            RenderError: If its template did.
        """
        call = _call(turn, policy)
        started = self._timer()
        turn.begin_wait(started)
        try:
            answer = await self._attempts.make(call, turn.effort)
        finally:
            turn.end_wait(self._timer())
        return self._counted(turn, policy, answer, started)

    async def stand_in(
        self, turn: Turn, policy: int, failure: PolicyFailure
    ) -> tuple[str | None, bytes | AnswerStream]:
        """The answer of a fallback of a policy's model, in the place of the policy.

        Args:
            turn: What is being answered.
            policy: Who failed.
            failure: How. A policy that was only ejected is asked after all if its fallbacks fail, too.

        Returns:
            The fallback's name, or None where the policy answered after all; and the answer.

        Raises:
            UpstreamError: How the policy failed, if nobody can stand in or the request itself is at fault.
            RenderError: The same.
        """
        if not isinstance(failure, UpstreamError) or failure.is_callers_fault:
            raise failure
        own = _call(turn, policy)
        calls = [own, *(_fallback_call(turn, own, target) for target in own.request.target.fallbacks)]
        started = self._timer()
        turn.begin_wait(started)
        try:
            call, answer, _ = await self._attempts.first_of(calls, turn.effort, failure)
        finally:
            turn.end_wait(self._timer())
        if call is own:
            return None, self._counted(turn, policy, answer, started)
        self._observer.model_fell_back(own.target.model, call.target.model, failure.reason)
        return call.target.model, answer if isinstance(answer, AttemptStream) else answer.body

    def _counted(self, turn: Turn, policy: int, answer: Answered, started: float) -> bytes | PolicyStream:
        account = self._account(turn, policy)
        if isinstance(answer, AttemptStream):
            return PolicyStream(answer, account, lambda: self._timer() - started)
        account.answered(self._timer() - started, answer.body)
        return answer.body

    def failed(self, turn: Turn, policy: int, error: PolicyFailure) -> None:
        """Count a failure that happened before the first byte."""
        self._account(turn, policy).failed(failure_reason(error))

    def _account(self, turn: Turn, policy: int) -> PolicyAccount:
        return PolicyAccount(self._observer, turn.experiment, policy)


class PolicyAccount:
    """Where one policy's part in one answer is counted."""

    __slots__ = ("_experiment", "_name", "_observer", "_role")

    def __init__(self, observer: RequestObserver, experiment: LiveExperiment, policy: int) -> None:
        self._observer = observer
        self._experiment = experiment.name
        self._name = experiment.policies[policy].name
        self._role: Role = "incumbent" if policy == experiment.incumbent else "candidate"

    def answered(self, seconds: float, usage: bytes) -> None:
        """The answer is complete; `usage` is the part of it that may report tokens."""
        self._observer.policy_answered(self._experiment, self._name, self._role, seconds)
        tokens = tokens_used(usage)
        if tokens is not None:
            self._observer.policy_tokens(self._experiment, self._name, *tokens)

    def failed(self, reason: str) -> None:
        """There is no answer, or only a part of one."""
        self._observer.policy_failed(self._experiment, self._name, reason)


class PolicyStream:
    """A policy's answer as its provider streams it, counted when it ends."""

    __slots__ = ("_account", "_elapsed", "_first_usage", "_is_counted", "_stream", "_usage")

    def __init__(self, stream: UpstreamStream, account: PolicyAccount, elapsed: Callable[[], float]) -> None:
        self._stream = stream
        self._account = account
        self._elapsed = elapsed
        self._first_usage = self._usage = b""
        self._is_counted = False

    async def read(self) -> bytes:
        """See `AnswerStream.read`."""
        try:
            block = await self._stream.read()
        except UpstreamError as error:
            self._account.failed(error.reason)
            raise
        if mentions_usage(block):
            self._first_usage = self._first_usage or block
            self._usage = block
        if not block and not self._is_counted:
            self._is_counted = True
            self._account.answered(self._elapsed(), self._first_usage + self._usage)
        return block

    async def aclose(self) -> None:
        """See `AnswerStream.aclose`."""
        await self._stream.aclose()


def _call(turn: Turn, policy: int) -> Call:
    compiled = turn.experiment.policies[policy]
    question = turn.question
    payload = compiled.render(question.payload, question.surface.name)
    target = Target(compiled.model, turn.experiment.name, compiled.name)
    return Call(target, question.to(turn.models[compiled.model], payload), question.is_streamed)


def _fallback_call(turn: Turn, own: Call, target: ModelTarget) -> Call:
    question = turn.question
    return Call(Target(target.name), question.to(target, own.request.payload), question.is_streamed)
