"""The file of a run and its tasks: every fault is named, with the value and the remedy."""

from __future__ import annotations

import json
import re
import resource
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from gateway.errors import ConfigError
from gateway.offline.assembly import assemble
from gateway.offline.checkpoint import RunFiles
from gateway.offline.config import load_optimize
from gateway.offline.errors import JudgeError, RunDirectoryError, TasksError
from gateway.offline.journal import Journal
from tests.gateway.offline.solving import assembled, write_config

NOWHERE = "http://127.0.0.1:9/v1"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"judge": "exat_match"}, r"judge\.exat_match.*Did you mean exact_match\?"),
        (
            {"judge": {"exact_match": {}, "regex": {"pattern": "x"}}},
            r"judge.*exact_match, regex.*Keep one of",
        ),
        ({"judge": None}, r"judge .*This key is missing"),
        (
            {"judge": {"regex": {"pattern": "(["}}},
            r"judge\.regex\.pattern.*'\(\[' is not a regular expression",
        ),
        ({"judge": {"regex": {"pattern": "(a)(b)"}}}, r"has 2 groups.*Keep one"),
        ({"judge": {"python": {"callable": "grading.score"}}}, r"'grading\.score' does not name a function"),
        ({"judge": {"llm": {"model": "judg"}}}, r"judge\.llm\.model.*no model 'judg'.*Did you mean judge\?"),
        (
            {"judge": {"llm": {"model": "good"}}},
            r"'good' is also the model of policy 'good'.*may_be_candidate",
        ),
        ({"policies": {"only": {"model": "weak"}}}, r"policies.*Only 1 given"),
        (
            {"policies": {"a": {"model": "weak"}, "b": {"model": "god"}}},
            r"policies\.b\.model.*Did you mean good",
        ),
        ({"incumbent": "wek"}, r"incumbent.*'wek' is not a policy.*Did you mean weak"),
        ({"delta": 1.5}, r"delta.*1\.5 is out of range"),
        ({"epsilon": 0.5}, r"epsilon.*0\.5 is out of range"),
        ({"concurrency": 0}, r"concurrency.*0 is out of range"),
        ({"budget": {"usd": 0}}, r"budget\.usd.*0 is out of range"),
        ({"draw": "all"}, r"draw.*Use 'list' or 'population'"),
        ({"grid": {"model": ["weak", "good"]}}, r"There are `policies` and a `grid`"),
        ({"policies": None, "grid": {"model": ["weak"]}}, r"grid.*Only 1 given"),
        ({"policies": None, "grid": {"model": ["weak", "god"]}}, r"no model 'god'.*Did you mean good"),
        ({"space": "linear"}, r"space: .*needs a `grid`"),
        ({"guarantee": "asymptotic"}, r"guarantee.*needs a structured space"),
        ({"promise": "no_worse_than_best", "epsilon": 0}, r"promise: .*a margin.*Leave `promise` out"),
        (
            {"promise": "no_worse_than_best", "stopping": "glr"},
            r"promise: .*`stopping` is glr.*Use `guarantee: exact`",
        ),
        ({"promise": "no_worse"}, r"promise.*Use 'no_worse_than_any' or 'no_worse_than_best'"),
        ({"max_comparison": 5}, r"max_comparison.*Did you mean max_comparisons"),
    ],
)
def test_wrong_file_is_refused_with_a_remedy(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    """The error says where the fault is, what it is, and what would be right."""
    file = write_config(tmp_path, NOWHERE, **change)
    with pytest.raises(ConfigError) as refusal:
        load_optimize(file, {})
    assert re.search(message, str(refusal.value)), str(refusal.value)


def test_judge_behind_another_name_is_recognised(tmp_path: Path) -> None:
    """Two names of one model at one address are one model."""
    file = write_config(tmp_path, NOWHERE, judge={"llm": {"model": "alias"}})
    fields = json.loads(file.read_text())
    good = next(entry for entry in fields["model_list"] if entry["model_name"] == "good")
    fields["model_list"].append({**good, "model_name": "alias"})
    file.write_text(json.dumps(fields))

    with pytest.raises(ConfigError, match="'alias' is also the model of policy 'good'"):
        load_optimize(file, {})


def test_wrong_file_ends_with_status_2(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The command says what is wrong, in one line each."""
    file = write_config(tmp_path, NOWHERE, delta=2)
    assert main(["optimize", "--config", str(file)]) == 2
    assert "delta (line 1): 2 is out of range." in capfd.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no tasks"),
        ("\n\n", "holds no tasks"),
        ('{"input": "1 2", "target": 3}\nnot json\n', "line 2 is not JSON"),
        ("[1]\n", "line 1 holds a list"),
        ('{"question": "1 2", "target": 3}\n', r"line 1 has no text `input` \(fields: question, target\)"),
        ('{"input": 12, "target": 3}\n', "line 1 has no text `input`"),
        ('{"input": "1 2"}\n', "line 1 has no `target`, which the judge compares with"),
        ('{"input": "1 2", "target": null}\n', "line 1 has no `target`"),
        ('{"input": "1 2", "target": []}\n', "line 1 has no `target`"),
        ('{"messages": [], "target": 3}\n', "`messages` is not a conversation"),
        (
            '{"messages": [{"role": "assistant", "content": "x"}], "target": 3}\n',
            "ends with the user's message",
        ),
    ],
)
def test_wrong_tasks_are_refused_with_their_line(tmp_path: Path, content: str, message: str) -> None:
    """No question is asked before every task is valid."""
    file = write_config(tmp_path, NOWHERE)
    (tmp_path / "tasks.jsonl").write_text(content)
    with pytest.raises(TasksError, match=message):
        assembled(file)


def test_missing_tasks_are_named(tmp_path: Path) -> None:
    """No file, or no name of one."""
    with pytest.raises(TasksError, match=r"Add `tasks: FILE\.jsonl`, or give --tasks"):
        assembled(write_config(tmp_path, NOWHERE, tasks=None))
    with pytest.raises(TasksError, match=r"elsewhere\.jsonl cannot be read"):
        assembled(write_config(tmp_path, NOWHERE, tasks="elsewhere.jsonl"))


def test_tasks_of_the_command_line_win(tmp_path: Path) -> None:
    """`--tasks` stands in for those of the file."""
    other = tmp_path / "other.jsonl"
    other.write_text('{"input": "1 1", "target": 2}\n')
    file = write_config(tmp_path, NOWHERE)
    assert len(assemble(load_optimize(file, {}), tmp_path, other).tasks) == 1


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (None, r"grading:score cannot be loaded \(ModuleNotFoundError"),
        ("1 +\n", r"cannot be loaded \(SyntaxError"),
        ("def other(task, answer): ...\n", r"cannot be loaded \(AttributeError"),
        ("score = 3\n", "grading:score is a int; a function is needed"),
    ],
)
def test_function_that_cannot_be_loaded_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str | None, message: str
) -> None:
    """The error comes before any model is asked."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "grading", raising=False)
    if code is not None:
        (tmp_path / "grading.py").write_text(code)
    file = write_config(tmp_path, NOWHERE, judge={"python": {"callable": "grading:score"}})
    with pytest.raises(JudgeError, match=message):
        assembled(file)


def test_budget_in_money_needs_every_price(tmp_path: Path) -> None:
    """A model at an address of one's own has no known price, whatever it is called."""
    price = {"prompt_usd_per_million": 1, "completion_usd_per_million": 1}
    file = write_config(tmp_path, NOWHERE, budget={"usd": 1}, prices={"weak": price, "good": price})
    with pytest.raises(ConfigError, match=r"The price of the model fair is not known.*prices\.fair"):
        assembled(file)


def test_well_known_models_have_prices(tmp_path: Path) -> None:
    """LiteLLM's own list, read from the installed package."""
    file = write_config(tmp_path, NOWHERE)
    fields = json.loads(file.read_text())
    names = {
        "good": "openai/gpt-4o-mini",
        "fair": "openai/gpt-4o",
        "weak": "openai/gpt-4.1",
        "judge": "openai/o3",
    }
    for entry in fields["model_list"]:
        entry["litellm_params"] = {"model": names[entry["model_name"]]}
    file.write_text(json.dumps(fields))
    assert assembled(file).prices["good"] == pytest.approx((0.15e-6, 0.6e-6))


def test_prices_beside_a_model_count_and_those_of_the_run_go_before(tmp_path: Path) -> None:
    """Prices are read as in the gateway, and the `prices` of a run replace those beside a model."""
    stated = {"prompt_usd_per_million": 3, "completion_usd_per_million": 4}
    file = write_config(tmp_path, NOWHERE, prices={"good": stated})
    fields = json.loads(file.read_text())
    for entry in fields["model_list"]:
        entry["litellm_params"] |= {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}
    file.write_text(json.dumps(fields))

    found = assembled(file).prices

    assert found["weak"] == pytest.approx((1e-6, 2e-6))
    assert found["good"] == pytest.approx((3e-6, 4e-6))


def test_name_is_that_of_the_file_where_none_is_given(tmp_path: Path) -> None:
    """`llmpo verify` asks for this name."""
    assert assembled(write_config(tmp_path, NOWHERE)).name == "sums"
    assert assembled(write_config(tmp_path, NOWHERE, name="adding")).name == "adding"


def test_policies_that_cannot_differ_are_refused(tmp_path: Path) -> None:
    """Deterministic twins would tie for ever; sampling ones are an A/A test."""
    twins = {name: {"model": "good", "params": {"temperature": 0}} for name in ("one", "other")}
    with pytest.raises(ConfigError, match=r"policies\.other: It equals one"):
        assembled(write_config(tmp_path, NOWHERE, policies=twins))
    sampling = {name: {"model": "good"} for name in ("one", "other")}
    assert len(assembled(write_config(tmp_path, NOWHERE, policies=sampling)).definition.policies) == 2


def test_unwritable_journal_says_how_to_go_on(tmp_path: Path) -> None:
    """A file that may not grow ends the run with the reason; what was written before stays."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Journal(tmp_path / "run.jsonl") as journal:
        journal.append({"type": "event"})
        resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "run.jsonl").stat().st_size, hard))
        try:
            with pytest.raises(
                RunDirectoryError,
                match=r"File too large\. Correct this and continue with "
                "--resume",
            ):
                journal.append({"type": "event"})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with Journal(tmp_path / "run.jsonl") as journal:
        assert journal.rows == [{"type": "event"}]


def test_unwritable_directory_is_named(tmp_path: Path) -> None:
    """The command fails before any model is asked."""
    (tmp_path / "file").write_text("")
    files = RunFiles(tmp_path / "file")
    with pytest.raises(RunDirectoryError, match="Name another --out"), files.claimed(resumes=False):
        pass


GRID = {"model": ["weak", "good"], "system": {"plain": "Add.", "kind": "Please add."}, "temperature": [0]}


def test_grid_stands_for_its_policies(tmp_path: Path) -> None:
    """Every combination, named by its levels, in a linear space; the first is the incumbent."""
    file = write_config(tmp_path, NOWHERE, policies=None, grid=GRID)
    assembly = assembled(file)
    assert sorted(assembly.definition.experiment.policies) == [
        *("good-kind-0", "good-plain-0", "weak-kind-0", "weak-plain-0")
    ]
    assert assembly.definition.spec.incumbent == "weak-plain-0"
    assert assembly.definition.spec.space == "linear"
    assert assembly.is_repeatable == (True,) * 4
