"""The hook that counts: it adds each event to the metrics.

Adding to a series of prometheus_client takes as long as everything else that is done with an event, and a
request adds to a dozen series. So the counts of requests are added up here in plain numbers, which go into
the series when metrics are asked for.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, Protocol

from prometheus_client import Counter

from gateway.instrumentation.hooks import EventClass, Listener
from gateway.instrumentation.records import (
    AskedAgain,
    AttemptEnded,
    AuthenticationFailed,
    DecisionTaken,
    Ejected,
    EjectionEnded,
    FeedbackDiscarded,
    FeedbackReceived,
    FellBack,
    GatewayEvent,
    GuardrailActed,
    JudgeCalled,
    JudgeQueueChanged,
    KeyLimited,
    LeftAlone,
    LimitsSkipped,
    ModelFellBack,
    MovedByHand,
    NotJudged,
    PairJudged,
    PlanningFailed,
    PlanPublished,
    PolicyFailed,
    RequestBegun,
    RequestFinished,
    RetryRefused,
    Routed,
    StickySkipped,
    WebhookAttempted,
)
from gateway.telemetry.metrics import Metrics

FLUSH_SECONDS: Final = 1.0
"""Time between two flushes that let other worker processes see this process's counts."""
KEYS_SHOWN: Final = 500
OTHER_KEYS: Final = "(other)"
"""The label of all further keys; no key can have this name."""
NOT_COUNTED: Final[frozenset[EventClass]] = frozenset(
    {Routed, LeftAlone, PlanPublished, DecisionTaken, GuardrailActed, MovedByHand}
)
"""Only the results of the first two are counted here; `collectors.py` shows the others from the store."""
_MOST_KEPT: Final = 1_000  # requests; bounds the memory if metrics are never asked for


class KeyNames:
    """Labels for the names of API keys. Their number is bounded, because keys can be made at run time."""

    def __init__(self, most: int = KEYS_SHOWN) -> None:
        self._most = most
        self._known: set[str] = set()

    def __call__(self, name: str) -> str:
        """The label for a key."""
        if name not in self._known:
            if len(self._known) >= self._most:
                return OTHER_KEYS
            self._known.add(name)
        return name


class Price(Protocol):
    """The price of tokens."""

    def of(self, prompt: int, completion: int) -> float:
        """The cost of these tokens in USD."""
        ...


class _Answers:
    """The answers of a respondent for one key since the last flush.

    Attributes:
        seconds: How long each answer took.
        reports: Answers whose provider reported tokens.
        prompt: Tokens of prompts that were reported.
        completion: Tokens of completions that were reported.
    """

    __slots__ = ("completion", "prompt", "reports", "seconds")

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.reports = self.prompt = self.completion = 0


