"""One attempt at an answer: may it be made, how long may it take, how did it end.

The request path asks providers only through here, so that ejection, the retry budget and the total deadline
hold for all of it: for plain models and their fallbacks, candidates, incumbents and duels.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from gateway.errors import UpstreamError
from gateway.running.logs import get_logger
from gateway.serving.ejection import Admission, EjectionBook, Target
from gateway.upstream.base import RawHeaders, Upstream, UpstreamAnswer, UpstreamRequest, UpstreamStream
from gateway.upstream.failures import ejected, over_budget, timed_out
from gateway.upstream.retry_budget import RetryBudget

# Why a target was not asked at all; nothing an error of its own.
NOT_ASKED: Final = frozenset({"ejected", "retry_budget"})

_log = get_logger(__name__)


class AttemptObserver(Protocol):
    """Hears of attempts that came to nothing."""

    def model_failed(self, model: str, reason: str) -> None:
        """A model asked by its name did not answer, or broke off."""

    def retry_refused(self) -> None:
        """A second attempt was not made, because the budget for them is used up."""


@dataclass(frozen=True, slots=True)
class Call:
    """Whom to ask, what, and whether for a stream."""

    target: Target
    request: UpstreamRequest
    is_streamed: bool


class Effort:
    """What answering one request may still take.

    Args:
        deadline: When the answer has to be complete, in seconds of the gateway's timer.

    Attributes:
        planned: Attempts the request needs when nothing fails; the retry budget pays for those beyond.
    """

    __slots__ = ("deadline", "made", "planned")

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.planned = 1
        self.made = 0


class Attempts:
    """Makes attempts.

    Args:
        upstream: Calls providers.
        ejections: Who is left alone for now.
        budget: How many second attempts there may be.
        observer: Told of failures.
        total_seconds: How long all attempts at one answer may take together.
        timer: Seconds that only ever grow.
    """

    def __init__(
        self,
        upstream: Upstream,
        ejections: EjectionBook,
        budget: RetryBudget,
        observer: AttemptObserver,
        *,
        total_seconds: float,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._upstream = upstream
        self._ejections = ejections
        self._budget = budget
        self._observer = observer
        self._total_seconds = total_seconds
        self._timer = timer

    def begin(self) -> Effort:
        """What a request that just arrived may take."""
        self._budget.pay_in()
        return Effort(self._timer() + self._total_seconds)

    async def make(self, call: Call, effort: Effort, *, insist: bool = False) -> Answered:
        """Ask one target.

        Args:
            call: Whom to ask, and what.
            effort: Of the request it is for.
            insist: Ask an ejected target, too.

        Raises:
            UpstreamError: As its provider failed; `ejected` or `retry_budget` if it was not asked.
        """
        asked = call.request
        request = UpstreamRequest(
            asked.target, asked.payload, asked.surface, asked.headers, self._seconds_left(effort)
        )
        attempt = self._admitted(call.target, effort, insist=insist)
        try:
            if call.is_streamed:
                stream = await self._upstream.stream(request)
                attempt.began()
                return AttemptStream(stream, attempt)
            answer = await self._upstream.complete(request)
        except BaseException as error:
            # Running out of the time that earlier attempts left proves nothing against this target.
            is_late = effort.made > effort.planned and self._timer() >= effort.deadline
            attempt.ended(None if is_late else error)
            raise
        attempt.began()
        attempt.answered()
        return answer

    async def first_of(
        self, calls: Sequence[Call], effort: Effort, known: UpstreamError | None = None
    ) -> tuple[Call, Answered, UpstreamError | None]:
        """The answer of the first of several targets that gives one.

        Args:
            calls: Whom to ask, in this order. With all of them ejected, the first is asked anyway.
            effort: Of the request it is for.
            known: How the first one failed, where that is known already.

        Returns:
            Who answered, the answer, and why the first one did not (None if it did).

        Raises:
            UpstreamError: The first provider's own, or the one that says the request itself is at fault.
        """
        failures = [] if known is None else [known]
        try:
            for call in calls[len(failures) :]:
                try:
                    answer = await self.make(call, effort)
                except UpstreamError as error:
                    if error.is_callers_fault:
                        raise
                    failures.append(error)
                else:
                    return call, answer, failures[0] if failures else None
            if all(failure.reason == "ejected" for failure in failures):
                return calls[0], await self.make(calls[0], effort, insist=True), None
            raise next((failure for failure in failures if failure.reason not in NOT_ASKED), failures[0])
        finally:
            # What is raised holds this frame: held by it in turn, the request would wait to be collected.
            failures.clear()
            del known

    def _admitted(self, target: Target, effort: Effort, *, insist: bool) -> _Attempt:
        admission = self._ejections.insist(target) if insist else self._ejections.admit(target)
        if admission is None:
            raise ejected()
        is_extra = effort.made >= effort.planned
        if is_extra and not self._budget.take():
            admission.released()
            self._observer.retry_refused()
            raise over_budget()
        effort.made += 1
        return _Attempt(admission, self._budget if is_extra else None, self._observer)

    def _seconds_left(self, effort: Effort) -> float:
        left = effort.deadline - self._timer()
        if left <= 0:
            raise timed_out()
        return left


class _Attempt:
    """Settles what an attempt owes: to the retry budget once it begins, to the ejection book when it ends."""

    __slots__ = ("_admission", "_budget", "_observer")

    def __init__(self, admission: Admission, budget: RetryBudget | None, observer: AttemptObserver) -> None:
        self._admission = admission
        self._budget = budget
        self._observer = observer

    def began(self) -> None:
        """The answer, or its first event, is there."""
        if self._budget is not None:
            self._budget.give_back()
            self._budget = None

    def answered(self) -> None:
        """The answer is complete."""
        self._admission.answered()

    def ended(self, error: BaseException | None = None) -> None:
        """There will be no more of it: because of `error`, or because nobody wants it any longer."""
        if isinstance(error, UpstreamError) and error.is_callers_fault:
            self.began()  # a refusal is an answer, too: malformed requests must not use second attempts up
        if isinstance(error, UpstreamError) and not error.is_callers_fault:
            self._admission.failed(_seconds(error.retry_after))
            _log_failure(self._admission.target, error)
            if not self._admission.target.policy:
                self._observer.model_failed(self._admission.target.model, error.reason)
        else:
            self._admission.released()


class AttemptStream:
    """An answer being streamed; how it ends counts for its target."""

    __slots__ = ("_attempt", "_stream")

    def __init__(self, stream: UpstreamStream, attempt: _Attempt) -> None:
        self._stream = stream
        self._attempt = attempt

    @property
    def headers(self) -> RawHeaders:
        """See `UpstreamStream.headers`."""
        return self._stream.headers

    async def read(self) -> bytes:
        """See `UpstreamStream.read`."""
        try:
            block = await self._stream.read()
        except UpstreamError as error:
            self._attempt.ended(error)
            raise
        if not block:
            self._attempt.answered()
        return block

    async def aclose(self) -> None:
        """See `UpstreamStream.aclose`."""
        self._attempt.ended()
        await self._stream.aclose()


Answered = UpstreamAnswer | AttemptStream


def _log_failure(target: Target, error: UpstreamError) -> None:
    named = {name: value for name, value in target._asdict().items() if value}
    _log.warning("provider_failed", **named, reason=error.reason, status=error.status, detail=error.detail)


def _seconds(retry_after: str | None) -> float:
    """How long a provider asks to be left alone; 0 where it gives a date or nothing."""
    return float(retry_after) if retry_after and retry_after.isascii() and retry_after.isdigit() else 0.0
