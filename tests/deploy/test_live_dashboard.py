"""Every query of the dashboard against a real Prometheus that scrapes real gateways during an experiment."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from policy_store.connect import connect
from policy_store.log_records import Result
from policy_store.report_records import Report
from policy_store.roles import Role
from policy_store.store import PolicyStore
from tests.deploy.deployment import EXPERIMENT, MODEL, TALK, Deployment, deployment, wait_for
from tests.deploy.tools import ROOT, Query, annotation_queries, dashboards, panel_queries, run

PANELS = [query for board in dashboards() for query in panel_queries(board)]
ANNOTATIONS = [query for board in dashboards() for query in annotation_queries(board)]


@dataclass(frozen=True)
class Recording:
    """What Prometheus answered about one experiment, from its start to its end."""

    series: dict[str, list[dict[str, Any]]]  # by expression, over the whole time
    at_the_end: dict[str, list[dict[str, Any]]]
    experiment: dict[str, Any]
    metrics: str
    rules: list[dict[str, Any]]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """An experiment with failing requests, refused feedback and a store that stalls, until its promotion."""
    return asyncio.run(_record(tmp_path_factory.mktemp("deployment")))


async def _record(folder: Path) -> Recording:
    started = time.time()
    async with deployment(folder) as running:
        await wait_for(lambda: _has(running, "llmpo_experiment_allocation"), "a plan in Prometheus")
        await _judge(running)
        for _ in range(8):
            await running.talk()
        await _stall_the_store(running)
        await running.report("not-an-id")
        await wait_for(lambda: _is(running, "watching"), "the promotion, and its watch")
        experiment = await running.experiment()
        # Replicas are scraped one after the other: for a moment they seem to disagree.
        ended = f"count(llmpo_experiment_comparisons offset 2s == {experiment['comparisons']}) == 2"
        await wait_for(lambda: _has(running, ended), "both replicas to have shown the end for a while")
        announced = 'ALERTS{alertname="LlmpoPromoted", alertstate="firing"}'
        await wait_for(lambda: _has(running, announced), "the promotion to be announced")
        agreement = f'llmpo_experiment_signal_agreement{{experiment="{TALK}"}} offset 2s'
        await wait_for(lambda: _has(running, agreement), "what was found and rated to be old enough")
        await running.archive(folder / "archive")
        archived = f'llmpo_archive_lag_seconds{{experiment="{EXPERIMENT}"}} offset 2s'
        await wait_for(lambda: _has(running, archived), "the archive to have been seen for a while")
        filled = [_filled(query) for query in PANELS + ANNOTATIONS]
        return Recording(
            {text: await running.query_range(text, started, time.time()) for text in filled},
            {text: await running.query(text) for text in filled},
            experiment,
            await running.metrics(),
            await running.rules(),
        )


def _filled(query: Query) -> str:
    is_of_answers = any(part in query.expression for part in ("experiment_signal", "reporting_ratio"))
    return query.fill(experiment=TALK if is_of_answers else EXPERIMENT)


async def _judge(running: Deployment) -> None:
    """A verdict that informs the forecasts."""
    store = PolicyStore(connect(running.redis.url, timeout_seconds=5), timeout_seconds=5)
    verdict = Report(EXPERIMENT, 1, "judged", 0, 1, "judge", "win", 3600, informs=Role.JUDGE)
    await store.record_preference(verdict, Result.WIN)
    await store.aclose()


async def _stall_the_store(running: Deployment) -> None:
    running.redis.freeze()
    try:
        await wait_for(lambda: _has(running, "llmpo_store_up == 0"), "a gateway to notice")
        await running.ask("a-session")
        await wait_for(lambda: _answers(running), "an answer of the model, whose provider fails now and then")
        await wait_for(lambda: _has(running, "llmpo_planner_errors_total"), "planning to fail")
    finally:
        running.redis.thaw()


async def _answers(running: Deployment) -> bool:
    return (await running.ask_model(MODEL)).ok


async def _is(running: Deployment, state: str) -> bool:
    return bool((await running.experiment())["state"] == state)


async def _has(running: Deployment, expression: str) -> bool:
    try:
        return bool(await running.query(expression))
    except aiohttp.ClientError:  # Prometheus is starting
        return False


def _value(recording: Recording, place: str) -> list[dict[str, Any]]:
    query = next(query for query in PANELS if query.place == place)
    return recording.at_the_end[query.fill(experiment=EXPERIMENT)]


@pytest.mark.parametrize("query", PANELS + ANNOTATIONS, ids=lambda query: query.place)
def test_every_query_returns_data(recording: Recording, query: Query) -> None:
    """No panel stays empty through an experiment in which everything happened, and no query is an error."""
    assert recording.series[_filled(query)]


def test_two_replicas_do_not_count_twice(recording: Recording) -> None:
    """What the dashboard shows is what the gateway's own API says, however many replicas expose it."""
    said = recording.experiment
    total = [float(series["value"][1]) for series in _value(recording, "Comparisons A")]
    by_pair = sum(float(series["value"][1]) for series in _value(recording, "Comparisons by pair A"))
    reachable = _value(recording, "Store reachable, by replica A")

    assert total == [said["comparisons"]]
    assert by_pair == said["comparisons"]
    assert len(reachable) == 2


