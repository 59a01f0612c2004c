"""Counters, in one process and in several."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import get_args

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
from gateway.running.background import background
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.observers import KEYS_SHOWN, NOT_COUNTED, OTHER_KEYS, MetricsHook
from gateway.upstream.prices import TokenPrices

TIMES = (10.0, 10.5, 11.5)
ANSWERED = AttemptEnded(
    "req_1", "large", "support", "warm", "candidate", *TIMES, "answered", "", (10, 20), "app", False
)
ASKED = AttemptEnded("req_1", "small", "", "", None, *TIMES, "answered", "", (3, 4), "app", True)
FAILED = ASKED._replace(begun=None, ending="failed", reason="timeout", tokens=None)
EVENTS: tuple[GatewayEvent, ...] = (
    RequestBegun("req_1", "/v1/chat/completions"),
    RequestBegun("req_2", "/v1/chat/completions"),
    RequestBegun("req_3", "/v1/feedback"),
    Routed("req_1", "support", ("warm",), ""),
    RequestFinished("req_1", "/v1/chat/completions", 200, 9.0, 12.0, 0.002, "", "support", "app"),
    RequestFinished("req_2", "/v1/chat/completions", 502, 9.0, 12.0, None, "upstream_cut", "small", "app"),
    ASKED,
    ANSWERED,
    ANSWERED._replace(model="unpriced", policy="unpriced"),
    ANSWERED._replace(policy="silent", role="incumbent", tokens=None),
    ANSWERED._replace(begun=None, ending="failed", reason="cut", tokens=None),
    FAILED,
    FAILED._replace(ending="refused", reason="status_4xx"),
    FAILED._replace(ending="abandoned", reason=""),
    LeftAlone("req_1", "large", "support", "warm"),
    PolicyFailed("req_1", "support", "warm", "timeout"),
    FellBack("req_1", "support", "timeout", "incumbent"),
    StickySkipped("req_1", "support"),
    AskedAgain("support"),
    JudgeCalled("support", "judge", "answered"),
    PairJudged("support", "win", "agreed", 0.25),
    NotJudged("support", "spent"),
    JudgeQueueChanged("support", 3),
    ModelFellBack("req_1", "small", "spare", "timeout"),
    RetryRefused("req_1"),
    AuthenticationFailed("unknown"),
    KeyLimited("req_1", "app", "tokens_per_minute"),
    LimitsSkipped("req_1", "app"),
    Ejected("small", "", ""),
    Ejected("large", "support", "warm"),
    EjectionEnded("large", "support", "warm"),
    FeedbackReceived("support", "thumb", "counted"),
    FeedbackDiscarded("expired_id"),
    PlanPublished("support", 3, 100, 0.5),
    PlanningFailed("support", "worker_died"),
    DecisionTaken("support", 1, "promoted", "warm"),
    GuardrailActed("support", "error_rate", "warm", "ejected"),
    MovedByHand("support", 1, "rollback", "ops", "refunds rose", "rolled_back", "plain"),
    WebhookAttempted("chat", "delivered"),
)
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


def test_events_become_series() -> None:
    """What happens knows no metrics library; this is where it is counted."""
    metrics = Metrics()
    hook = MetricsHook(metrics, lambda: {"large": TokenPrices(0.5, 2.0), "small": TokenPrices(1.0, 1.0)})
    for event in EVENTS:
        hook(event)

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
        'llmpo_requests_total{endpoint="/v1/chat/completions",status="502"} 1.0',
        'llmpo_policy_requests_total{experiment="support",policy="silent",role="incumbent"} 1.0',
        'llmpo_feedback_total{experiment="support",signal="thumb",status="counted"} 1.0',
        'llmpo_feedback_discarded_total{reason="expired_id"} 1.0',
        'llmpo_planner_errors_total{experiment="support",reason="worker_died"} 1.0',
        "llmpo_gateway_overhead_seconds_count 1.0",
        "llmpo_gateway_overhead_seconds_sum 0.002",
        'llmpo_sticky_skipped_total{experiment="support"} 1.0',
        'llmpo_judge_calls_total{experiment="support",outcome="answered",role="judge"} 1.0',
        'llmpo_judge_verdicts_total{experiment="support",kind="agreed",result="win"} 1.0',
        'llmpo_judge_dropped_total{experiment="support",reason="spent"} 1.0',
        'llmpo_judge_cost_usd_total{experiment="support"} 0.25',
        'llmpo_judge_waiting{experiment="support"} 3.0',
        'llmpo_model_failures_total{model="small",reason="timeout"} 1.0',
        'llmpo_model_fallbacks_total{fallback="spare",model="small",reason="timeout"} 1.0',
        "llmpo_retries_refused_total 1.0",
        'llmpo_authentication_failures_total{reason="unknown"} 1.0',
        'llmpo_limited_total{key="app",limit="tokens_per_minute"} 1.0',
        'llmpo_limits_skipped_total{key="app"} 1.0',
        'llmpo_requests_in_flight{endpoint="/v1/chat/completions"} 0.0',
        'llmpo_requests_in_flight{endpoint="/v1/feedback"} 1.0',
        'llmpo_model_requests_total{model="small"} 1.0',
        'llmpo_model_latency_seconds_sum{model="small"} 1.5',
        'llmpo_model_tokens_total{kind="completion",model="small"} 4.0',
        'llmpo_model_cost_usd_total{model="small"} 7.0',
        'llmpo_time_to_first_token_seconds_sum{experiment="",model="small",policy=""} 0.5',
        'llmpo_key_requests_total{key="app",model="support",status="200"} 1.0',
        'llmpo_key_requests_total{key="app",model="small",status="502"} 1.0',
        'llmpo_key_tokens_total{key="app",kind="prompt",model="support"} 20.0',
        'llmpo_key_tokens_total{key="app",kind="prompt",model="small"} 3.0',
        'llmpo_key_cost_usd_total{key="app",model="support"} 45.0',
        'llmpo_ejections_total{experiment="",model="small",policy=""} 1.0',
        'llmpo_ejected{experiment="",model="small",policy=""} 1.0',
        'llmpo_ejections_total{experiment="support",model="large",policy="warm"} 1.0',
        'llmpo_ejected{experiment="support",model="large",policy="warm"} 0.0',
    ):
        assert line in shown
    assert 'policy="unpriced"} ' not in shown.partition("llmpo_policy_cost_usd_total{")[2].partition("# ")[0]


def test_many_durations_at_once_are_shown_as_one_by_one() -> None:
    """Durations fall into the same buckets, including those on a bound and beyond the last bound."""
    durations = (0.0001, 0.0002, 0.00025, 0.01, 0.01, 7.0)
    together, one_by_one = Metrics(), Metrics()
    together.gateway_overhead.observe_all(durations)
    for each in durations:
        one_by_one.gateway_overhead.observe(each)
    assert together.render() == one_by_one.render()


def test_what_waits_to_be_added_is_bounded() -> None:
    """The memory stays bounded even if metrics are not asked for during months of requests."""
    metrics = Metrics()
    hook = MetricsHook(metrics)
    for _ in range(1_500):
        hook(RequestFinished("r", "/v1/chat/completions", 200, 1.0, 2.0, 0.1, "", "small", "app"))
    labels = {"endpoint": "/v1/chat/completions", "status": "200"}
    assert metrics.registry.get_sample_value("llmpo_requests_total", labels) == 1_000


async def test_numbers_for_other_processes_are_brought_at_the_latest_when_the_task_ends() -> None:
    """A worker that ends has counted everything it answered."""
    metrics = Metrics()
    hook = MetricsHook(metrics)
    async with background("metrics", hook.run):
        await asyncio.sleep(0)
        hook(RequestFinished("r", "/v1/chat/completions", 200, 1.0, 2.0, 0.1, "", "small", "app"))
    labels = {"endpoint": "/v1/chat/completions", "status": "200"}
    assert metrics.registry.get_sample_value("llmpo_requests_total", labels) == 1


def test_only_streams_have_a_first_token() -> None:
    """The first byte of a whole answer is there together with its last."""
    metrics = Metrics()
    hook = MetricsHook(metrics)
    for is_streamed in (True, False, True):
        hook(ASKED._replace(is_streamed=is_streamed))
    line = 'llmpo_time_to_first_token_seconds_count{experiment="",model="small",policy=""} 2.0'
    assert line in metrics.render().decode()


def test_keys_beyond_a_bound_share_a_label() -> None:
    """Keys can be made while gateways run, and series are never given back."""
    metrics = Metrics()
    hook = MetricsHook(metrics)
    for number in range(KEYS_SHOWN + 20):
        hook(RequestFinished("r", "/v1/chat/completions", 200, 1.0, 2.0, None, "", "small", f"key{number}"))
    hook(RequestFinished("r", "/v1/chat/completions", 200, 1.0, 2.0, None, "", "small", "key0"))

    shown = metrics.render().decode()
    assert shown.count("llmpo_key_requests_total{") == KEYS_SHOWN + 1
    assert f'llmpo_key_requests_total{{key="{OTHER_KEYS}",model="small",status="200"}} 20.0' in shown
    assert 'llmpo_key_requests_total{key="key0",model="small",status="200"} 2.0' in shown


def test_every_kind_of_event_is_known_to_the_hook() -> None:
    """One that is not would be counted nowhere."""
    counted = MetricsHook(Metrics()).handlers.keys()
    assert counted | NOT_COUNTED == set(get_args(GatewayEvent)) == {type(event) for event in EVENTS}
    assert not counted & NOT_COUNTED


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
