"""Waiting in tests: the framework's limit is the only one, and impatience follows the machine."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tests import pace

ROOT = Path(__file__).parent.parent


def test_conditions_may_take_as_long_as_a_test() -> None:
    """A shorter wait would make a busy machine fail."""
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    assert options["timeout"] == pace.PATIENCE_SECONDS


def test_impatience_grows_with_the_machines_slowness(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six times the load gives six times the patience with a provider that stalls."""
    pace.slowness.cache_clear()
    monkeypatch.setenv("LLMPO_TEST_SLOWNESS", "6")
    assert pace.impatient(0.25) == 1.5
    pace.slowness.cache_clear()


def test_slowness_is_at_least_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fast machine is not asked for shorter times than the tests were written for."""
    pace.slowness.cache_clear()
    monkeypatch.delenv("LLMPO_TEST_SLOWNESS", raising=False)
    assert 1 <= pace.slowness() <= 20