class MetricsHook(Listener):
    """A hook that writes to Prometheus counters.

    Args:
        metrics: The metrics to write to.
        prices: Gives the known prices, by model.
    """

    def __init__(self, metrics: Metrics, prices: Callable[[], Mapping[str, Price]] = dict) -> None:
        # These events are counted one by one, with the event's fields as labels.
        counters: Mapping[EventClass, Counter] = {
            RetryRefused: metrics.retries_refused,
            ModelFellBack: metrics.model_fallbacks,
            PolicyFailed: metrics.policy_failures,
            FellBack: metrics.fallbacks,
            StickySkipped: metrics.sticky_skipped,
            AskedAgain: metrics.asked_again,
            AuthenticationFailed: metrics.authentication_failures,
            KeyLimited: metrics.limited,
            LimitsSkipped: metrics.limits_skipped,
            FeedbackDiscarded: metrics.feedback_discarded,
            PlanningFailed: metrics.planner_errors,
            WebhookAttempted: metrics.webhook_deliveries,
        }
        super().__init__(
            {
                RequestBegun: self._request_begun,
                RequestFinished: self._request_finished,
                AttemptEnded: self._attempt_ended,
                FeedbackReceived: self._feedback_received,
                Ejected: partial(self._ejection_changed, is_ejected=True),
                EjectionEnded: partial(self._ejection_changed, is_ejected=False),
                JudgeCalled: lambda event: metrics.judge_calls.labels(*event[:3]).inc(),
                PairJudged: self._judging_ended,
                NotJudged: self._judging_ended,
                JudgeQueueChanged: lambda event: metrics.judge_waiting.labels(event.experiment).set(
                    event.waiting
                ),
                **{kind: partial(self._count, counter) for kind, counter in counters.items()},
            }
        )
        self._metrics = metrics
        self._prices = prices
        self._key_label = KeyNames()
        self._in_flight: defaultdict[str, int] = defaultdict(int)
        self._kept = 0
        # Since the last flush, by endpoint, status, model and key:
        self._finished: defaultdict[tuple[str, int, str, str], int] = defaultdict(int)
        self._received: defaultdict[FeedbackReceived, int] = defaultdict(int)
        self._overheads: list[float] = []
        # By model, experiment, policy, role and key; for streamed answers also without the last two:
        self._answers: defaultdict[tuple[str, str, str, str, str], _Answers] = defaultdict(_Answers)
        self._first_tokens: defaultdict[tuple[str, str, str], list[float]] = defaultdict(list)
        metrics.before_showing(self.flush)

    async def run(self) -> None:
        """Flush from time to time until cancelled, if other processes show these metrics."""
        try:
            while True:
                await asyncio.sleep(FLUSH_SECONDS)
                self.flush()
        finally:
            self.flush()

    def flush(self) -> None:
        """Add the collected counts to the series."""
        metrics, self._kept = self._metrics, 0
        for endpoint, count in self._in_flight.items():
            metrics.in_flight.labels(endpoint).set(count)
        for (endpoint, status, model, key), count in self._finished.items():
            metrics.requests.labels(endpoint, str(status)).inc(count)
            if model:
                metrics.key_requests.labels(self._key_label(key), model, str(status)).inc(count)
        for received, count in self._received.items():
            metrics.feedback.labels(*received).inc(count)
        metrics.gateway_overhead.observe_all(self._overheads)
        for (model, experiment, policy), seconds in self._first_tokens.items():
            metrics.time_to_first_token.labels(experiment, policy, model).observe_all(seconds)
        for named, answers in self._answers.items():
            self._flush_answers(*named, answers)
        for each in (self._finished, self._received, self._overheads, self._first_tokens, self._answers):
            each.clear()

    def _flush_answers(
        self, model: str, experiment: str, policy: str, role: str, key: str, answers: _Answers
    ) -> None:
        metrics, count = self._metrics, len(answers.seconds)
        named: tuple[str, ...]
        if policy:
            metrics.policy_requests.labels(experiment, policy, role).inc(count)
            metrics.policy_latency.labels(experiment, policy).observe_all(answers.seconds)
            named, tokens, cost = (experiment, policy), metrics.policy_tokens, metrics.policy_cost
        else:
            metrics.model_requests.labels(model).inc(count)
            metrics.model_latency.labels(model).observe_all(answers.seconds)
            named, tokens, cost = (model,), metrics.model_tokens, metrics.model_cost
        if not answers.reports:
            return
        by_key = self._key_label(key), experiment or model
        for kind, used in (("prompt", answers.prompt), ("completion", answers.completion)):
            tokens.labels(*named, kind).inc(used)
            metrics.key_tokens.labels(*by_key, kind).inc(used)
        price = self._prices().get(model)
        if price is not None:
            usd = price.of(answers.prompt, answers.completion)
            cost.labels(*named).inc(usd)
            metrics.key_cost.labels(*by_key).inc(usd)

    def _request_begun(self, event: RequestBegun) -> None:
        self._in_flight[event.endpoint] += 1

    def _request_finished(self, event: RequestFinished) -> None:
        self._in_flight[event.endpoint] -= 1
        self._finished[event.endpoint, event.status, event.model, event.key] += 1
        if event.overhead_seconds is not None:
            self._overheads.append(event.overhead_seconds)
        self._kept += 1
        if self._kept >= _MOST_KEPT:
            self.flush()

    def _feedback_received(self, event: FeedbackReceived) -> None:
        self._received[event] += 1
        self._kept += 1
        if self._kept >= _MOST_KEPT:
            self.flush()

    def _attempt_ended(self, event: AttemptEnded) -> None:
        """Count a policy's or a model's answer, and a model's failure.

        Other code distinguishes a policy's failures from faulty requests.
        """
        if event.is_streamed and event.begun is not None:
            asked = event.model, event.experiment, event.policy
            self._first_tokens[asked].append(event.begun - event.started)
        if event.ending == "answered":
            named = event.model, event.experiment, event.policy, event.role or "", event.key
            answers, tokens = self._answers[named], event.tokens
            answers.seconds.append(event.ended - event.started)
            if tokens is not None:
                answers.reports += 1
                answers.prompt += tokens[0]
                answers.completion += tokens[1]
        elif event.ending == "failed" and not event.policy:
            self._metrics.model_failures.labels(event.model, event.reason).inc()

    def _ejection_changed(self, event: Ejected | EjectionEnded, *, is_ejected: bool) -> None:
        labels = (event.experiment, event.policy, event.model)
        self._metrics.ejected.labels(*labels).set(is_ejected)
        if is_ejected:
            self._metrics.ejections.labels(*labels).inc()

    def _judging_ended(self, event: PairJudged | NotJudged) -> None:
        if isinstance(event, PairJudged):
            self._metrics.judge_verdicts.labels(event.experiment, event.result, event.kind).inc()
        else:
            self._metrics.judge_dropped.labels(event.experiment, event.reason).inc()
        self._metrics.judge_cost.labels(event.experiment).inc(event.usd)

    def _count(self, counter: Counter, event: GatewayEvent) -> None:
        labels: dict[str, Any] = event._asdict()
        labels.pop("request_id", None)
        labels.pop("answered", None)
        if "key" in labels:
            labels["key"] = self._key_label(labels["key"])
        (counter.labels(**labels) if labels else counter).inc()
