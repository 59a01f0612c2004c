"""Logs exported by earlier code still prove what they proved (tests/data/logs)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main

LOGS = Path("tests/data/logs")
# What each log proves: outcome, champion, state of the experiment.
PROVEN = {
    "winner": ("winner", "c", "promoted"),
    "no_worse": ("no_worse", "warm", "promoted"),
    "settled": ("winner", "plain", "settled"),
    "no_winner": ("no_winner", None, "no_winner"),
    "inconclusive": ("inconclusive", None, "inconclusive"),
    "inherited": ("winner", "d", "promoted"),
    "structured": ("no_worse", "warm", "promoted"),
    "offline": ("no_worse", "good", "promoted"),
    "no_worse_than_best": ("no_worse", "d", "promoted"),
    "taken_back": ("no_worse", "warm", "rolled_back"),
    "going_on": ("no_worse", "c", "promoted"),
}
Rows = list[dict[str, Any]]


def rows_of(name: str) -> Rows:
    """The lines of a kept log."""
    return [json.loads(line) for line in (LOGS / f"{name}.jsonl").read_text().splitlines()]


def verified(rows: Rows, folder: Path) -> int:
    """The exit status of `llmpo verify` on these lines."""
    log = folder / "log.jsonl"
    log.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return main(["verify", rows[0]["name"], "--log", str(log)])


def test_every_kept_log_is_checked() -> None:
    """A log added to the folder is added to the table above."""
    assert {path.stem for path in LOGS.glob("*.jsonl")} == set(PROVEN)


@pytest.mark.parametrize("name", PROVEN)
def test_log_of_earlier_code_is_confirmed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every certificate written before still follows from its log."""
    header = rows_of(name)[0]
    log = str(LOGS / f"{name}.jsonl")

    assert main(["verify", header["name"], "--log", log, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["outcome"], found["champion"], header["state"]) == PROVEN[name]
    assert found["confirmed"]


def _turned_comparison(rows: Rows) -> None:
    row = next(row for row in rows if row["type"] == "comparison")
    row["result"] = "win" if row["result"] != "win" else "loss"


def _lowered_forecast(rows: Rows) -> None:
    row = next(row for row in rows if row["type"] == "comparison" and row["plan_version"])
    row["probability_millionths"] -= 1


def _other_end(rows: Rows) -> None:
    rows[0]["state"] = "inconclusive" if rows[0]["state"] != "inconclusive" else "promoted"


def _unlogged_end(rows: Rows) -> None:
    rows[:] = [row for row in rows if row.get("kind") != rows[0]["state"]]


def _other_champion(rows: Rows) -> None:
    rows[0]["certificate"]["champion"] = 0 if rows[0]["certificate"]["champion"] != 0 else 1


@pytest.mark.parametrize(
    "tamper",
    [_turned_comparison, _lowered_forecast, _other_end, _unlogged_end, _other_champion],
    ids=lambda tamper: tamper.__name__.removeprefix("_"),
)
@pytest.mark.parametrize("name", PROVEN)
def test_changed_copy_of_a_kept_log_is_refused(name: str, tamper: Any, tmp_path: Path) -> None:
    """What earlier code wrote cannot be rewritten unnoticed either."""
    rows = rows_of(name)
    tamper(rows)
    assert verified(rows, tmp_path) == 1


def _said(field: str, value: Any) -> Any:
    def tamper(rows: Rows) -> None:
        rows[0]["certificate"][field] = value

    return tamper


def _repeated(field: str, value: Any) -> Any:
    def tamper(rows: Rows) -> None:
        rows[0]["certificate"]["experiment"][field] = value

    return tamper


def _headed(field: str, value: Any) -> Any:
    def tamper(rows: Rows) -> None:
        rows[0][field] = value

    return tamper


def _another_policy_eliminated(rows: Rows) -> None:
    event = next(row for row in rows if row.get("kind") == "eliminated")
    event["detail"]["policy"] = rows[0]["certificate"]["champion"]


@pytest.mark.parametrize(
    ("name", "tamper", "named"),
    [
        ("winner", _repeated("policies", ["a", "b", "x"]), "experiment: "),
        ("winner", _repeated("policy_fingerprints", ["0", "1", "2"]), "experiment: "),
        ("winner", _repeated("delta", 0.01), "experiment: "),
        ("winner", _repeated("note", "approved"), "experiment: "),
        ("winner", _said("experiment", {}), "experiment: "),
        ("winner", _said("experiment", "c"), "cannot be read"),
        ("winner", _said("plan_version", 99), "plan_version: "),
        ("winner", _said("assumption", "Nothing is assumed."), "assumption: "),
        ("winner", _said("schema", 2), "schema: "),
        ("winner", _said("incumbent", 3), "incumbent: "),
        ("winner", _said("incumbent", 0.5), "incumbent: "),
        ("inconclusive", _said("incumbent", 1), "incumbent: "),
        ("taken_back", _said("incumbent", 1), "incumbent"),
        ("inconclusive", _headed("incumbent", "x"), "incumbent: "),
        ("winner", _headed("name", "another"), "name: "),
        ("inherited", _headed("name", "another"), "name: "),
        ("winner", _another_policy_eliminated, "eliminated: "),
    ],
)
def test_what_a_certificate_repeats_is_checked(
    name: str, tamper: Any, named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Words that no number depends on cannot be rewritten either: whose it is, what was compared, and why."""
    rows = rows_of(name)
    tamper(rows)

    assert verified(rows, tmp_path) == 1
    assert named in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("header", "experiment", {"schema": 2}),
        ("header", "experiment", {"policies": []}),
        ("comparison", "source", 7),
    ],
)
def test_what_cannot_be_read_gives_no_verdict(line: str, field: str, value: Any, tmp_path: Path) -> None:
    """A newer form, and values of another kind, are no reason to confirm or to end in a traceback."""
    rows = rows_of("structured")
    comparison = next(number for number, row in enumerate(rows) if row["type"] == "comparison")
    row = rows[0 if line == "header" else comparison]
    row[field] = {**row[field], **value} if isinstance(value, dict) else value

    assert verified(rows, tmp_path) in (1, 2)
