"""The promise, by simulation: at most a share delta of experiments promotes wrongly, whatever the world."""

from __future__ import annotations

import pytest

from gateway.llm_po.lab import worlds
from gateway.llm_po.lab.simulate import Trial, simulate
from tests.simulation.calibration import BEST_TRIALS, SOURCE_TRIALS, TRIALS, bt, most_by_chance

EVERY_TRIAL = {**TRIALS, **BEST_TRIALS, **SOURCE_TRIALS}
QUICK = (
    "near tie at the top",
    "not Bradley-Terry",
    "two equals, with a margin",
    "one ahead by just more than the margin, no worse than the best",
    "cycle, with a margin",
    "drifting preferences",
    "200 outcomes in flight",
    "beaten by just more than the margin, wrong judge",
    "likelihood-ratio rule",
)
"""One of each kind of world, promise, delay and rule; the long tests have all of them."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.long) for name in TRIALS]
)
def test_wrong_promotions_stay_within_delta(name: str) -> None:
    """The share of runs that promote wrongly is at most delta, within sampling error, and every run ends."""
    summary = simulate(TRIALS[name], seeds=50, seed=11)

    assert summary.wrong <= most_by_chance(50)
    assert summary.outcomes["inconclusive"] == 0


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", EVERY_TRIAL)
def test_wrong_promotions_stay_within_delta_in_ten_thousand_runs(name: str) -> None:
    """Of 10,000 runs at most 463 may be wrong."""
    summary = simulate(EVERY_TRIAL[name], seeds=10_000, seed=12)

    assert summary.wrong <= 463


def test_the_better_policy_is_nearly_always_the_one_promoted() -> None:
    """The rule does not keep its promise by deciding at random or not at all."""
    summary = simulate(TRIALS["clear"], seeds=100, seed=13)

    assert summary.outcomes["winner"] == 100
    assert summary.wrong <= 2


def test_circle_ends_without_a_promotion() -> None:
    """If no policy beats all others, nearly every run says so."""
    summary = simulate(Trial(worlds.cycle("circle", 3, 0.8)), seeds=50, seed=14)

    assert summary.outcomes["no_winner"] >= 45


def test_budget_ends_a_run_without_a_promotion() -> None:
    """A run that spends its budget is inconclusive and promotes nothing."""
    summary = simulate(Trial(bt(0.01, 0.0), max_comparisons=100), seeds=50, seed=16)

    assert summary.outcomes["inconclusive"] >= 45
    assert all(ending.comparisons <= 100 for ending in summary.endings)


def test_comparisons_go_where_the_closed_form_sends_them() -> None:
    """Sampling approaches the optimum: no world of this size takes twice the yardstick on average."""
    report = simulate(Trial(bt(0.8, 0.3, 0.1, -0.2, -1.0)), seeds=100, seed=16).to_json()

    assert report["ratio"] < 1.8