def test_the_allocation_is_a_distribution_at_all_times(recording: Recording) -> None:
    """The shares add up to one even while one replica has a new plan and the other has the old one."""
    allocation = next(query for query in PANELS if query.place == "Allocation A")
    totals: dict[float, float] = {}
    for series in recording.series[allocation.fill(experiment=EXPERIMENT)]:
        for at, share in series["values"]:
            totals[at] = totals.get(at, 0) + float(share)

    assert list(totals.values()) == pytest.approx([1] * len(totals))


def test_the_end_is_shown(recording: Recording) -> None:
    """State, incumbent and number of promotions are the decided ones."""
    states = [series["metric"]["state"] for series in _value(recording, "State A")]
    serving = [series["metric"]["policy"] for series in _value(recording, "Serving now A")]
    promotions = [series["value"][1] for series in _value(recording, "Promotions A")]

    assert states == ["watching"]
    assert serving == [recording.experiment["incumbent"]] == ["stepwise"]
    assert promotions == ["1"]


def test_the_promotion_is_marked_once(recording: Recording) -> None:
    """One mark, for the policy that was promoted, at a time when the experiment had ended."""
    promoted, ended = (recording.series[query.fill(experiment=EXPERIMENT)] for query in ANNOTATIONS)

    assert [series["metric"] for series in promoted] == [{"policy": "stepwise"}]
    states = {series["metric"]["state"] for series in ended}
    assert {"watching"} <= states <= {"promoted", "watching"}  # a scrape may miss the first


def test_every_rule_is_evaluated_without_error(recording: Recording) -> None:
    """Recording rules and alerts work on the gateway's real series, and the promotion is announced."""
    assert {rule["name"]: rule.get("lastError") for rule in recording.rules if rule["health"] != "ok"} == {}
    firing = {rule["name"] for rule in recording.rules if rule.get("state") == "firing"}
    assert "LlmpoPromoted" in firing


def test_metrics_are_what_the_documentation_lists(recording: Recording) -> None:
    """Every series is described in the operators' tables, and every described one exists."""
    exposed = set(re.findall(r"^# TYPE (\S+)", recording.metrics, re.MULTILINE))
    described = re.findall(r"^\| `(llmpo_\w+)`", (ROOT / "docs/operations.md").read_text(), re.MULTILINE)

    assert len(set(described)) == len(described)
    assert set(described) == exposed


def test_metrics_have_no_lint(recording: Recording) -> None:
    """Prometheus' own linter finds nothing to say about names, units and help texts."""
    verdict = run("promtool", "check", "metrics", input=recording.metrics)

    assert (verdict.returncode, verdict.stdout) == (0, "")


def test_labels_hold_only_declared_names(recording: Recording) -> None:
    """No label carries what a caller sent."""
    labels = dict(re.findall(r'(\w+)="([^"]*)"', recording.metrics))

    assert "a-session" not in recording.metrics
    assert labels.keys() <= {
        *("endpoint", "status", "experiment", "policy", "role", "reason", "kind", "signal", "state"),
        *("first", "second", "result", "rival", "source", "le", "hash"),
        *("key", "model", "version", "python", "revision", "bound", "loss", "promise", "guardrail"),
    }
