"""Faults of whole files: no YAML, keys written twice, and templates that cannot work."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.load import load_config
from gateway.errors import ConfigError

from .conftest import ENVIRON, EXPERIMENT, GOOD, Issues, only


def test_a_system_prompt_and_a_template_exclude_each_other(issues: Issues, tmp_path: Path) -> None:
    """A policy has one system prompt."""
    (tmp_path / "warm.j2").write_text("hi", encoding="utf-8")
    text = GOOD.replace('system: "You help, warmly."', 'system: "You help.", template: warm.j2')

    assert "Keep `system` or `template`" in only(issues(text), f"{EXPERIMENT}.policies.warm.template").remedy


def test_a_key_written_twice_is_refused(issues: Issues) -> None:
    """YAML would silently keep the last one."""
    issue = only(
        issues(GOOD.replace("    incumbent: base\n", "    incumbent: base\n    incumbent: warm\n")),
        f"{EXPERIMENT}.incumbent",
    )

    assert issue.problem == "'incumbent' is written twice, on lines 6 and 7."


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("Hello\n{% if %}", "has a syntax error on line 2"),
        ("{{ user_message | shout }}", "has a syntax error on line 1"),
        ("Hello {{ user_mesage }}", "reads user_mesage, which is not defined"),
        ("{% include 'other.j2' %}", "refers to another template on line 1"),
    ],
)
def test_templates_that_cannot_work_are_refused_at_load(
    issues: Issues, tmp_path: Path, template: str, problem: str
) -> None:
    """A template is compiled, and the names it reads are known, before it serves anyone."""
    (tmp_path / "warm.j2").write_text(template, encoding="utf-8")
    text = GOOD.replace('system: "You help, warmly."', "template: warm.j2")
    issue = only(issues(text), f"{EXPERIMENT}.policies.warm.template")

    assert f"The template warm.j2 {problem}" in issue.problem


def test_a_misspelt_template_variable_names_the_right_one(issues: Issues, tmp_path: Path) -> None:
    """The remedy lists what a template may read."""
    (tmp_path / "warm.j2").write_text("{{ user_mesage }}", encoding="utf-8")
    (issue,) = issues(GOOD.replace('system: "You help, warmly."', "template: warm.j2"))

    assert issue.remedy == "Did you mean user_message? A template may read messages, metadata, user_message."


@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, "No such file"), (b"\xff\xfe", "not UTF-8"), (b"x" * 1_000_001, "too large")],
)
def test_unreadable_templates_are_refused(
    issues: Issues, tmp_path: Path, content: bytes | None, problem: str
) -> None:
    """The file must be there, be text, and be of a sane size."""
    if content is not None:
        (tmp_path / "warm.j2").write_bytes(content)
    (issue,) = issues(GOOD.replace('system: "You help, warmly."', "template: warm.j2"))

    assert problem in issue.problem


@pytest.mark.parametrize(
    ("text", "problem", "line"),
    [
        ("", "It is empty.", None),
        ("- a\n", "It does not hold `key: value` lines.", None),
        ("model_list:\n  - {a: b\nexperiments: 3\n", "It is not YAML", 3),
        ("a: *nothing\n", "It is not YAML: found undefined alias 'nothing'", 1),
        ("a: &a [*a]\n", "It is not YAML: an alias may not stand inside its own anchor", 1),
        ("{[a, b]: c}\n", "It is not YAML: a key must be plain text", 1),
        ("a: !!python/object:os.system x\n", "It is not YAML: could not determine a constructor", 1),
        ("a: \x07\n", "It is not YAML", None),
    ],
)
def test_files_that_are_no_configuration_say_so(
    issues: Issues, text: str, problem: str, line: int | None
) -> None:
    """A broken file is reported as one fault, with the line where the reader knows it."""
    (issue,) = issues(text)

    assert issue.problem.startswith(problem)
    assert issue.line == line


def test_a_path_no_file_can_have_is_refused(issues: Issues) -> None:
    """This includes paths that the system itself does not allow."""
    (issue,) = issues(GOOD.replace('system: "You help, warmly."', 'template: "a\\0b"'))

    assert "cannot be read: embedded null byte" in issue.problem


def test_a_missing_file_is_a_fault(tmp_path: Path) -> None:
    """The path is named."""
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: It cannot be read: No such file"):
        load_config(tmp_path / "nowhere.yaml", ENVIRON)
