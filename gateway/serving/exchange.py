"""One request: the question, its possible respondents, and the effort of answering it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any, NamedTuple, Protocol

from gateway.instrumentation.records import AnsweringRole
from gateway.upstream.base import NO_HEADERS, AnswerStream, ModelTarget, RawHeaders
from gateway.upstream.surfaces import CHAT, Surface
from gateway.upstream.usage import Tokens


class Continued(NamedTuple):
    """The answer that a request names instead of sending the conversation.

    Attributes:
        response_id: What the caller calls it.
        turn: What stands for the question it answered; empty where it belongs to no comparison.
        ask: Which asking it answered, from 1.
    """

    response_id: str
    turn: str
    ask: int


class Question(NamedTuple):
    """A checked request.

    Attributes:
        payload: The body as the caller sent it.
        is_streamed: Whether the answer is to be streamed.
        session: The name of its session, or of its user (`api.session` finds it); None without one.
        surface: The kind of request.
        headers: Headers of the caller that are passed on to the provider.
        choices: The value of the header that asks for choices, unchecked; None without one.
        key: Name of the caller's API key; None if none is needed.
        voter: The name of its user, or else of its session; None without either.
        attempt: The caller's own name of the request, which its retries share; None without one.
        is_retry: Whether the caller's library says that it sends the request again.
        continued: The answer it goes on from, where it names one of an experiment's; then `payload` has what
            the provider calls it.
    """

    payload: dict[str, Any]
    is_streamed: bool
    session: str | None = None
    surface: Surface = CHAT
    headers: Mapping[str, str] = NO_HEADERS
    choices: str | None = None
    key: str | None = None
    voter: str | None = None
    attempt: str | None = None
    is_retry: bool = False
    continued: Continued | None = None


class Respondent(NamedTuple):
    """A model, asked by its own name or as a fallback, or a policy of an experiment with its model.

    Attributes:
        target: How to call the model's provider.
        experiment: The policy's experiment; empty for a model.
        policy: The policy's name; empty for a model.
        role: The policy's role in its experiment; None for a model.
        fingerprint: Fingerprint of the policy's content; empty for a model.
    """

    target: ModelTarget
    experiment: str = ""
    policy: str = ""
    role: AnsweringRole | None = None
    fingerprint: str = ""

    @property
    def name(self) -> tuple[str, str, str]:
        """The names that events use: model, experiment and policy."""
        return self.target.name, self.experiment, self.policy

    def is_same(self, other: Respondent) -> bool:
        """Whether two respondents of one name are asked in the same way; a new file may change that."""
        is_same_target = self.target is other.target or self.target == other.target
        return is_same_target and self.fingerprint == other.fingerprint


class Gauge(Protocol):
    """Measures the answers of the policies that were drawn for a request."""

    @property
    def reads_answers(self) -> bool:
        """Whether it has to know if a provider marked an answer as refused."""
        ...

    def answered(
        self, policy: str, model: str, seconds: float, tokens: Tokens | None, *, refused: bool
    ) -> None:
        """Take an answer that is complete."""
        ...

    def left(self, policy: str, seconds: float) -> None:
        """Take an answer that its caller did not wait for."""
        ...

    def failed(self, policy: str) -> None:
        """Take a policy's failure."""
        ...


class Exchange:
    """A question and the effort of answering it.

    Attributes:
        request_id: The request's id in every event.
        question: The question.
        deadline: When the answer has to be complete, in seconds of the gateway's timer.
        planned: Attempts needed if nothing fails; the retry budget pays for further ones.
        made: Attempts made.
        waited_seconds: Time spent waiting for at least one provider, up to the first byte.
        gauge: Measures the answers of the policies drawn, if guardrails compare them.
        streams: Answers that are being streamed; closing one takes it out.
        usages: For each answer that began and has ended, the tokens that its provider reported, or None.
    """

    __slots__ = (
        "_since",
        "_waits",
        "deadline",
        "gauge",
        "made",
        "planned",
        "question",
        "request_id",
        "streams",
        "usages",
        "waited_seconds",
    )

    def __init__(self, request_id: str, question: Question, deadline: float) -> None:
        self.request_id = request_id
        self.question = question
        self.deadline = deadline
        self.planned = 1
        self.made = 0
        self.waited_seconds = 0.0
        self.streams: list[AnswerStream] = []
        self.usages: list[Tokens | None] = []
        self.gauge: Gauge | None = None
        self._waits = 0
        self._since = 0.0

    def begin_wait(self, now: float) -> None:
        """Note that a provider is asked."""
        if self._waits == 0:
            self._since = now
        self._waits += 1

    def end_wait(self, now: float) -> None:
        """Note that a provider answered or failed."""
        self._waits -= 1
        if self._waits == 0:
            self.waited_seconds += now - self._since

    async def aclose(self) -> None:
        """Close every answer that is being streamed, because the caller will get none of them."""
        async with AsyncExitStack() as closing:
            for stream in self.streams:
                closing.push_async_callback(stream.aclose)


class Answer(NamedTuple):
    """The answer for the caller.

    Attributes:
        exchange: The question, and the effort of answering it so far.
        content: A whole JSON body, or a stream whose first block is ready.
        policies: The names of the policies that answered, in the order shown; for admins only.
        models: The models that answered, in the same order; for admins only.
        fallback: Why the first respondent did not answer, or None if it did; for admins only.
        headers: A plain model's rate limits. Those of an experiment would reveal which policy answered.
        response_id: The id for feedback; empty for a plain model's answer.
        keep_seconds: How long feedback on it counts.
        when_served: To be called once the caller has all of it; None if nothing follows.
    """

    exchange: Exchange
    content: bytes | AnswerStream
    policies: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    fallback: str | None = None
    headers: RawHeaders = ()
    response_id: str = ""
    keep_seconds: float = 0.0
    when_served: Callable[[], None] | None = None
