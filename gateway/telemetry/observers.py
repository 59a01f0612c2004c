"""The hook that counts: what each event adds to which metric."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from prometheus_client import Counter, Histogram
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
    LeftAlone,
    LimitsSkipped,
    ModelFellBack,
    PlanningFailed,
    PlanPublished,
    PolicyFailed,
    Readmitted,
    RequestBegun,
    RequestFinished,
    RetryRefused,
    Routed,
    StickySkipped,
)
from gateway.telemetry.metrics import Metrics

KEYS_SHOWN: Final = 500
OTHER_KEYS: Final = "(other)"
"""The label of all keys beyond them; no key can have that name."""


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


class KeyNames:
    """Labels for the names of API keys, up to a bound: keys can be made while gateways run."""

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
    """What tokens cost."""

    def of(self, prompt: int, completion: int) -> float:
        """USD for so many tokens."""
        ...


class _Usage:
    """What policies, or models, answered."""

    __slots__ = ("cost", "latency", "requests", "tokens")

    def __init__(self, requests: Counter, latency: Histogram, tokens: Counter, cost: Counter) -> None:
        self.requests = Series(requests)
        self.latency = Series(latency)
        self.tokens = Series(tokens)
        self.cost = Series(cost)


class MetricsHook:
    """A hook that writes to Prometheus counters.

    Args:
        metrics: Where it writes.
        prices: The prices known at this moment, by model.
    """

    def __init__(self, metrics: Metrics, prices: Callable[[], Mapping[str, Price]] = dict) -> None:
        self._metrics = metrics
        self._prices = prices
        self._key_label = KeyNames()
        self._requests = Series(metrics.requests)
        self._in_flight = Series(metrics.in_flight)
        self._of_policies = _Usage(
            metrics.policy_requests, metrics.policy_latency, metrics.policy_tokens, metrics.policy_cost
        )
        self._of_models = _Usage(
            metrics.model_requests, metrics.model_latency, metrics.model_tokens, metrics.model_cost
        )
        self._time_to_first_token = Series(metrics.time_to_first_token)
        self._key_requests = Series(metrics.key_requests)
        self._key_tokens = Series(metrics.key_tokens)
        self._key_cost = Series(metrics.key_cost)
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
        match event:  # the first three come with every request
            case RequestBegun():
                self._in_flight[(event.endpoint,)].inc()
            case RequestFinished():
                self._request_finished(event)
            case AttemptEnded():
                self._attempt_ended(event)
            case Ejected() | Readmitted():
                self._ejection_changed(event)
            case Routed() | LeftAlone():
                pass  # what they lead to is counted
            case PlanPublished() | DecisionTaken():
                pass  # shown as they stand in the store (`collectors.py`), not counted
            case _:
                counter, labels = self._counters[type(event)], event._asdict()
                labels.pop("request_id", None)
                if "key" in labels:
                    labels["key"] = self._key_label(labels["key"])
                (counter.labels(**labels) if labels else counter).inc()

    def _request_finished(self, event: RequestFinished) -> None:
        self._in_flight[(event.endpoint,)].dec()
        status = str(event.status)
        self._requests[event.endpoint, status].inc()
        if event.model:
            self._key_requests[self._key_label(event.key), event.model, status].inc()
        if event.overhead_seconds is not None:
            self._overhead(event.overhead_seconds)

    def _attempt_ended(self, event: AttemptEnded) -> None:
        """Count a policy's or a model's answer, and a model's failure.

        A policy's failures are told apart from the request's own faults elsewhere.
        """
        if event.is_streamed and event.begun is not None:
            asked = event.experiment, event.policy, event.model
            self._time_to_first_token[asked].observe(event.begun - event.started)
        if event.ending == "answered":
            if event.policy:
                self._answered(
                    event, self._of_policies, (event.experiment, event.policy), (event.role or "",)
                )
            else:
                self._answered(event, self._of_models, (event.model,), ())
        elif event.ending == "failed" and not event.policy:
            self._metrics.model_failures.labels(event.model, event.reason).inc()

    def _answered(
        self, event: AttemptEnded, of: _Usage, named: tuple[str, ...], role: tuple[str, ...]
    ) -> None:
        of.requests[named + role].inc()
        of.latency[named].observe(event.ended - event.started)
        if event.tokens is None:
            return
        by_key = self._key_label(event.key), event.experiment or event.model
        for kind, tokens in zip(("prompt", "completion"), event.tokens, strict=True):
            of.tokens[*named, kind].inc(tokens)
            self._key_tokens[*by_key, kind].inc(tokens)
        price = self._prices().get(event.model)
        if price is not None:
            usd = price.of(*event.tokens)
            of.cost[named].inc(usd)
            self._key_cost[by_key].inc(usd)

    def _ejection_changed(self, event: Ejected | Readmitted) -> None:
        labels, is_ejected = (event.experiment, event.policy, event.model), isinstance(event, Ejected)
        self._metrics.ejected.labels(*labels).set(is_ejected)
        if is_ejected:
            self._metrics.ejections.labels(*labels).inc()
