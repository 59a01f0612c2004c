"""Counters, in one process and in several."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from gateway.serving.ejection import Target
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.observers import MetricsObserver
from gateway.upstream.prices import TokenPrices

WRITE = """
from gateway.telemetry.metrics import Metrics
metrics = Metrics()
metrics.requests.labels("/v1/chat/completions", "200").inc()
metrics.gateway_overhead.observe(0.001)
"""


def test_gateways_in_one_process_do_not_share_numbers() -> None:
    """Each has its own registry."""
    first, second = Metrics(), Metrics()
    first.requests.labels("/v1/models", "200").inc()
    assert b'status="200"} 1.0' in first.render()
    assert b'status="200"' not in second.render()


def test_observer_writes_what_it_hears() -> None:
    """The request path knows no metrics library; this is where its words become series."""
    metrics = Metrics()
    observer = MetricsObserver(metrics, lambda: {("support", "warm"): TokenPrices(0.5, 2.0)})
    observer.request_finished("/v1/chat/completions", 200)
    observer.policy_answered("support", "warm", "candidate", 1.5)
    observer.policy_tokens("support", "warm", 10, 20)
    observer.policy_tokens("support", "unpriced", 10, 20)
    observer.policy_failed("support", "warm", "timeout")
    observer.fell_back("support", "timeout")
    observer.overhead(0.002)
    observer.sticky_skipped("support")
    observer.model_failed("small", "timeout")
    observer.model_fell_back("small", "spare", "timeout")
    observer.retry_refused()
    observer.key_limited("app", "tokens_per_minute")
    observer.limits_skipped("app")
    observer.target_ejected(Target("small"))
    observer.target_ejected(Target("large", "support", "warm"))
    observer.target_readmitted(Target("large", "support", "warm"))

    shown = metrics.render().decode()
    for line in (
        'llmpo_requests_total{endpoint="/v1/chat/completions",status="200"} 1.0',
        'llmpo_policy_requests_total{experiment="support",policy="warm",role="candidate"} 1.0',
        'llmpo_policy_latency_seconds_sum{experiment="support",policy="warm"} 1.5',
        'llmpo_policy_tokens_total{experiment="support",kind="prompt",policy="warm"} 10.0',
        'llmpo_policy_tokens_total{experiment="support",kind="completion",policy="warm"} 20.0',
        'llmpo_policy_cost_usd_total{experiment="support",policy="warm"} 45.0',
        'llmpo_policy_failures_total{experiment="support",policy="warm",reason="timeout"} 1.0',
        'llmpo_fallbacks_total{experiment="support",reason="timeout"} 1.0',
        "llmpo_gateway_overhead_seconds_count 1.0",
        'llmpo_sticky_skipped_total{experiment="support"} 1.0',
        'llmpo_model_failures_total{model="small",reason="timeout"} 1.0',
        'llmpo_model_fallbacks_total{fallback="spare",model="small",reason="timeout"} 1.0',
        "llmpo_retries_refused_total 1.0",
        'llmpo_limited_total{key="app",limit="tokens_per_minute"} 1.0',
        'llmpo_limits_skipped_total{key="app"} 1.0',
        'llmpo_ejections_total{experiment="",model="small",policy=""} 1.0',
        'llmpo_ejected{experiment="",model="small",policy=""} 1.0',
        'llmpo_ejections_total{experiment="support",model="large",policy="warm"} 1.0',
        'llmpo_ejected{experiment="support",model="large",policy="warm"} 0.0',
    ):
        assert line in shown


def test_workers_add_up_and_the_dead_still_count(tmp_path: Path) -> None:
    """Counters live in shared files: three processes that ended are three requests."""
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    for _ in range(3):
        subprocess.run([sys.executable, "-c", WRITE], env=environment, check=True)
    read = "from gateway.telemetry.metrics import Metrics; print(Metrics().render().decode())"
    shown = subprocess.run(
        [sys.executable, "-c", read], env=environment, check=True, capture_output=True, text=True
    ).stdout

    assert 'llmpo_requests_total{endpoint="/v1/chat/completions",status="200"} 3.0' in shown
    assert "llmpo_gateway_overhead_seconds_count 3.0" in shown
