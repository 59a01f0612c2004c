"""Attempts at an answer: whether one may be made, how long it may take, and how it ended.

The request path asks providers only through this module, so that ejection, the retry budget and the total
deadline hold everywhere: for plain models and their fallbacks, candidates, incumbents and duels.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gateway.errors import UpstreamError
from gateway.experiments.catalogue import Catalogue
from gateway.experiments.substance import Substance
from gateway.instrumentation.hooks import Hooks
from gateway.instrumentation.records import (
    NO_KEY,
    AttemptEnded,
    AttemptEnding,
    LeftAlone,
    PolicyFailed,
    RetryRefused,
)
from gateway.running.logs import get_logger
from gateway.serving.ejection import EjectionBook, Ticket
from gateway.serving.exchange import Exchange, Gauge, Question, Respondent
from gateway.upstream.base import (
    NO_POLICY,
    AnswerStream,
    PolicyPart,
    RawHeaders,
    Upstream,
    UpstreamAnswer,
    UpstreamRequest,
)
from gateway.upstream.failures import NOT_ASKED, ejected, over_budget, timed_out
from gateway.upstream.retry_budget import RetryBudget
from gateway.upstream.usage import BLOCKS_AT_THE_END, Tokens, tokens_used

_log = get_logger(__name__)


class Attempts:
    """Makes attempts.

    Args:
        upstream: Calls providers.
        ejections: Knows which respondents are ejected now.
        budget: How many second attempts there may be.
        hooks: Hear how attempts ended.
        total_seconds: How long all attempts at one answer may take together.
        timer: Monotonic seconds.
    """

    def __init__(
        self,
        upstream: Upstream,
        ejections: EjectionBook,
        budget: RetryBudget,
        hooks: Hooks,
        *,
        total_seconds: float,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._upstream = upstream
        self._ejections = ejections
        self._budget = budget
        self._hooks = hooks
        self._total_seconds = total_seconds
        self._timer = timer

    def begin(self, request_id: str, question: Question) -> Exchange:
        """Begin an exchange: its time runs from now, and it pays into the budget for second attempts."""
        self._budget.pay_in()
        return Exchange(request_id, question, self._timer() + self._total_seconds)

    def keep(self, catalogue: Catalogue) -> None:
        """Let go of all that is kept for models and policies of another catalogue."""
        targets = catalogue.models
        policies = {
            (name, policy.name, policy.fingerprint)
            for name, definition in catalogue.definitions.items()
            for policy in definition.policies
        }
        self._upstream.keep(targets)
        self._ejections.keep(
            lambda each: (
                targets.get(each.target.name) is each.target
                and (not each.experiment or (each.experiment, each.policy, each.fingerprint) in policies)
            )
        )

    async def make(
        self,
        respondent: Respondent,
        payload: Mapping[str, Any],
        exchange: Exchange,
        *,
        policy_part: PolicyPart = NO_POLICY,
        even_if_ejected: bool = False,
    ) -> Answered:
        """Ask one respondent.

        Args:
            respondent: The respondent to ask.
            payload: The request to send, in the format of the question's surface.
            exchange: The exchange that the attempt belongs to.
            policy_part: The part of the payload that a policy put there.
            even_if_ejected: Ask the respondent even if it is ejected.

        Raises:
            UpstreamError: The provider's failure; `ejected` or `retry_budget` if it was not asked.
        """
        started, question = self._timer(), exchange.question
        seconds_left = exchange.deadline - started
        if seconds_left <= 0:
            raise timed_out()
        attempt = self._admitted(respondent, exchange, started, even_if_ejected=even_if_ejected)
        request = UpstreamRequest(
            respondent.target, payload, question.surface, question.headers, seconds_left, policy_part
        )
        answer: UpstreamAnswer | AnswerStream
        exchange.begin_wait(started)
        try:
            if question.is_streamed:
                answer = await self._upstream.stream(request)
            else:
                answer = await self._upstream.complete(request)
        except BaseException as error:
            # If earlier attempts left too little time, that proves nothing against this respondent.
            is_late = exchange.made > exchange.planned and self._timer() >= exchange.deadline
            attempt.broke(None if is_late else error)
            raise
        finally:
            exchange.end_wait(self._timer())
        attempt.began()
        if isinstance(answer, UpstreamAnswer):
            if attempt.substance is not None:
                attempt.substance.take_answer(answer.body)
            attempt.answered(tokens_used(answer.body))
            return answer
        stream = AttemptStream(answer, attempt, exchange)
        exchange.streams.append(stream)
        return stream

    async def first_of(
        self,
        respondents: Sequence[Respondent],
        payload: Mapping[str, Any],
        exchange: Exchange,
        known: UpstreamError | None = None,
        policy_part: PolicyPart = NO_POLICY,
    ) -> tuple[Respondent, Answered, UpstreamError | None]:
        """The answer of the first of several respondents that gives one.

        Args:
            respondents: The respondents to ask, in this order. If all are ejected, the first is asked anyway.
            payload: The request to send.
            exchange: The exchange that the attempt belongs to.
            known: The failure of the first one, if that is known already.
            policy_part: The part of the payload that a policy put there.

        Returns:
            The respondent that answered, the answer, and why the first one did not answer (None if it did).

        Raises:
            UpstreamError: The first provider's failure, or the one that says that the request is at fault.
        """
        failures = [] if known is None else [known]
        try:
            for respondent in respondents[len(failures) :]:
                try:
                    answer = await self.make(respondent, payload, exchange, policy_part=policy_part)
                except UpstreamError as error:
                    if error.is_callers_fault:
                        raise
                    failures.append(error)
                else:
                    return respondent, answer, failures[0] if failures else None
            if all(failure.reason == "ejected" for failure in failures):
                first = respondents[0]
                answer = await self.make(
                    first, payload, exchange, policy_part=policy_part, even_if_ejected=True
                )
                return first, answer, None
            raise next((failure for failure in failures if failure.reason not in NOT_ASKED), failures[0])
        finally:
            # The raised error holds this frame. If the frame held the error, only garbage collection would
            # free the request.
            failures.clear()
            del known

    def _admitted(
        self, respondent: Respondent, exchange: Exchange, started: float, *, even_if_ejected: bool
    ) -> _Attempt:
        ticket = self._ejections.admit(respondent, even_if_ejected=even_if_ejected)
        if ticket is None:
            self._hooks.tell(LeftAlone(exchange.request_id, *respondent.name))
            raise ejected()
        is_extra = exchange.made >= exchange.planned
        if is_extra and not self._budget.take():
            ticket.released()
            self._hooks.tell(RetryRefused(exchange.request_id))
            raise over_budget()
        exchange.made += 1
        budget = self._budget if is_extra else None
        return _Attempt(respondent, exchange, ticket, budget, self._hooks, self._timer, started)


class _Attempt:
    """One attempt. Success returns it to the retry budget; book, exchange and hooks hear of its end.

    Attributes:
        substance: Takes in what the answer says, if that is asked for.
        is_over: Whether the end was told.
    """

    __slots__ = (
        "_begun",
        "_budget",
        "_exchange",
        "_hooks",
        "_respondent",
        "_started",
        "_ticket",
        "_timer",
        "is_over",
        "substance",
    )

    def __init__(
        self,
        respondent: Respondent,
        exchange: Exchange,
        ticket: Ticket,
        budget: RetryBudget | None,
        hooks: Hooks,
        timer: Callable[[], float],
        started: float,
    ) -> None:
        self._respondent = respondent
        self._exchange = exchange
        self._ticket = ticket
        self._budget = budget
        self._hooks = hooks
        self._timer = timer
        self._started = started
        self._begun: float | None = None
        is_read = exchange.gauge is not None and exchange.gauge.reads_answers
        self.substance = Substance(exchange.question.surface) if is_read else None
        self.is_over = False

    def began(self) -> None:
        """Note that the answer, or its first event, has arrived."""
        self._begun = self._timer()
        if self._budget is not None:
            self._pay_back()

    def answered(self, tokens: Tokens | None) -> None:
        """Note that the answer is complete."""
        self._ticket.answered()
        self._end("answered", "", tokens)

    def broke(self, error: BaseException | None, tokens: Tokens | None = None) -> None:
        """Note that the answer stops here because of `error` or, without one, because the caller left."""
        if not isinstance(error, UpstreamError):
            self._ticket.released()
            self._end("abandoned", "", tokens)
        elif error.is_callers_fault:
            # A refusal counts as an answer, so that malformed requests do not use up second attempts.
            self._pay_back()
            self._ticket.released()
            self._end("refused", error.reason, tokens)
        else:
            asked = error.retry_after or ""  # seconds to wait, or a date, which is not read
            self._ticket.failed(float(asked) if asked.isascii() and asked.isdigit() else 0.0)
            _log_failure(self._respondent, error)
            self._end("failed", error.reason, tokens)

    def _pay_back(self) -> None:
        if self._budget is not None:
            self._budget.give_back()
            self._budget = None

    def _end(self, ending: AttemptEnding, reason: str, tokens: Tokens | None) -> None:
        if self.is_over:
            return
        self.is_over = True
        target, experiment, policy, role, _ = self._respondent
        request_id, question = self._exchange.request_id, self._exchange.question
        self._hooks.tell(
            AttemptEnded(
                request_id,
                target.name,
                experiment,
                policy,
                role,
                self._started,
                self._begun,
                self._timer(),
                ending,
                reason,
                tokens,
                question.key or NO_KEY,
                question.is_streamed,
            )
        )
        if self._exchange.gauge is not None and policy:
            self._measure(self._exchange.gauge, ending, tokens)
        if self._begun is not None:
            self._exchange.usages.append(tokens)
            # the request may still turn out to be at fault for a failure before the first byte
            if reason and policy:
                self._hooks.tell(PolicyFailed(request_id, experiment, policy, reason))

    def _measure(self, gauge: Gauge, ending: AttemptEnding, tokens: Tokens | None) -> None:
        """Have the end measured; of failures before the first byte one hears elsewhere whose they are."""
        seconds, policy = self._timer() - self._started, self._respondent.policy
        if ending == "answered":
            model = self._respondent.target.name
            is_refused = self.substance is not None and self.substance.is_refused
            gauge.answered(policy, model, seconds, tokens, refused=is_refused)
        elif ending == "abandoned":
            gauge.left(policy, seconds)
        elif self._begun is not None:
            gauge.failed(policy)


class AttemptStream:
    """A streamed answer whose end counts for its respondent."""

    __slots__ = ("_ahead", "_attempt", "_exchange", "_first", "_last", "_stream", "_substance")

    def __init__(self, stream: AnswerStream, attempt: _Attempt, exchange: Exchange) -> None:
        self._stream = stream
        self._attempt = attempt
        self._exchange = exchange
        self._substance = attempt.substance
        self._ahead = b""
        self._first = b""
        self._last: deque[bytes] = deque(maxlen=BLOCKS_AT_THE_END)

    @property
    def headers(self) -> RawHeaders:
        """The provider's."""
        return self._stream.headers

    async def first_block(self) -> bytes:
        """The first block, without waiting; `read` gives it as well."""
        self._ahead = self._ahead or await self.read()
        return self._ahead

    async def read(self) -> bytes:
        """The next block."""
        if self._ahead:
            block, self._ahead = self._ahead, b""
            return block
        try:
            block = await self._stream.read()
        except UpstreamError as error:
            self._attempt.broke(error, self._tokens())
            raise
        if block:
            if not self._first:
                self._first = block
            self._last.append(block)
            if self._substance is not None:
                self._substance.take_block(block)
        else:
            self._attempt.answered(self._tokens())
        return block

    async def aclose(self) -> None:
        """Close the provider's stream; if it has not ended, the caller wants no more of it."""
        if self in self._exchange.streams:
            self._exchange.streams.remove(self)
        if not self._attempt.is_over:
            self._attempt.broke(None, self._tokens())
        await self._stream.aclose()

    def _tokens(self) -> Tokens | None:
        return tokens_used(b"".join((self._first, *self._last)))


Answered = UpstreamAnswer | AttemptStream


def _log_failure(respondent: Respondent, error: UpstreamError) -> None:
    where = {"experiment": respondent.experiment, "policy": respondent.policy} if respondent.policy else {}
    _log.warning(
        "provider_failed",
        model=respondent.target.name,
        **where,
        reason=error.reason,
        status=error.status,
        detail=error.detail,
    )
