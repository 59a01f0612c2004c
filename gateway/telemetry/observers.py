"""The hook that counts: what each event adds to which metric."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from prometheus_client import Counter
from prometheus_client.metrics import MetricWrapperBase

from gateway.instrumentation.records import (
    AttemptEnded,
    AuthenticationFailed,
    DecisionTaken,
    Ejected,
    FeedbackDiscarded,
    FeedbackReceived,
    FellBack,
    GatewayEvent,
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
    """The series of one metric by their labels, kept because finding one costs as much as several counts.

    Labels come from sets an operator declared, so this holds no more than the metric itself does.
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
        prices: The prices known at this moment, by experiment and policy.
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
        # These are counted one by one, labelled with the event's fields by their names.
        self._counters: Mapping[type[GatewayEvent], Counter] = {
            RetryRefused: metrics.retries_refused,
            ModelFellBack: metrics.model_fallbacks,
            PolicyFailed: metrics.policy_failures,
            FellBack: metrics.fallbacks,
            StickySkipped: metrics.sticky_skipped,
            AuthenticationFailed: metrics.authentication_failures,
            KeyLimited: metrics.limited,
            LimitsSkipped: metrics.limits_skipped,
            FeedbackReceived: metrics.feedback,
            FeedbackDiscarded: metrics.feedback_discarded,
            PlanningFailed: metrics.planner_errors,
        }

    def __call__(self, event: GatewayEvent) -> None:
        """Count one event."""
        match event:  # the first two come with every request
            case RequestFinished():
                self._requests[event.endpoint, str(event.status)].inc()
                if event.overhead_seconds is not None:
                    self._overhead(event.overhead_seconds)
            case AttemptEnded():
                self._attempt_ended(event)
            case Ejected() | Readmitted():
                self._ejection_changed(event)
            case PlanPublished() | DecisionTaken():
                pass  # shown as they stand in the store (`collectors.py`), not counted
            case _:
                counter, labels = self._counters[type(event)], event._asdict()
                labels.pop("request_id", None)
                (counter.labels(**labels) if labels else counter).inc()

    def _attempt_ended(self, event: AttemptEnded) -> None:
        """Count a policy's answer. Its failures are told apart from the request's own faults elsewhere."""
        if not event.policy:
            if event.ending == "failed":
                self._metrics.model_failures.labels(event.model, event.reason).inc()
        elif event.ending == "answered":
            answered_by = event.experiment, event.policy
            self._policy_requests[*answered_by, event.role or ""].inc()
            self._policy_latency[answered_by].observe(event.ended - event.started)
            if event.tokens is not None:
                prompt, completion = event.tokens
                self._policy_tokens[*answered_by, "prompt"].inc(prompt)
                self._policy_tokens[*answered_by, "completion"].inc(completion)
                price = self._prices().get(answered_by)
                if price is not None:
                    self._policy_cost[answered_by].inc(price.of(prompt, completion))

    def _ejection_changed(self, event: Ejected | Readmitted) -> None:
        labels, is_ejected = (event.experiment, event.policy, event.model), isinstance(event, Ejected)
        self._metrics.ejected.labels(*labels).set(is_ejected)
        if is_ejected:
            self._metrics.ejections.labels(*labels).inc()
