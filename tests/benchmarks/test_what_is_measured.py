"""Benchmarks that reach into a simulation still find what they change there."""

from __future__ import annotations

import importlib
import math
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def as_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    """These import each other as they do when they are run by their path."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_true_forecasts_take_fewer_comparisons() -> None:
    """The truth is put in the place of what was learnt."""
    lost = importlib.import_module("benchmarks.what_is_lost")
    world = next(world for world in lost.clear_worlds() if world.name == "bt-5")
    learnt, true = (lost.multiple(world, variant, 100)[0] for variant in ("as it is", "true forecasts"))
    assert true < learnt


def test_bets_on_a_known_difference_win_what_the_outcomes_tell() -> None:
    """After 3 wins of 10 at a logit of -log 2 the wealth is (2/3)^3 (4/3)^7, and no prior ends sooner."""
    known = importlib.import_module("benchmarks.known_scale")
    wealth = known.log_wealth(np.array([3]), np.array([10]), np.array([math.log(2)]))
    assert np.exp(wealth) == pytest.approx((2 / 3) ** 3 * (4 / 3) ** 7)
    first, *others = (multiples.mean() for multiples in known.taken(0.4, 50).values())
    assert all(first < mean for mean in others)


def test_run_within_caps_comes_to_a_decision() -> None:
    """A policy capped at 5 % answers no more than that, and the run ends all the same."""
    caps = importlib.import_module("benchmarks.exposure_caps")
    world = caps.worlds.bradley_terry("far apart", [2.0, 0.0, -2.0])
    run = caps.run(world, caps.Case("the worst: 5 %", {caps.WORST: 0.05}), 0.02, seed=1)
    assert run.is_decided
    assert not run.is_wrong
    assert run.shares[caps.WORST] <= 0.05 + 1e-6


def test_signals_count_for_votes_only_as_far_as_they_follow_them() -> None:
    """As evidence, signals against votes promote what voters like less; wrong is what votes say is."""
    sources = importlib.import_module("benchmarks.sources")
    world = next(world for world in sources.known_worlds(is_large=False) if world.name == "bt-2")
    with_, against = (
        sources._evidence_of_both(world, sources.Setting("both", follows=follows), 10)[1]
        for follows in (0.9, 0.1)
    )
    assert (with_, against) == (0, 10)
