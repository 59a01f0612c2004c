"""What a run can be told and what it notes on its way: ties, drift, budgets, incumbents, checkpoints."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from gateway.llm_po.errors import DesignError, WorldError
from gateway.llm_po.evidence import Ledgers
from gateway.llm_po.lab.simulate import Trial, batches, run_batch, simulate
from gateway.llm_po.lab.traces import checkpoints, decision_progress
from gateway.llm_po.lab.world_files import world_from_json
from gateway.llm_po.lab.worlds import Drift, World, bradley_terry, drifting, named, success_rates
from gateway.llm_po.stopping import Design

WORLD = bradley_terry("b", [0.9, 0.2, -0.1, -0.6])
EQUALS = named("e", np.full((3, 3), 0.5))


@pytest.mark.parametrize("stopping", ["e-process", "glr"])
@pytest.mark.parametrize("in_flight", [0, 50, 500])
def test_budget_bounds_what_is_assigned(stopping: str, in_flight: int) -> None:
    """Outcomes in flight are part of the budget, and awaited when it is spent."""
    trial = Trial(EQUALS, stopping=stopping, max_comparisons=120, in_flight=in_flight, refresh_every=50)

    summary = simulate(trial, 10)

    assert {ending.comparisons for ending in summary.endings if ending.kind == "inconclusive"} == {120}
    assert max(ending.comparisons for ending in summary.endings) <= 120


@pytest.mark.parametrize("stopping", ["e-process", "glr"])
def test_ties_use_up_the_budget(stopping: str) -> None:
    """A run in which nearly every comparison is a tie ends at its budget under every rule."""
    ties = World("t", EQUALS.labels, EQUALS.preferences, np.full((3, 3), 0.99))

    summary = simulate(Trial(ties, stopping=stopping, max_comparisons=60), 5)

    assert summary.outcomes["inconclusive"] == 5


def test_budget_below_the_minimum_still_ends_a_run() -> None:
    """A minimum that the budget never reaches leaves every run undecided, and no run going on."""
    summary = simulate(Trial(WORLD, max_comparisons=20, min_comparisons=30), 5)

    assert summary.outcomes["inconclusive"] == 5


def test_blind_start_assigns_before_it_counts_and_then_waits_for_nothing() -> None:
    """All comparisons of the start are assigned by the first decision; later ones are counted at once."""
    clear, close = bradley_terry("c", [2.0, -2.0]), bradley_terry("n", [0.3, 0.0])

    early = simulate(Trial(clear, blind_start=200, refresh_every=10), 10)
    late = simulate(Trial(close, blind_start=200, refresh_every=10, min_comparisons=310), 10)

    assert {ending.comparisons for ending in early.endings} == {200}
    assert min(ending.comparisons for ending in late.endings) == 310


def test_no_run_decides_before_the_minimum() -> None:
    """`min_comparisons` holds every verdict back."""
    assert min(ending.comparisons for ending in simulate(Trial(WORLD, min_comparisons=700), 4).endings) >= 700


@pytest.mark.parametrize("runs", [40, pytest.param(100, marks=pytest.mark.long)])
def test_ties_stretch_a_run_and_change_nothing_else(runs: int) -> None:
    """A decision takes twice as many comparisons if half of them are ties."""
    tied = World("t", WORLD.labels, WORLD.preferences, np.full((4, 4), 0.5))

    plain, stretched = simulate(Trial(WORLD), runs, seed=8), simulate(Trial(tied), runs, seed=8)

    assert stretched.mean == pytest.approx(2 * plain.mean, rel=0.15)


def test_cheapest_of_equals_is_promoted_whatever_a_run_calls_it() -> None:
    """Costs belong to the world's policies, not to the places they have in a run."""
    cheap = Trial(EQUALS, "round-robin", epsilon=0.2, costs=(3.0, 1.0, 2.0), min_comparisons=600)

    promoted = [ending.promoted for ending in simulate(cheap, 10).endings]

    assert promoted.count(1) >= 8


def test_incumbent_of_equals_stays() -> None:
    """The incumbent is preferred among certified policies with equal costs."""
    stays = Trial(EQUALS, "round-robin", epsilon=0.2, incumbent=2, min_comparisons=600)

    promoted = [ending.promoted for ending in simulate(stays, 10).endings]

    assert promoted.count(2) >= 8


def test_costs_of_other_policies_are_refused() -> None:
    """One cost per policy."""
    with pytest.raises(DesignError, match="costs has 2 entries"):
        Trial(WORLD, costs=(1.0, 2.0))


def test_noting_leaders_changes_no_run() -> None:
    """Checkpoints are looked at, not taken part in."""
    trial = Trial(WORLD, max_comparisons=400)

    plain, traced = simulate(trial, 20), simulate(trial, 20, budgets=checkpoints(400))

    for with_notes, without in zip(traced.endings, plain.endings, strict=True):
        assert (with_notes.kind, with_notes.comparisons) == (without.kind, without.comparisons)
        assert with_notes.promoted == without.promoted


@pytest.mark.parametrize("stopping", ["e-process", "glr-customary"])
def test_leader_is_judged_in_the_order_of_the_run(stopping: str) -> None:
    """The champion soon leads nearly all runs of an easy world and still leads when they stop."""
    easy = bradley_terry("easy", [2.0, 0.0, -0.5, -1.0])

    endings = simulate(Trial(easy, stopping=stopping), 100, budgets=(10, 100, 1000)).endings

    leads = np.mean([ending.leads for ending in endings], axis=0)
    assert leads[0] > 0.5
    assert leads[1] > 0.95
    assert leads[2] == 1.0


