"""What safety and slow feedback cost: comparisons with them against comparisons without."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.llm_po.lab.simulate import Trial, simulate
from gateway.llm_po.lab.worlds import bradley_terry, cycle

CLEAR = bradley_terry("clear", [0.8, 0.3, 0.1, -0.2, -1.0])
CIRCLE = cycle("circle", 3, 0.8)


@pytest.mark.parametrize(
    ("clear_runs", "cyclic_runs"), [(50, 30), pytest.param(300, 100, marks=pytest.mark.long)]
)
def test_survivor_check_is_free_where_somebody_is_best_and_saves_cycles(
    monkeypatch: pytest.MonkeyPatch, clear_runs: int, cyclic_runs: int
) -> None:
    """Runs in a Bradley-Terry world are as long as without it; in a cycle hardly anyone is promoted."""
    checked, cyclic = simulate(Trial(CLEAR), clear_runs, seed=2), simulate(Trial(CIRCLE), cyclic_runs, seed=2)
    monkeypatch.setattr("gateway.llm_po.forecast.CLEARED", 0.0)
    unchecked = simulate(Trial(CLEAR), clear_runs, seed=2)
    unprotected = simulate(Trial(CIRCLE), cyclic_runs, seed=2)

    assert checked.mean < unchecked.mean * 1.05
    assert cyclic.wrong <= 0.1 * cyclic_runs
    assert unprotected.wrong >= 0.9 * cyclic_runs


def test_long_delays_cost_little_more_than_what_is_in_flight() -> None:
    """A run with 200 outcomes in flight takes at most 1.4 times the run without delay plus 200."""
    world = bradley_terry("b", np.linspace(0.5, -1.5, 8))
    prompt = simulate(Trial(world, refresh_every=50), 60, seed=3)

    delayed = simulate(Trial(world, refresh_every=50, in_flight=200), 60, seed=3)

    assert delayed.mean < 1.4 * (prompt.mean + 200)


def test_cycle_at_a_margin_ends_long_before_the_budget() -> None:
    """The counts alone show the cycle, long before max_comparisons."""
    summary = simulate(Trial(CIRCLE, epsilon=0.02, max_comparisons=20_000), 50, seed=4)

    assert summary.outcomes["no_winner"] == 50
    assert summary.mean < 400
