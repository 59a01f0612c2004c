"""Saving what comparisons cost rather than comparisons."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gateway.llm_po.errors import DesignError
from gateway.llm_po.lab.simulate import Trial, simulate
from tests.simulation.calibration import bt, most_by_chance

DEAR_CHAMPION = Trial(bt(1.0, 0.0, *[-1.2] * 6), costs=(20.0, *[1.0] * 7))


@pytest.mark.parametrize("runs", [25, pytest.param(100, marks=pytest.mark.long)])
def test_the_same_is_learnt_for_less_money(runs: int) -> None:
    """Losers meet a cheap opponent, so more comparisons cost less money without more wrong decisions."""
    by_count = simulate(DEAR_CHAMPION, runs, seed=5)
    by_cost = simulate(replace(DEAR_CHAMPION, objective="cost"), runs, seed=5)

    spent = [float(np.mean([ending.cost for ending in one.endings])) for one in (by_count, by_cost)]
    assert spent[1] < 0.9 * spent[0]
    assert by_cost.mean > by_count.mean
    assert by_cost.wrong <= most_by_chance(runs)


def test_cost_is_that_of_both_requests() -> None:
    """Two policies: every comparison asks both."""
    summary = simulate(Trial(bt(0.5, 0.0), costs=(2.0, 3.0)), 5, seed=1)

    for ending in summary.endings:
        assert ending.cost == pytest.approx(5 * ending.comparisons)


def test_saving_cost_needs_costs() -> None:
    """A policy that declares none cannot be weighed."""
    with pytest.raises(DesignError, match="positive one for every policy"):
        Trial(bt(0.5, 0.0), costs=(1.0, 0.0), objective="cost")
