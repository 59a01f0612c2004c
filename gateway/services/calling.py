"""One policy asked for one answer: its prompt rendered, its provider called, what happened counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from gateway.errors import RenderError, UpstreamError
from gateway.services.observer import RequestObserver, Role
from gateway.services.snapshot import LiveExperiment
from gateway.services.usage import mentions_usage, tokens_used
from gateway.upstream.base import ModelTarget, Upstream, UpstreamRequest, UpstreamStream
from gateway.upstream.surfaces import CHAT, Surface

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
        session: Name of the session it belongs to, or None.
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
    """One question to one experiment, being answered.

    `waited_seconds` is the time during which at least one provider was being waited for.
    """

    __slots__ = ("_since", "_waits", "experiment", "models", "question", "waited_seconds")

    def __init__(
        self, experiment: LiveExperiment, models: Mapping[str, ModelTarget], question: Question
    ) -> None:
        self.experiment = experiment
        self.models = models
        self.question = question
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
        self, upstream: Upstream, observer: RequestObserver, timer: Callable[[], float] = time.perf_counter
    ) -> None:
        self._upstream = upstream
        self._observer = observer
        self._timer = timer

    async def whole(self, turn: Turn, policy: int) -> bytes:
        """A policy's answer, a JSON object. Raises UpstreamError or RenderError."""
        request = _request(turn, policy)
        started = self._timer()
        turn.begin_wait(started)
        try:
            body, _ = await self._upstream.complete(request)
        finally:
            ended = self._timer()
            turn.end_wait(ended)
        self._account(turn, policy).answered(ended - started, body)
        return body

    async def stream(self, turn: Turn, policy: int) -> PolicyStream:
        """A policy's answer once its first event is there. Raises UpstreamError or RenderError before."""
        request = _request(turn, policy)
        started = self._timer()
        turn.begin_wait(started)
        try:
            stream = await self._upstream.stream(request)
        finally:
            turn.end_wait(self._timer())
        return PolicyStream(stream, self._account(turn, policy), lambda: self._timer() - started)

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


def _request(turn: Turn, policy: int) -> UpstreamRequest:
    compiled = turn.experiment.policies[policy]
    question = turn.question
    return question.to(turn.models[compiled.model], compiled.render(question.payload, question.surface.name))
