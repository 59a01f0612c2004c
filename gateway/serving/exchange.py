"""One request: the question, its possible respondents, and the effort of answering it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from gateway.instrumentation.records import Role
from gateway.upstream.base import NO_HEADERS, ModelTarget
from gateway.upstream.surfaces import CHAT, Surface
from gateway.upstream.usage import Tokens


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
    role: Role | None = None
    fingerprint: str = ""

    @property
    def name(self) -> tuple[str, str, str]:
        """The names that events use: model, experiment and policy."""
        return self.target.name, self.experiment, self.policy

    def is_same(self, other: Respondent) -> bool:
        """Whether two respondents of one name are asked in the same way; a new file may change that."""
        is_same_target = self.target is other.target or self.target == other.target
        return is_same_target and self.fingerprint == other.fingerprint


class Exchange:
    """A question and the effort of answering it.

    Attributes:
        request_id: The request's id in every event.
        question: The question.
        deadline: When the answer has to be complete, in seconds of the gateway's timer.
        planned: Attempts needed if nothing fails; the retry budget pays for further ones.
        made: Attempts made.
        waited_seconds: Time spent waiting for at least one provider, up to the first byte.
        usages: For each answer that began and has ended, the tokens that its provider reported, or None.
    """

    __slots__ = (
        "_since",
        "_waits",
        "deadline",
        "made",
        "planned",
        "question",
        "request_id",
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
        self.usages: list[Tokens | None] = []
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
