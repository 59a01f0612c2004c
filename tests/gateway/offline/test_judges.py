"""Who says which answer is better."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.offline.calls import ModelReply
from gateway.offline.config import ExactMatchSpec, PythonSpec, RegexSpec
from gateway.offline.errors import JudgeError
from gateway.offline.judges import RuleJudge, exact_match, python, regex
from gateway.offline.tasks import Task
from tests.gateway.fake_upstream import Behaviour, Exchange, FakeUpstream, answer, body
from tests.gateway.offline.solving import optimized, rows, solver, write_config

TASK = Task(0, {"input": "2 3", "target": "5", "outputs": ["Five", "5"], "count": 5})


@pytest.mark.parametrize(
    ("spec", "said", "score"),
    [
        (ExactMatchSpec(), " 5\n", 1.0),
        (ExactMatchSpec(), "5.", 0.0),
        (ExactMatchSpec(target="count"), "5", 1.0),
        (ExactMatchSpec(target="outputs"), "FIVE", 1.0),
        (ExactMatchSpec(target="outputs", ignore_case=False), "FIVE", 0.0),
    ],
)
def test_exact_match(spec: ExactMatchSpec, said: str, score: float) -> None:
    """Any accepted text matches, and white space around it does not matter."""
    assert exact_match(spec)(TASK, said) == score


@pytest.mark.parametrize(
    ("spec", "said", "score"),
    [
        (RegexSpec(pattern=r"\d+"), "2 plus 3 is 5.", 1.0),
        (RegexSpec(pattern=r"\d+", take="first"), "2 plus 3 is 5.", 0.0),
        (RegexSpec(pattern=r"is (\w+)", target="outputs"), "It is five", 1.0),
        (RegexSpec(pattern=r"is (\w+)", target="outputs", ignore_case=False), "It is five", 0.0),
        (RegexSpec(pattern=r"\d+"), "many", 0.0),
        (RegexSpec(pattern=r"^sorry", target=None), "Sorry, no.", 1.0),
        (RegexSpec(pattern=r"^sorry", target=None), "No, sorry.", 0.0),
        (RegexSpec(pattern=r"a(x)?"), "a", 0.0),
    ],
)
def test_regex(spec: RegexSpec, said: str, score: float) -> None:
    """The group counts, or else the whole match, of the first or the last match."""
    assert regex(spec)(TASK, said) == score


@pytest.fixture
def grading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """A judge from the body of `score(task, answer)`."""

    def load(lines: str) -> Any:
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "grading", raising=False)
        (tmp_path / "grading.py").write_text(f"def score(task, answer):\n    {lines}\n")
        return python(PythonSpec(callable="grading:score"), tmp_path)

    return load


def test_function_scores(grading: Callable[[str], Any]) -> None:
    """The function gets the task and the answer, and the higher score wins."""
    assert grading("return abs(task['count'] - int(answer)) * -0.5")(TASK, "7") == -1.0
    assert grading("return answer == task['target']")(TASK, "5") == 1.0


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("raise KeyError('secret')", r"raised KeyError on task 1\. Correct it and continue with --resume"),
        ("return 'good'", "returned str 'good' on task 1. Return a finite number"),
        ("return float('nan')", "returned float nan on task 1"),
        ("return None", "returned NoneType None"),
    ],
)
def test_function_that_fails_is_named(grading: Callable[[str], Any], lines: str, message: str) -> None:
    """The error names the function and the task, but not the function's arguments."""
    score = grading(lines)
    with pytest.raises(JudgeError, match=message) as failure:
        score(TASK, "an answer")
    assert "an answer" not in str(failure.value)


async def test_higher_score_wins() -> None:
    """Equal scores are a tie, a refused request is below everything."""
    judge = RuleJudge(lambda _task, said: float(said))
    low, high, refused = ModelReply("1"), ModelReply("2"), ModelReply("", is_refused=True)
    pairs = [(high, low), (low, high), (low, low), (refused, ModelReply("-9")), (refused, refused)]
    results = [(await judge.compare(1, TASK, ("a", first), ("b", second))).result for first, second in pairs]
    assert results == ["win", "loss", "tie", "loss", "tie"]


def answers_seen(exchange: Exchange) -> tuple[str, str]:
    """The two answers in a judge's request, in its order."""
    text = exchange.seen.body["messages"][1]["content"]
    first, second = re.findall(r"\[answer [AB] (\w+)\]\n(.*?)\n\[end of answer [AB] \1\]", text, re.DOTALL)
    return first[1], second[1]


def number_liking_judge() -> Behaviour:
    """Prefers the answer that is a number."""

    async def behave(exchange: Exchange) -> None:
        first, second = (said.isdigit() for said in answers_seen(exchange))
        word = "TIE" if first == second else "A" if first else "B"
        await exchange.whole(body(exchange, f"Compared.\n{word}"))

    return behave


LLM = {"llm": {"model": "judge", "question": "Which is a number?", "target": "target"}}
TWO = {name: {"model": name, "params": {"temperature": 0}} for name in ("weak", "good")}


