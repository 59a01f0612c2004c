"""The rule that ours is measured against does what its public source does."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def rule(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark, imported as it runs: from its own directory."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("rival_rule")


def test_rule_stops_at_its_threshold(rule: ModuleType) -> None:
    """Worked by hand: 60 and 80 of 100 are far enough apart at a margin of 0, 60 and 71 are not."""
    counts = np.array([[100, 100], [100, 100]])
    successes = np.array([[60, 80], [60, 71]])

    first = 0.2**2 / (2 * (0.6 * 0.4 / 99 + 0.8 * 0.2 / 99))
    assert first > math.log((1 + math.log(200)) / 0.05) > 0.11**2 / (2 * (0.6 * 0.4 / 99 + 0.71 * 0.29 / 99))
    assert rule.their_rule(counts, successes, 0.0).tolist() == [True, False]


def test_rule_waits_for_ten_of_each(rule: ModuleType) -> None:
    """Nine of one variant are not enough, whatever they say."""
    assert not rule.their_rule(np.array([[9, 500]]), np.array([[0, 500]]), 0.0)[0]


def test_rule_stops_at_once_where_nothing_varied(rule: ModuleType) -> None:
    """Ten successes of each: no variance, so any margin is beyond doubt; the first variant is promoted."""
    counts, successes = np.array([[10, 10]]), np.array([[10, 10]])

    assert rule.their_rule(counts, successes, 0.03)[0]
    assert rule.their_leader(counts, successes)[0] == 0


def test_higher_mean_leads(rule: ModuleType) -> None:
    """The policy with the higher mean leads; between equal means, the one with the smaller variance leads."""
    counts = np.array([[10, 10], [10, 20]])
    successes = np.array([[5, 6], [5, 10]])

    assert rule.their_leader(counts, successes).tolist() == [1, 1]
