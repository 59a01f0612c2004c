"""docs/optimize.md: its example runs as written, and its tables leave nothing out."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.offline.config import JUDGES, JudgeSpec, OptimizeConfig
from tests.gateway.fake_upstream import Behaviour, Exchange, body
from tests.gateway.offline.solving import provider_in_thread, question_in

PAGE = (Path(__file__).parents[3] / "docs" / "optimize.md").read_text()


def block(language: str) -> str:
    """The page's only block in that language."""
    found = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert len(found) == 1
    return str(found[0])


def reviewer(wrong_on: set[str], *, unless_guided: bool = False) -> Behaviour:
    """Labels reviews rightly but for some; guided by a prompt, perhaps all of them."""
    labels = {task["input"]: task["label"] for task in map(json.loads, block("json").splitlines())}

    async def behave(exchange: Exchange) -> None:
        review, prompt = question_in(exchange), exchange.seen.body["messages"][0]["content"]
        is_guided = prompt.startswith("The review is of a ") and "{{" not in prompt
        errs = review in wrong_on and not (unless_guided and is_guided)
        label = labels[review]
        said = label if not errs else "positive" if label == "negative" else "negative"
        await exchange.whole(body(exchange, f"I would say {said}."))

    return behave


def test_example_runs_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The files and commands of the page: the guided small model is found, and the log confirmed."""
    for name, language in (("reviews.yaml", "yaml"), ("guided.j2", "jinja"), ("reviews.jsonl", "json")):
        (tmp_path / name).write_text(block(language))
    monkeypatch.chdir(tmp_path)
    terse = reviewer({"I wanted to like it.", "No complaints."}, unless_guided=True)
    with provider_in_thread(small=terse, large=reviewer({"No complaints."})) as upstream:
        monkeypatch.setenv("MODEL_URL", upstream.api_base)
        statuses = [main(shlex.split(command)[1:]) for command in block("sh").splitlines()]

    assert statuses == [0, 0]
    assert "no other policy is preferred to small-guided" in capfd.readouterr().out
    listed = re.findall(r"^\| (`[^|]+) \|", PAGE, re.MULTILINE)[:5]
    promised = {name for cell in listed for name in re.findall(r"`([\w.]+\.\w+)`", cell)}
    assert len(promised) == 6
    assert promised <= {path.name for path in (tmp_path / "run").iterdir()}


def test_every_key_is_described() -> None:
    """The table names every key the gateway's own file does not have, with its default."""
    fields = OptimizeConfig.model_fields
    for name, field in fields.items():
        if name in {"model_list", "policies"}:
            continue
        row = re.search(rf"^\| [^|]*`{name}`[^|]*\|([^|]*)\|", PAGE, re.MULTILINE)
        assert row is not None, name
        if isinstance(field.default, int | float | str):
            assert str(field.default) == row[1].strip("` "), name


def test_every_judge_and_its_fields_are_described() -> None:
    """The page has one row for each judge."""
    for judge in JUDGES:
        row = re.search(rf"^\| `{judge}` \| .*$", PAGE, re.MULTILINE)
        assert row is not None, judge
        annotation = str(JudgeSpec.model_fields[judge].annotation)
        spec = re.search(r"config\.(\w+)", annotation)
        assert spec is not None
        fields = getattr(__import__("gateway.offline.config", fromlist=["config"]), spec[1]).model_fields
        assert all(f"`{name}" in row[0] for name in fields), (judge, list(fields))
