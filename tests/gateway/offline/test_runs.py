"""Whole runs over real HTTP: the best policy is found, each answer is paid for once, the log proves it."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from pathlib import Path

import pytest

from gateway.offline.errors import BudgetSpentError, CallFailedError, OfflineError
from gateway.offline.report import headline
from gateway.proof.recorded import read_log
from gateway.proof.verification import verify
from tests.gateway.fake_upstream import Exchange, FakeUpstream, answer, status
from tests.gateway.offline.solving import guesser, optimized, rows, solver, write_config


@pytest.fixture
def solvers(upstream: FakeUpstream) -> FakeUpstream:
    """Models of known skill."""
    for model, percent in (("weak", 20), ("fair", 50), ("good", 95)):
        upstream.on(model, solver(percent))
    return upstream


async def test_best_policy_is_certified(solvers: FakeUpstream, tmp_path: Path) -> None:
    """The one that solves most is promoted, with far fewer answers than asking everything takes."""
    outcome, _ = await optimized(write_config(tmp_path, solvers.api_base), tmp_path / "out")

    assert (outcome.summary["outcome"], outcome.summary["champion"]) == ("no_worse", "good")
    assert outcome.summary["answers"] < outcome.summary["answers_of_full_evaluation"]


async def test_winner_is_looked_for_with_epsilon_0(solvers: FakeUpstream, tmp_path: Path) -> None:
    """All other policies are eliminated."""
    config = write_config(tmp_path, solvers.api_base, epsilon=0.0)
    outcome, _ = await optimized(config, tmp_path / "out")

    assert (outcome.summary["outcome"], outcome.summary["champion"]) == ("winner", "good")


async def test_log_is_confirmed_by_verify(solvers: FakeUpstream, tmp_path: Path) -> None:
    """The written log alone gives the certificate again."""
    await optimized(write_config(tmp_path, solvers.api_base), tmp_path / "out")

    found = verify(read_log((tmp_path / "out" / "log.jsonl").read_bytes().splitlines()))
    assert found.differences == ()
    assert found.champion == "good"


async def test_deterministic_policy_is_asked_once_per_task(solvers: FakeUpstream, tmp_path: Path) -> None:
    """At temperature 0 an answer is paid for once, however often its task comes up."""
    outcome, _ = await optimized(write_config(tmp_path, solvers.api_base), tmp_path / "out")

    asked = Counter((seen.body["model"], seen.body["messages"][-1]["content"]) for seen in solvers.seen)
    assert max(asked.values()) == 1
    assert len(solvers.seen) == outcome.summary["calls"]
    assert outcome.summary["comparisons"] > outcome.summary["answers"] / 2


async def test_sampling_policy_answers_anew_each_time(upstream: FakeUpstream, tmp_path: Path) -> None:
    """A repeated task is answered again unless the policy has temperature 0 or a seed."""
    for model, percent in (("weak", 20), ("fair", 50), ("good", 95)):
        upstream.on(model, guesser(percent))
    policies = {name: {"model": name} for name in ("weak", "fair", "good")}
    config = write_config(tmp_path, upstream.api_base, policies=policies)
    (tmp_path / "tasks.jsonl").write_text('{"input": "1 2", "target": 3}\n{"input": "2 2", "target": 4}\n')
    outcome, _ = await optimized(config, tmp_path / "out")

    assert outcome.summary["champion"] == "good"
    # Two answers for each comparison, and for those under way when the evidence sufficed.
    counted, under_way = outcome.summary["comparisons"], 4
    assert 2 * counted <= outcome.summary["calls"] <= 2 * (counted + under_way)


async def test_fixed_seed_makes_a_policy_deterministic(upstream: FakeUpstream, tmp_path: Path) -> None:
    """A provider that honours the seed would say the same again."""
    for model, percent in (("weak", 10), ("good", 90)):
        upstream.on(model, solver(percent))
    policies = {name: {"model": name, "params": {"seed": 7}} for name in ("weak", "good")}
    await optimized(write_config(tmp_path, upstream.api_base, policies=policies), tmp_path / "out")

    asked = Counter((seen.body["model"], seen.body["messages"][-1]["content"]) for seen in upstream.seen)
    assert max(asked.values()) == 1


async def test_population_uses_each_task_once(solvers: FakeUpstream, tmp_path: Path) -> None:
    """Out of tasks, the run ends as inconclusive, and the log confirms even that."""
    config = write_config(tmp_path, solvers.api_base, draw="population")
    (tmp_path / "tasks.jsonl").write_text('{"input": "1 2", "target": 3}\n{"input": "2 2", "target": 4}\n')
    outcome, _ = await optimized(config, tmp_path / "out")

    tasks = [row["task"] for row in rows(tmp_path / "out" / "run.jsonl", "comparison")]
    assert sorted(tasks) == [0, 1]
    assert (outcome.summary["outcome"], outcome.summary["stopped_by"]) == ("inconclusive", "tasks")
    assert verify(read_log(outcome.log)).differences == ()


async def test_run_promises_what_its_file_asks_for(solvers: FakeUpstream, tmp_path: Path) -> None:
    """The weaker promise takes fewer comparisons, the report states it, and the log confirms it."""
    config = write_config(tmp_path, solvers.api_base, promise="no_worse_than_best")
    outcome, _ = await optimized(config, tmp_path / "out")

    assert (outcome.summary["champion"], outcome.summary["promise"]) == ("good", "no_worse_than_best")
    words = "if some policy is preferred to every other, it is not preferred to good by more than 2 points"
    assert headline(outcome.summary) == f"{words} in 100"
    assert verify(read_log(outcome.log)).differences == ()


async def test_call_budget_ends_the_run_as_inconclusive(solvers: FakeUpstream, tmp_path: Path) -> None:
    """The run makes no call beyond its budget, and its log is confirmed."""
    config = write_config(tmp_path, solvers.api_base, budget={"calls": 20})
    outcome, _ = await optimized(config, tmp_path / "out")

    assert len(solvers.seen) == 20
    assert (outcome.summary["outcome"], outcome.summary["stopped_by"]) == ("inconclusive", "calls")
    assert verify(read_log(outcome.log)).differences == ()


async def test_money_is_counted_and_capped(solvers: FakeUpstream, tmp_path: Path) -> None:
    """5 prompt and 7 completion tokens a call, at the prices of the file; the cap is not exceeded."""
    price = {"prompt_usd_per_million": 1000, "completion_usd_per_million": 2000}
    prices = dict.fromkeys(("weak", "fair", "good"), price)
    config = write_config(tmp_path, solvers.api_base, prices=prices, budget={"usd": 0.5})
    outcome, _ = await optimized(config, tmp_path / "out")

    assert outcome.summary["stopped_by"] == "usd"
    assert outcome.summary["usd"] == pytest.approx(0.019 * outcome.summary["calls"])
    assert 0.4 < outcome.summary["usd"] <= 0.5


async def test_budget_for_nothing_is_an_error(solvers: FakeUpstream, tmp_path: Path) -> None:
    """A run that cannot make one comparison has nothing to say."""
    config = write_config(tmp_path, solvers.api_base, budget={"calls": 1}, concurrency=1)
    with pytest.raises(BudgetSpentError, match="budget of 1 calls"):
        await optimized(config, tmp_path / "out")


async def test_spent_budget_can_be_raised_and_the_run_resumed(solvers: FakeUpstream, tmp_path: Path) -> None:
    """Evidence stays valid whenever one stops, so a run may go on."""
    await optimized(write_config(tmp_path, solvers.api_base, budget={"calls": 20}), tmp_path / "out")
    outcome, _ = await optimized(write_config(tmp_path, solvers.api_base), tmp_path / "out", resumes=True)

    asked = Counter((seen.body["model"], seen.body["messages"][-1]["content"]) for seen in solvers.seen)
    assert outcome.summary["champion"] == "good"
    assert max(asked.values()) == 1
    assert outcome.summary["calls"] == len(solvers.seen)
    assert verify(read_log(outcome.log)).differences == ()


async def test_max_comparisons_ends_the_run(upstream: FakeUpstream, tmp_path: Path) -> None:
    """Policies that never differ cannot be told apart: all ties, no evidence, an honest end."""
    for model in ("weak", "fair", "good"):
        upstream.on(model, answer("Many."))
    outcome, _ = await optimized(
        write_config(tmp_path, upstream.api_base, max_comparisons=50), tmp_path / "out"
    )

    assert outcome.summary["comparisons"] == outcome.summary["ties"] == 50
    assert (outcome.summary["outcome"], outcome.summary["stopped_by"]) == ("inconclusive", None)
    assert verify(read_log(outcome.log)).differences == ()


async def test_passing_failure_is_tried_again(upstream: FakeUpstream, tmp_path: Path) -> None:
    """A 503 and a 429 with a pause cost a call each, and nothing else."""
    upstream.on("weak", status(503), status(429, retry_after="0"), solver(10))
    upstream.on("good", solver(90))
    policies = {name: {"model": name, "params": {"temperature": 0}} for name in ("weak", "good")}
    outcome, _ = await optimized(
        write_config(tmp_path, upstream.api_base, policies=policies, concurrency=1), tmp_path / "out"
    )

    assert outcome.summary["champion"] == "good"
    assert outcome.summary["calls"] == outcome.summary["answers"] + 2


async def test_provider_that_stays_away_ends_the_run_and_keeps_it(
    upstream: FakeUpstream, tmp_path: Path
) -> None:
    """A refused key counts against no policy: the run stops, and continues once the key is corrected."""
    upstream.on("weak", solver(10), solver(10), solver(10), status(401))
    upstream.on("good", solver(90))
    policies = {name: {"model": name, "params": {"temperature": 0}} for name in ("weak", "good")}
    config = write_config(tmp_path, upstream.api_base, policies=policies, concurrency=1)
    with pytest.raises(CallFailedError, match=r"weak.*--resume"):
        await optimized(config, tmp_path / "out")

    upstream.on("weak", solver(10))
    outcome, _ = await optimized(config, tmp_path / "out", resumes=True)
    assert outcome.summary["champion"] == "good"


async def test_refused_request_is_the_policys_loss(upstream: FakeUpstream, tmp_path: Path) -> None:
    """A policy whose requests the provider refuses as invalid loses to one that answers wrongly."""
    upstream.on("weak", answer("Many."), status(400, "too long"))
    upstream.on("good", answer("Many."))
    policies = {name: {"model": name, "params": {"temperature": 0}} for name in ("weak", "good")}
    outcome, _ = await optimized(
        write_config(tmp_path, upstream.api_base, policies=policies), tmp_path / "out"
    )

    weak = next(row for row in outcome.summary["policies"] if row["name"] == "weak")
    assert outcome.summary["champion"] == "good"
    assert weak["refused"] == weak["answers"] - 1 > 0


async def test_policy_refused_from_the_start_is_misconfigured(upstream: FakeUpstream, tmp_path: Path) -> None:
    """A parameter the model does not know is a fault of the file, not a property of the policy."""
    upstream.on("weak", status(400, "no such parameter"))
    with pytest.raises(OfflineError, match=r"refused all \d+ requests of policy weak"):
        await optimized(write_config(tmp_path, upstream.api_base), tmp_path / "out")


async def test_templates_see_the_task_but_not_its_target(upstream: FakeUpstream, tmp_path: Path) -> None:
    """Fields of the task reach the prompt as metadata; the right answer does not, nor the provider."""
    (tmp_path / "hint.j2").write_text("Unit: {{ metadata.unit }}. {{ metadata.target is defined }}")
    policies = {
        "plain": {"model": "weak", "params": {"temperature": 0}},
        "hinted": {"model": "good", "template": "hint.j2", "params": {"temperature": 0}},
    }
    config = write_config(tmp_path, upstream.api_base, policies=policies, max_comparisons=1)
    (tmp_path / "tasks.jsonl").write_text('{"input": "1 2", "target": 3, "unit": "apples"}\n')
    await optimized(config, tmp_path / "out")

    hinted = next(seen.body for seen in upstream.seen if seen.body["model"] == "good")
    assert hinted["messages"][0] == {"role": "system", "content": "Unit: apples. False"}
    assert "metadata" not in hinted


async def test_failing_template_names_policy_and_task(upstream: FakeUpstream, tmp_path: Path) -> None:
    """What it was given is not repeated."""
    (tmp_path / "hint.j2").write_text("{{ metadata.unit }}")
    policies = {
        "plain": {"model": "weak", "params": {"temperature": 0}},
        "hinted": {"model": "good", "template": "hint.j2", "params": {"temperature": 0}},
    }
    config = write_config(tmp_path, upstream.api_base, policies=policies)
    with pytest.raises(OfflineError, match=r"hinted failed on line 1.*on task \d+"):
        await optimized(config, tmp_path / "out")


async def test_conversations_are_tasks_too(upstream: FakeUpstream, tmp_path: Path) -> None:
    """A task may bring all the messages before the answer."""
    config = write_config(tmp_path, upstream.api_base, max_comparisons=1)
    messages = (
        '[{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."},'
        ' {"role": "user", "content": "1 2"}]'
    )
    (tmp_path / "tasks.jsonl").write_text(f'{{"messages": {messages}, "target": "3"}}\n')
    await optimized(config, tmp_path / "out")

    assert [message["role"] for message in upstream.seen[0].body["messages"]] == ["user", "assistant", "user"]


async def test_calls_under_way_stay_within_concurrency(upstream: FakeUpstream, tmp_path: Path) -> None:
    """Comparisons overlap, calls are bounded."""
    under_way = []

    async def slow(exchange: Exchange) -> None:
        under_way.append(upstream.in_flight)
        await solver(50, pause_seconds=0.005)(exchange)

    for model in ("weak", "fair", "good"):
        upstream.on(model, slow)
    config = write_config(tmp_path, upstream.api_base, concurrency=3, max_comparisons=20)
    await optimized(config, tmp_path / "out")
    assert max(under_way) == 3


async def test_failing_calls_leave_nothing_behind(
    upstream: FakeUpstream, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Many calls failing at once end in one error, and no task is left to complain about."""
    for model in ("weak", "fair", "good"):
        upstream.on(model, status(401))
    with pytest.raises(CallFailedError):
        await optimized(write_config(tmp_path, upstream.api_base, concurrency=16), tmp_path / "out")
    await asyncio.sleep(0)
    gc.collect()

    assert len(asyncio.all_tasks()) == 1 + len(upstream.serving)
    assert not [record for record in caplog.records if record.name == "asyncio"]


@pytest.mark.parametrize("guarantee", ["exact", "asymptotic"])
async def test_grid_is_searched_as_a_linear_space(
    solvers: FakeUpstream, tmp_path: Path, guarantee: str
) -> None:
    """Policies from a grid, either guarantee; the better model is certified, and the log confirmed."""
    grid = {
        "model": ["weak", "good"],
        "system": {"plain": "Add.", "kind": "Please add."},
        "temperature": [0],
    }
    config = write_config(
        tmp_path, solvers.api_base, policies=None, grid=grid, guarantee=guarantee, epsilon=0.1
    )
    (tmp_path / "tasks.jsonl").write_text(
        "".join(f'{{"input": "{number} {number}", "target": {2 * number}}}\n' for number in range(200))
    )
    outcome, _ = await optimized(config, tmp_path / "out")

    assert outcome.summary["guarantee"] == guarantee
    assert verify(read_log(outcome.log)).differences == ()
    assert outcome.summary["champion"].startswith("good-")
