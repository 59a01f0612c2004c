"""`llmpo simulate` with several worlds, methods and rules: one document, kept results, pictures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.cli import main


@pytest.fixture
def easy(tmp_path: Path) -> str:
    """A world that takes a few dozen comparisons."""
    path = tmp_path / "easy.json"
    path.write_text('{"scores": [1.5, 0.0]}')
    return str(path)


@pytest.fixture
def rates(tmp_path: Path) -> str:
    """A world of success rates."""
    path = tmp_path / "rates.json"
    path.write_text('{"rates": [0.9, 0.3]}')
    return str(path)


def test_several_of_each_come_as_a_list(easy: str, rates: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The list has every world with every method and rule in order, however the methods were given."""
    arguments = ["--world", easy, "--world", rates, "--method", "llm-po,rucb", "--method", "round-robin"]
    rules = ["--stopping", "e-process", "--stopping", "glr"]

    assert main(["simulate", *arguments, *rules, "--seeds", "3", "--processes", "1", "--json"]) == 0

    reports = json.loads(capsys.readouterr().out)
    assert [report["world"] for report in reports] == ["easy"] * 6 + ["rates"] * 6
    assert [report["method"] for report in reports[:6:2]] == ["llm-po", "rucb", "round-robin"]
    assert [report["stopping"] for report in reports[:2]] == ["e-process", "glr"]


def test_one_of_several_is_what_it_is_alone(easy: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Company and processes change nothing: an element of the list is the document of a single one."""
    base = ["simulate", "--world", easy, "--seeds", "130", "--json"]
    main([*base, "--method", "random-pair", "--processes", "1"])
    alone = json.loads(capsys.readouterr().out)
    main([*base, "--method", "round-robin,random-pair", "--processes", "2"])

    assert json.loads(capsys.readouterr().out)[1] == alone


def test_people_get_a_line_for_each(easy: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A table names worlds and methods and how runs ended."""
    main(["simulate", "--world", easy, "--method", "llm-po,rucb", "--seeds", "3", "--processes", "1"])

    shown = capsys.readouterr().out
    assert "rucb" in shown
    assert "3 winner" in shown
    assert "0 of 3" in shown


def test_resumed_simulation_prints_the_same(
    easy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second time everything comes from the file; --resume is another word for --state."""
    state = str(tmp_path / "state.jsonl")
    arguments = ["simulate", "--world", easy, "--seeds", "120", "--processes", "1", "--json"]
    main([*arguments, "--state", state])
    first = capsys.readouterr().out
    size = Path(state).stat().st_size

    assert main([*arguments, "--resume", state]) == 0
    assert capsys.readouterr().out == first
    assert Path(state).stat().st_size == size


@pytest.mark.parametrize(
    ("changed", "value"),
    [
        ("--seeds", "4"),
        ("--delta", "0.1"),
        ("--epsilon", "0.01"),
        ("--seed", "9"),
        ("--max-comparisons", "99"),
    ],
)
def test_state_of_other_options_is_refused_by_name(
    changed: str, value: str, easy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The option that differs is named, with both values."""
    arguments = ["simulate", "--world", easy, "--processes", "1", "--state", str(tmp_path / "state.jsonl")]
    main([*arguments, "--seeds", "3"])
    capsys.readouterr()

    assert main([*arguments, *(["--seeds", "3"] if changed != "--seeds" else []), changed, value]) == 1
    assert f"{changed} is {value}, there it is" in capsys.readouterr().err


@pytest.mark.parametrize("text", ['{"scores": [1, 0]}', "1\n2\n3", "model_list:\n- small"])
def test_file_that_is_no_state_file_is_left_as_it_is(
    text: str, easy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its last line, which may have no end, is not taken for a line that a killed run had begun."""
    other = tmp_path / "other"
    other.write_text(text)

    assert main(["simulate", "--world", easy, "--seeds", "2", "--state", str(other)]) == 1

    assert "is not a state file" in capsys.readouterr().err
    assert other.read_text() == text


def test_pictures_are_written_and_named(
    easy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The files are listed on standard error, so that standard output stays one JSON document."""
    plots = tmp_path / "plots"
    arguments = ["simulate", "--world", easy, "--seeds", "3", "--processes", "1"]

    assert main([*arguments, "--plots", str(plots), "--json"]) == 0

    written = capsys.readouterr()
    assert json.loads(written.out)["seeds"] == 3
    assert len(list(plots.iterdir())) == 6
    assert all(str(path) in written.err for path in plots.iterdir())


def test_worlds_of_one_name_are_refused(
    easy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two worlds that a report could not tell apart."""
    other = tmp_path / "elsewhere"
    other.mkdir()
    (other / "easy.json").write_text('{"scores": [0.5, 0.0]}')

    assert main(["simulate", "--world", easy, "--world", str(other / "easy.json"), "--seeds", "2"]) == 2
    assert "Two worlds are called 'easy'" in " ".join(capsys.readouterr().err.split())
