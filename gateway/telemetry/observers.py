"""Counts what the request path reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from prometheus_client.metrics import MetricWrapperBase

from gateway.serving.ejection import Target
from gateway.serving.observer import Role
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


class MetricsObserver:
    """A `RequestObserver` that writes to Prometheus counters.

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

    def request_finished(self, endpoint: str, status: int) -> None:
        """A request was answered."""
        self._requests[endpoint, str(status)].inc()

    def policy_answered(self, experiment: str, policy: str, role: Role, latency_seconds: float) -> None:
        """A policy's answer is complete."""
        self._policy_requests[experiment, policy, role].inc()
        self._policy_latency[experiment, policy].observe(latency_seconds)

    def policy_tokens(self, experiment: str, policy: str, prompt: int, completion: int) -> None:
        """The provider reported how many tokens an answer used."""
        self._policy_tokens[experiment, policy, "prompt"].inc(prompt)
        self._policy_tokens[experiment, policy, "completion"].inc(completion)
        price = self._prices().get((experiment, policy))
        if price is not None:
            self._policy_cost[experiment, policy].inc(price.of(prompt, completion))

    def policy_failed(self, experiment: str, policy: str, reason: str) -> None:
        """A policy could not answer, or broke off."""
        self._metrics.policy_failures.labels(experiment, policy, reason).inc()

    def fell_back(self, experiment: str, reason: str) -> None:
        """The incumbent answered instead."""
        self._metrics.fallbacks.labels(experiment, reason).inc()

    def model_failed(self, model: str, reason: str) -> None:
        """A model asked by its name did not answer."""
        self._metrics.model_failures.labels(model, reason).inc()

    def model_fell_back(self, model: str, fallback: str, reason: str) -> None:
        """A fallback answered in a model's place."""
        self._metrics.model_fallbacks.labels(model, fallback, reason).inc()

    def retry_refused(self) -> None:
        """A second attempt was not made."""
        self._metrics.retries_refused.inc()

    def target_ejected(self, target: Target) -> None:
        """Requests go elsewhere from now on."""
        labels = (target.experiment, target.policy, target.model)
        self._metrics.ejections.labels(*labels).inc()
        self._metrics.ejected.labels(*labels).set(1)

    def target_readmitted(self, target: Target) -> None:
        """It takes part again."""
        self._metrics.ejected.labels(target.experiment, target.policy, target.model).set(0)

    def overhead(self, seconds: float) -> None:
        """Time a request spent in the gateway itself."""
        self._overhead(seconds)

    def sticky_skipped(self, experiment: str) -> None:
        """A session was assigned without the store."""
        self._metrics.sticky_skipped.labels(experiment).inc()

    def key_limited(self, key: str, limit: str) -> None:
        """A request was refused because a limit of its key is reached."""
        self._metrics.limited.labels(key, limit).inc()

    def limits_skipped(self, key: str) -> None:
        """A request passed because its key's limits could not be accounted for."""
        self._metrics.limits_skipped.labels(key).inc()