def test_evidence_is_noted_only_where_a_rule_goes_by_it() -> None:
    """Shares of what a decision needs, full once decided; nothing under a likelihood ratio."""
    budgets = (10, 100, 1000)

    exact = simulate(Trial(WORLD), 20, budgets=budgets).endings
    ratio = simulate(Trial(WORLD, stopping="glr"), 20, budgets=budgets).endings

    assert all(0 <= share <= 1 for ending in exact for share in ending.progress)
    assert all(ending.progress[-1] == 1.0 for ending in exact)
    assert all(ending.progress == () for ending in ratio)


def test_undecided_run_notes_how_far_it_came() -> None:
    """The last share of a run that spent its budget is that of its evidence."""
    endings = simulate(Trial(WORLD, epsilon=0.02, max_comparisons=30), 20, budgets=(10, 1000)).endings

    assert {ending.kind for ending in endings} == {"inconclusive"}
    assert all(ending.progress[-1] < 1.0 for ending in endings)


def test_progress_is_that_of_the_policy_the_decision_waits_for() -> None:
    """Worked by hand: 3 nats needed against all but one; the second lowest row has 1.5."""
    ledgers = Ledgers(1, 3, float(np.exp(-3)), 0.0)
    ledgers.evidence[0] = np.array([[0, 0, -1], [1, 0, 0.5], [2, 0.5, 0]]) * 1_000_000_000

    shares = decision_progress(ledgers, Design(float(np.exp(-3)), 0.0, 0, (0.0,) * 3))

    assert shares == pytest.approx([0.5])


def test_checkpoints_rise_to_the_last() -> None:
    """The checkpoints are different whole numbers, and the last one is the limit."""
    found = checkpoints(5_000)

    assert found[-1] == 5_000
    assert all(before < after for before, after in pairwise(found))
    assert len(found) <= 40


def test_batches_cover_every_run_once() -> None:
    """Batches of at most a hundred cover any number of runs."""
    parts = batches(Trial(WORLD), 250)

    assert [part.first for part in parts] == [0, 100, 200]
    assert sum(part.runs for part in parts) == 250


def test_many_runs_go_side_by_side_in_larger_batches() -> None:
    """Twenty batches are enough to keep every core busy, so beyond that they grow, and still cover all."""
    parts = batches(Trial(WORLD), 10_000)

    assert [part.first for part in parts] == list(range(0, 10_000, 500))
    assert sum(part.runs for part in parts) == 10_000


def test_batches_do_not_depend_on_one_another() -> None:
    """A later batch gives the same endings when it is run alone."""
    trial = Trial(WORLD, refresh_every=20)

    alone = run_batch(trial, batches(trial, 130)[1], seed=3)

    assert tuple(alone) == simulate(trial, 130, seed=3).endings[100:]


def test_success_rates_make_the_comparisons_two_units_make() -> None:
    """Enumerating both outcomes gives the share of wins among decisive pairs and the share of ties."""
    rates = [0.85, 0.95, 0.3]
    world = success_rates("r", rates)

    for first, p in enumerate(rates):
        for second, q in enumerate(rates):
            win, loss = p * (1 - q), (1 - p) * q
            assert world.preferences[first, second] == pytest.approx(win / (win + loss))
            assert world.ties is not None
            assert world.ties[first, second] == pytest.approx(1 - win - loss)
    assert world.champion == 1


def test_file_of_success_rates_is_a_world() -> None:
    """The world has its own labels, and ties count."""
    world = world_from_json({"rates": [0.4, 0.6], "labels": ["a", "b"]}, "file")

    assert (world.name, world.labels) == ("file", ("a", "b"))
    assert world.ties is not None


@pytest.mark.parametrize("rates", [[0.5, 1.0], [0.0, 0.5], [0.5, 2.0]])
def test_certain_outcomes_are_refused(rates: list[float]) -> None:
    """Rates are strictly between 0 and 1."""
    with pytest.raises(WorldError, match="strictly between"):
        success_rates("r", rates)


@pytest.mark.parametrize("ties", [np.full((2, 2), 0.5), np.full((3, 3), 1.0), np.triu(np.full((3, 3), 0.1))])
def test_ties_that_are_none_are_refused(ties: np.ndarray) -> None:
    """Ties must have the right shape, be below one, and be symmetric."""
    with pytest.raises(WorldError, match="ties has shape"):
        World("t", EQUALS.labels, EQUALS.preferences, ties)


def test_drifting_champion_is_found() -> None:
    """Preferences change all the time; the policy that beats all others is still promoted."""
    world = drifting("d", [0.6, 0.0, -0.4], [1.5, 0.3, 0.6], period=200)

    assert simulate(Trial(world), 60).outcomes["winner"] == 60
    assert simulate(Trial(world), 60).wrong <= 6


def test_drift_swings_there_and_back() -> None:
    """Nothing at the start, all the way half a period in, back at its end."""
    drift = Drift(WORLD.preferences, period=100)

    assert drift.share(np.array([0, 50, 100])) == pytest.approx([0, 1, 0])


def test_drift_to_another_champion_is_refused() -> None:
    """No promotion could be called right."""
    with pytest.raises(WorldError, match="another champion"):
        drifting("d", [0.5, 0.0], [0.0, 0.5], period=100)


@pytest.mark.parametrize(
    ("later", "period", "message"), [([1.0, 0.0, 0.0], 10, "must agree"), ([1.0, 0.0], 0, "period of 0")]
)
def test_drift_that_does_not_fit_is_refused(later: list[float], period: int, message: str) -> None:
    """A drift needs as many scores as there are policies, and a period."""
    with pytest.raises(WorldError, match=message):
        drifting("d", [0.5, 0.0], later, period)