async def test_model_judges_in_both_orders(upstream: FakeUpstream, tmp_path: Path) -> None:
    """Each pair of different answers is shown once in each order, with the reference."""
    upstream.on("weak", solver(20))
    upstream.on("good", solver(95))
    upstream.on("judge", number_liking_judge())
    config = write_config(tmp_path, upstream.api_base, judge=LLM, policies=TWO)
    outcome, _ = await optimized(config, tmp_path / "out")

    asked = [json.dumps(seen.body["messages"]) for seen in upstream.seen if seen.body["model"] == "judge"]
    assert outcome.summary["champion"] == "good"
    assert len(asked) == len(set(asked))
    assert len(asked) % 2 == 0
    assert "[reference answer " in asked[0]
    assert set(outcome.summary["judge"]["verdicts"]) <= {"agreed", "same text"}


async def test_liking_for_a_position_is_a_tie(upstream: FakeUpstream, tmp_path: Path) -> None:
    """A judge that always says A has no preference, and is found out."""
    upstream.on("weak", solver(0))
    upstream.on("good", solver(100))
    upstream.on("judge", answer("A"))
    config = write_config(tmp_path, upstream.api_base, judge=LLM, policies=TWO, max_comparisons=10)
    outcome, _ = await optimized(config, tmp_path / "out")

    assert outcome.summary["ties"] == 10
    assert outcome.summary["judge"]["verdicts"] == {"disagreed": 10}


async def test_unreadable_verdicts_are_ties_and_counted(upstream: FakeUpstream, tmp_path: Path) -> None:
    """The report shows that the judge does not follow its instructions."""
    upstream.on("weak", solver(0))
    upstream.on("good", solver(100))
    upstream.on("judge", answer("They differ."))
    config = write_config(tmp_path, upstream.api_base, judge=LLM, policies=TWO, max_comparisons=10)
    outcome, _ = await optimized(config, tmp_path / "out")
    assert outcome.summary["judge"]["verdicts"] == {"unreadable": 10}


async def test_verdicts_that_were_cut_off_are_unreadable(upstream: FakeUpstream, tmp_path: Path) -> None:
    """A judge that reaches its limit of tokens in the middle of its reasons has not decided yet."""

    async def cut_off(exchange: Exchange) -> None:
        said = json.loads(body(exchange, "B" if answers_seen(exchange)[1].isdigit() else "A"))
        said["choices"][0]["finish_reason"] = "length"
        await exchange.whole(json.dumps(said).encode())

    upstream.on("weak", solver(0))
    upstream.on("good", solver(100))
    upstream.on("judge", cut_off)
    config = write_config(tmp_path, upstream.api_base, judge=LLM, policies=TWO, max_comparisons=10)
    outcome, _ = await optimized(config, tmp_path / "out")
    assert outcome.summary["judge"]["verdicts"] == {"unreadable": 10}


async def test_sampling_judge_is_asked_anew(upstream: FakeUpstream, tmp_path: Path) -> None:
    """A sampling judge may change its verdict on the same two answers, so no verdict is used again."""
    upstream.on("weak", solver(0))
    upstream.on("good", solver(100))
    upstream.on("judge", number_liking_judge())
    judge = {"llm": {"model": "judge", "params": {"temperature": 1}}}
    config = write_config(
        tmp_path, upstream.api_base, judge=judge, policies=TWO, max_comparisons=10, concurrency=1
    )
    (tmp_path / "tasks.jsonl").write_text('{"input": "1 2"}\n')
    outcome, _ = await optimized(config, tmp_path / "out")

    counted = outcome.summary["comparisons"]
    assert upstream.calls_of("judge") == 2 * counted
    assert {row["note"] for row in rows(tmp_path / "out" / "run.jsonl", "comparison")} == {"agreed"}


async def test_slow_rule_holds_nothing_up_and_runs_one_at_a_time() -> None:
    """The event loop goes on while a rule works; rules do not overlap; no answer is scored twice."""
    loop = asyncio.get_running_loop()
    working, overlaps, turns = [0], [0], []

    def rule(_task: Task, said: str) -> float:
        working[0] += 1
        overlaps[0] = max(overlaps[0], working[0])
        asyncio.run_coroutine_threadsafe(note(said), loop).result(10)  # the loop answers meanwhile
        working[0] -= 1
        return float(said)

    async def note(said: str) -> None:
        turns.append(said)

    judge = RuleJudge(rule)
    pairs = [
        (ModelReply("1"), ModelReply("2")),
        (ModelReply("3"), ModelReply("2")),
        (ModelReply("1"), ModelReply("3")),
    ]
    judged = await asyncio.gather(
        *(judge.compare(number, TASK, ("a", one), ("b", other)) for number, (one, other) in enumerate(pairs))
    )
    assert [one.result for one in judged] == ["loss", "win", "loss"]
    assert overlaps == [1]
    assert sorted(turns) == ["1", "2", "3"]
