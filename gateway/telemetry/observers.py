"""The hook that counts: what each event adds to which metric."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from prometheus_client.metrics import MetricWrapperBase

from gateway.instrumentation.records import (
    AttemptEnded,
    AuthenticationFailed,
    DecisionTaken,
    Ejected,
    Event,
    FeedbackDiscarded,
    FeedbackReceived,
    FellBack,
    KeyLimited,
    LimitsSkipped,
    ModelFellBack,
    PlanningFailed,
    PlanPublished,
    PolicyFailed,
    Readmitted,
    RequestFinished,
    RetryRefused,
    StickySkipped,
)
from gateway.telemetry.metrics import Metrics


class Series(dict[tuple[str, ...], Any]):
    """The series of one metric by their labels, kept: finding one costs as much as counting several times.

    Labels come from sets an operator declared, so there are no more of them than there are series.
    """

    def __init__(self, metric: MetricWrapperBase) -> None:
        super().__init__()
        self._metric = metric

    def __missing__(self, labels: tuple[str, ...]) -> Any:
        series = self[labels] = self._metric.labels(*labels)
        return series


class Price(Protocol):
    """What tokens cost."""

    def of(self, prompt: int, completion: int) -> float:
        """USD for so many tokens."""
        ...


class MetricsHook:
    """A hook that writes to Prometheus counters.

    Args:
        metrics: Where it writes.
        prices: What is known of prices now, by experiment and policy.
    """

    def __init__(
        self, metrics: Metrics, prices: Callable[[], Mapping[tuple[str, str], Price]] = dict
    ) -> None:
        self._metrics = metrics
        self._prices = prices
        self._policy_cost = Series(metrics.policy_cost)
        self._requests = Series(metrics.requests)
        self._policy_requests = Series(metrics.policy_requests)
        self._policy_latency = Series(metrics.policy_latency)
        self._policy_tokens = Series(metrics.policy_tokens)
        self._overhead = metrics.gateway_overhead.observe
        self._counting: Mapping[type, Callable[[Any], None]] = {
            **self._of_requests(),
            **self._of_keys_and_feedback(),
            # Plans and decisions are shown as they stand in the store (`collectors.py`), not counted.
            PlanPublished: _leave_out,
            DecisionTaken: _leave_out,
        }

    def __call__(self, event: Event) -> None:
        """Count one event."""
        self._counting[type(event)](event)

    def _of_requests(self) -> dict[type, Callable[[Any], None]]:
        return {
            RequestFinished: self._request_finished,
            AttemptEnded: self._attempt_ended,
            RetryRefused: self._retry_refused,
            ModelFellBack: self._model_fell_back,
            PolicyFailed: self._policy_failed,
            FellBack: self._fell_back,
            StickySkipped: self._sticky_skipped,
            Ejected: self._ejected,
            Readmitted: self._readmitted,
        }

    def _of_keys_and_feedback(self) -> dict[type, Callable[[Any], None]]:
        return {
            AuthenticationFailed: self._authentication_failed,
            KeyLimited: self._key_limited,
            LimitsSkipped: self._limits_skipped,
            FeedbackReceived: self._feedback_received,
            FeedbackDiscarded: self._feedback_discarded,
            PlanningFailed: self._planning_failed,
        }

    def _request_finished(self, event: RequestFinished) -> None:
        self._requests[event.endpoint, str(event.status)].inc()
        if event.overhead_seconds is not None:
            self._overhead(event.overhead_seconds)

    def _attempt_ended(self, event: AttemptEnded) -> None:
        """A policy's answers are counted; its failures only when told apart from the request's own faults."""
        if not event.policy:
            if event.ending == "failed":
                self._metrics.model_failures.labels(event.model, event.reason).inc()
        elif event.ending == "answered":
            experiment, policy = event.experiment, event.policy
            self._policy_requests[experiment, policy, event.role or ""].inc()
            self._policy_latency[experiment, policy].observe(event.ended - event.started)
            if event.tokens is not None:
                self._count_tokens(experiment, policy, *event.tokens)

    def _count_tokens(self, experiment: str, policy: str, prompt: int, completion: int) -> None:
        self._policy_tokens[experiment, policy, "prompt"].inc(prompt)
        self._policy_tokens[experiment, policy, "completion"].inc(completion)
        price = self._prices().get((experiment, policy))
        if price is not None:
            self._policy_cost[experiment, policy].inc(price.of(prompt, completion))

    def _retry_refused(self, _event: RetryRefused) -> None:
        self._metrics.retries_refused.inc()

    def _model_fell_back(self, event: ModelFellBack) -> None:
        self._metrics.model_fallbacks.labels(event.model, event.fallback, event.reason).inc()

    def _policy_failed(self, event: PolicyFailed) -> None:
        self._metrics.policy_failures.labels(event.experiment, event.policy, event.reason).inc()

    def _fell_back(self, event: FellBack) -> None:
        self._metrics.fallbacks.labels(event.experiment, event.reason).inc()

    def _sticky_skipped(self, event: StickySkipped) -> None:
        self._metrics.sticky_skipped.labels(event.experiment).inc()

    def _ejected(self, event: Ejected) -> None:
        labels = (event.experiment, event.policy, event.model)
        self._metrics.ejections.labels(*labels).inc()
        self._metrics.ejected.labels(*labels).set(1)

    def _readmitted(self, event: Readmitted) -> None:
        self._metrics.ejected.labels(event.experiment, event.policy, event.model).set(0)

    def _authentication_failed(self, event: AuthenticationFailed) -> None:
        self._metrics.authentication_failures.labels(event.reason).inc()

    def _key_limited(self, event: KeyLimited) -> None:
        self._metrics.limited.labels(event.key, event.limit).inc()

    def _limits_skipped(self, event: LimitsSkipped) -> None:
        self._metrics.limits_skipped.labels(event.key).inc()

    def _feedback_received(self, event: FeedbackReceived) -> None:
        self._metrics.feedback.labels(event.experiment, event.signal, event.status).inc()

    def _feedback_discarded(self, event: FeedbackDiscarded) -> None:
        self._metrics.feedback_discarded.labels(event.reason).inc()

    def _planning_failed(self, event: PlanningFailed) -> None:
        self._metrics.planner_errors.labels(event.experiment, event.reason).inc()


def _leave_out(_event: Event) -> None:
    """Count nothing."""
