"""What log lines are called: words a collector can filter by, each explained to operators."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "log"}


def _events(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in LEVELS
            and (ast.unparse(node.func.value) == "_log" or "get_logger" in ast.unparse(node.func.value))
        ):
            texts = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            yield texts[0] if texts else ast.unparse(node)


@pytest.fixture(scope="module")
def events() -> set[str]:
    """The event of every line that the gateway and the store log."""
    return {
        event
        for package in ("gateway", "policy_store")
        for path in sorted((ROOT / package).rglob("*.py"))
        if "demo" not in path.parts  # it talks to the person at its terminal
        for event in _events(path)
    }


def test_events_are_words(events: set[str]) -> None:
    """Every line's event is a snake_case word; what differs from line to line stands in fields."""
    assert {"store_back", "listening", "embedded_store_ended", "library_warning"} <= events
    assert {event for event in events if not re.fullmatch(r"[a-z]+(_[a-z]+)*", event)} == set()


def test_every_event_is_explained_to_operators(events: set[str]) -> None:
    """The table in docs/operations.md has a row for each event there is, and for no other."""
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    table = page.partition("## Logs")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == events
