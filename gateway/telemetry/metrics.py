"""Every metric of the gateway, in one object with its own registry.

Counters and histograms live here and may be written from any worker process: with
`PROMETHEUS_MULTIPROC_DIR` set before this module is imported, prometheus_client keeps them in shared files
and `render` adds up all workers. Gauges of experiments are not kept at all: `collectors` derives them from
the experiments' last known state at each scrape, so they cannot go stale or be summed by mistake. The two
gauges kept here (what a living worker is answering and has ejected now) are added up over the workers.

Labels come only from sets an operator declared (names of experiments, policies, signals and API keys) or from
closed sets in the code (reasons, roles, statuses); never from what a caller sent.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import Counter as Numbers
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

disable_created_metrics()  # type: ignore[no-untyped-call]  # one series per counter is enough

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

# Language models take tenths of a second to minutes; the gateway itself takes fractions of a millisecond.
LATENCY_BUCKETS_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
OVERHEAD_BUCKETS_SECONDS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5)


class Durations(Histogram):
    """A histogram that takes many durations at once for little more than the cost of one."""

    def observe_all(self, seconds: Sequence[float]) -> None:
        """Add all of these."""
        self._sum.inc(sum(seconds))
        for bucket, count in Numbers(bisect_left(self._upper_bounds, each) for each in seconds).items():
            self._buckets[bucket].inc(count)


class Metrics:
    """The gateway's counters and histograms. Attribute names follow the metric names without `llmpo_`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self._derived: list[tuple[Collector, bool]] = []
        self._before: list[Callable[[], None]] = []
        self._create_request_metrics()
        self._create_usage_metrics()
        self._create_failure_metrics()
        self._create_feedback_metrics()
        self._create_judge_metrics()
        self._create_limit_metrics()
        self.planner_errors = Counter(
            "llmpo_planner_errors_total",
            "Plans that could not be computed, published or acted on.",
            ["experiment", "reason"],
            registry=self.registry,
        )

        self.webhook_deliveries = Counter(
            "llmpo_webhook_deliveries_total",
            "Times an event was sent to a webhook, by what came of it.",
            ["webhook", "outcome"],
            registry=self.registry,
        )

    def _create_request_metrics(self) -> None:
        self.requests = Counter(
            "llmpo_requests_total", "HTTP requests answered.", ["endpoint", "status"], registry=self.registry
        )
        self.in_flight = Gauge(
            "llmpo_requests_in_flight",
            "HTTP requests begun and not yet answered.",
            ["endpoint"],
            multiprocess_mode="livesum",
            registry=self.registry,
        )
        self.policy_requests = Counter(
            "llmpo_policy_requests_total",
            "Requests served by a policy, as the incumbent or as a candidate of a comparison.",
            ["experiment", "policy", "role"],
            registry=self.registry,
        )
        self.policy_failures = Counter(
            "llmpo_policy_failures_total",
            "Upstream failures of a policy.",
            ["experiment", "policy", "reason"],
            registry=self.registry,
        )
        self.policy_latency = Durations(
            "llmpo_policy_latency_seconds",
            "Time from asking a policy's provider to the end of its answer.",
            ["experiment", "policy"],
            buckets=LATENCY_BUCKETS_SECONDS,
            registry=self.registry,
        )
        self.policy_tokens = Counter(
            "llmpo_policy_tokens_total",
            "Tokens a provider reported for a policy.",
            ["experiment", "policy", "kind"],
            registry=self.registry,
        )
        self.policy_cost = Counter(
            "llmpo_policy_cost_usd_total",
            "Cost in USD of the tokens reported for a policy, if the price is known.",
            ["experiment", "policy"],
            registry=self.registry,
        )
        self.fallbacks = Counter(
            "llmpo_fallbacks_total",
            "Requests answered by the incumbent because something else failed.",
            ["experiment", "reason"],
            registry=self.registry,
        )
        self.gateway_overhead = Durations(
            "llmpo_gateway_overhead_seconds",
            "Time of a request not spent waiting for a provider.",
            buckets=OVERHEAD_BUCKETS_SECONDS,
            registry=self.registry,
        )
        self.sticky_skipped = Counter(
            "llmpo_sticky_skipped_total",
            "Sessions and questions assigned without the shared store because it did not answer in time.",
            ["experiment"],
            registry=self.registry,
        )
        self.asked_again = Counter(
            "llmpo_asked_again_total",
            "Questions asked again that the pair's other policy answered.",
            ["experiment"],
            registry=self.registry,
        )

    def _create_usage_metrics(self) -> None:
        """Create the metrics of models (asked by name or as a fallback) and of API keys."""
        self.model_requests = Counter(
            "llmpo_model_requests_total",
            "Answers of a model asked by its name, or as a fallback.",
            ["model"],
            registry=self.registry,
        )
        self.model_latency = Durations(
            "llmpo_model_latency_seconds",
            "Time from asking a model's provider to the end of its answer.",
            ["model"],
            buckets=LATENCY_BUCKETS_SECONDS,
            registry=self.registry,
        )
        self.model_tokens = Counter(
            "llmpo_model_tokens_total",
            "Tokens a provider reported for a model asked by its name, or as a fallback.",
            ["model", "kind"],
            registry=self.registry,
        )
        self.model_cost = Counter(
            "llmpo_model_cost_usd_total",
            "Cost of those tokens in USD, if the price is known.",
            ["model"],
            registry=self.registry,
        )
        self.time_to_first_token = Durations(
            "llmpo_time_to_first_token_seconds",
            "Time from asking a provider to the first event of a stream.",
            ["experiment", "policy", "model"],
            buckets=LATENCY_BUCKETS_SECONDS,
            registry=self.registry,
        )
        self.key_requests = Counter(
            "llmpo_key_requests_total",
            "Requests of an API key for a model or an experiment.",
            ["key", "model", "status"],
            registry=self.registry,
        )
        self.key_tokens = Counter(
            "llmpo_key_tokens_total",
            "Tokens providers reported for an API key's requests.",
            ["key", "model", "kind"],
            registry=self.registry,
        )
        self.key_cost = Counter(
            "llmpo_key_cost_usd_total",
            "Cost of those tokens in USD, if the price is known.",
            ["key", "model"],
            registry=self.registry,
        )

    def _create_failure_metrics(self) -> None:
        self.model_failures = Counter(
            "llmpo_model_failures_total",
            "Attempts at a model asked by its name, or as a fallback, that failed.",
            ["model", "reason"],
            registry=self.registry,
        )
        self.model_fallbacks = Counter(
            "llmpo_model_fallbacks_total",
            "Requests answered by a fallback of the model.",
            ["model", "fallback", "reason"],
            registry=self.registry,
        )
        self.retries_refused = Counter(
            "llmpo_retries_refused_total",
            "Second attempts not made because too many others failed.",
            registry=self.registry,
        )
        self.ejections = Counter(
            "llmpo_ejections_total",
            "Times a model or policy was ejected after failures in a row.",
            ["experiment", "policy", "model"],
            registry=self.registry,
        )
        self.ejected = Gauge(
            "llmpo_ejected",
            "Processes that have ejected a model or policy at this moment.",
            ["experiment", "policy", "model"],
            multiprocess_mode="livesum",
            registry=self.registry,
        )

    def _create_feedback_metrics(self) -> None:
        self.feedback = Counter(
            "llmpo_feedback_total",
            "Feedback accepted, by what happened to it.",
            ["experiment", "signal", "status"],
            registry=self.registry,
        )
        self.feedback_discarded = Counter(
            "llmpo_feedback_discarded_total",
            "Feedback that was refused or is not counted; nothing was changed.",
            ["reason"],
            registry=self.registry,
        )
        # Created at the start: an alert would miss the first fault of a series that begins with it.
        for reason in ("store_unavailable", "store_unconfirmed", "store_held"):
            self.feedback_discarded.labels(reason)

    def _create_judge_metrics(self) -> None:
        """Create the metrics of judges; none of what they count is in those of requests, policies or keys."""
        self.judge_calls = Counter(
            "llmpo_judge_calls_total",
            "Calls for a judge's sake: its verdicts, and answers that only it sees.",
            ["experiment", "role", "outcome"],
            registry=self.registry,
        )
        self.judge_verdicts = Counter(
            "llmpo_judge_verdicts_total",
            "Pairs of answers that a judge compared, by result and by how it came about.",
            ["experiment", "result", "kind"],
            registry=self.registry,
        )
        self.judge_dropped = Counter(
            "llmpo_judge_dropped_total",
            "Requests drawn for a judge that have no verdict.",
            ["experiment", "reason"],
            registry=self.registry,
        )
        self.judge_cost = Counter(
            "llmpo_judge_cost_usd_total",
            "Cost in USD of a judge's verdicts and of the answers made for it.",
            ["experiment"],
            registry=self.registry,
        )
        self.judge_waiting = Gauge(
            "llmpo_judge_waiting",
            "Requests that wait for a judge at this moment.",
            ["experiment"],
            multiprocess_mode="livesum",
            registry=self.registry,
        )

    def _create_limit_metrics(self) -> None:
        self.authentication_failures = Counter(
            "llmpo_authentication_failures_total",
            "Requests refused because they carried no valid API key.",
            ["reason"],
            registry=self.registry,
        )
        self.limited = Counter(
            "llmpo_limited_total",
            "Requests refused because a limit of their API key was reached.",
            ["key", "limit"],
            registry=self.registry,
        )
        self.limits_skipped = Counter(
            "llmpo_limits_skipped_total",
            "Requests of limited API keys that passed because the store did not answer in time.",
            ["key"],
            registry=self.registry,
        )

    def derive(self, collector: Collector, *, is_lazy: bool = False) -> None:
        """Also expose what `collector` computes at scrape time.

        Args:
            collector: Gives the series.
            is_lazy: What it returns reads only what cannot change any more, so it may be taken in another
                thread. Everything else is computed at the moment of the scrape.
        """
        self._derived.append((collector, is_lazy))

    def before_showing(self, bring: Callable[[], None]) -> None:
        """Register a function to call before metrics are shown; it adds the counts that are still waiting."""
        self._before.append(bring)

    @property
    def are_shared(self) -> bool:
        """Whether other processes of this gateway show these metrics too."""
        return bool(os.environ.get("PROMETHEUS_MULTIPROC_DIR"))

    def rendering(self) -> Callable[[], bytes]:
        """Makes the Prometheus text format of everything, over all worker processes of this gateway.

        Its series are those of this moment. The call takes long if there are many, and may be made in another
        thread.
        """
        for bring in self._before:
            bring()
        shown = CollectorRegistry(auto_describe=False)
        if self.are_shared:
            MultiProcessCollector(shown)  # type: ignore[no-untyped-call]
        else:
            shown.register(self.registry)
        for collector, is_lazy in self._derived:
            families = collector.collect()
            shown.register(_Computed(families if is_lazy else list(families)))
        return partial(generate_latest, shown)

    def render(self) -> bytes:
        """The text at once."""
        return self.rendering()()


class _Computed(Collector):
    """Series that were asked for before."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families
