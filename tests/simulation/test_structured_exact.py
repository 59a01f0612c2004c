"""`guarantee: exact` in a structured space: features inform the forecasts, the promise is the e-process's."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.llm_po.errors import DesignError, UnsupportedError, WorldError
from gateway.llm_po.lab.simulate import Trial, simulate
from gateway.llm_po.lab.trial import Space
from gateway.llm_po.lab.worlds import World, bradley_terry, grid
from gateway.simulation.runner import Job

GRID = grid(
    "grid",
    {
        "model": {"a": 0.0, "b": -0.4, "c": -0.7},
        "prompt": {"x": 0.0, "y": -0.5, "z": -0.3},
        "temperature": {"0": 0.0, "1": -0.4},
    },
)
PLAIN = bradley_terry("b", [0.9, 0.2, -0.1, -0.6])


@pytest.mark.parametrize("runs", [30, pytest.param(122, marks=pytest.mark.long)])
def test_features_save_comparisons_and_keep_the_promise(runs: int) -> None:
    """Features of a grid of 18 save about 15 %, more than chance could, and wrong promotions are rare."""
    ignoring = simulate(Trial(GRID, refresh_every=50), runs, seed=1)

    informed = simulate(Trial(GRID, space="linear", refresh_every=50), runs, seed=1)

    assert informed.outcomes["winner"] == runs
    assert informed.wrong <= 0.05 * runs
    assert informed.mean + 2 * informed.stderr < ignoring.mean


def test_wrong_promotions_stay_within_the_error_level() -> None:
    """The winner is ruled out, at a lax level, at most at the rate delta plus three standard errors."""
    near = grid("near", {"m": {"a": 0.0, "b": -0.15}, "p": {"x": 0.0, "y": -0.8}})

    summary = simulate(Trial(near, space="linear", delta=0.2, refresh_every=25), 150, seed=5)

    ended = summary.outcomes
    assert summary.wrong + ended["no_winner"] <= 150 * 0.2 + 3 * np.sqrt(150 * 0.2 * 0.8)
    assert ended["winner"] + ended["no_winner"] == 150
    assert ended["winner"] >= 0.99 * 150


def test_features_that_are_wrong_cost_comparisons_and_not_the_promise() -> None:
    """The scores follow no grid; the evidence does not care what the forecasts believed."""
    scores = np.random.default_rng(3).normal(0, 0.8, 6)
    two_axes = grid("g", {"m": {"a": 0.0, "b": 0.1}, "p": {"x": 0.0, "y": 0.1, "z": 0.2}})
    truth = bradley_terry("misled", scores)
    misled = World("misled", truth.labels, truth.preferences, features=two_axes.features)

    summary = simulate(Trial(misled, space="linear", delta=0.1), 100, seed=2)

    assert summary.outcomes["winner"] == 100
    assert summary.wrong <= 10


def test_margin_is_certified_with_features_too() -> None:
    """The same evidence certifies a policy as no worse."""
    summary = simulate(Trial(GRID, space="linear", epsilon=0.1), 10, seed=3)

    assert summary.outcomes["no_worse"] == 10
    assert summary.wrong <= 1


@pytest.mark.parametrize("space", [None, "unstructured"])
def test_nothing_is_assumed_unless_a_space_is_named(space: Space | None) -> None:
    """A world that has features is simulated without them by default."""
    assert Trial(GRID, space=space).features is None


def test_spaces_are_those_of_a_configuration() -> None:
    """`linear` takes the world's features, `bradley_terry` a score per policy even where there are some."""
    linear, scores = Trial(GRID, space="linear").features, Trial(GRID, space="bradley_terry").features

    assert linear is GRID.features
    assert scores is not None
    assert scores.rank == GRID.policies - 1


def test_hardness_is_that_of_the_promise() -> None:
    """Forecasts that know more do not make an exact promise easier to keep; `lr-mixture` promises less."""
    assert Trial(GRID, space="linear").hardness == Trial(GRID).hardness
    assert Trial(GRID, space="linear", stopping="lr-mixture").hardness < Trial(GRID).hardness


def test_named_space_is_reported() -> None:
    """Two reports of one world say what each assumed."""
    summary = simulate(Trial(PLAIN, space="bradley_terry"), 2)

    assert summary.to_json()["space"] == "bradley_terry"
    assert "space" not in simulate(Trial(PLAIN), 2).to_json()


def test_jobs_that_assume_differently_are_different_jobs() -> None:
    """A state file never mixes them up."""
    plain, informed = (Job("j", Trial(GRID, space=space), 5).fingerprint for space in (None, "linear"))

    assert plain != informed


def test_saving_cost_is_measured_in_cost() -> None:
    """The report divides what was spent by what a nat costs at least."""
    trial = Trial(PLAIN, costs=(20.0, 1.0, 3.0, 0.5), objective="cost")

    report = simulate(trial, 10, seed=4).to_json()

    assert report["ratio"] == pytest.approx(report["mean_cost"] / (report["hardness"] * np.log(20)))
    assert 0.5 < report["ratio"] < 6


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"space": "metric"}, UnsupportedError, "unstructured, bradley_terry, linear"),
        ({"space": "linear"}, WorldError, 'no features; give "features" and "theta", or a "grid"'),
        ({"space": "unstructured", "stopping": "lr-mixture"}, DesignError, "lr-mixture cannot decide"),
    ],
)
def test_space_that_does_not_go_with_the_rest_is_refused(
    change: dict[str, object], error: type[Exception], message: str
) -> None:
    """The message says what to change."""
    with pytest.raises(error, match=message):
        Trial(PLAIN, **change)  # type: ignore[arg-type]
