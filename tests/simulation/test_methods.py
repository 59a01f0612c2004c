"""Every method and stopping rule: proper pairs, sensible targets, honest verdicts."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pytest

from gateway.llm_po import glr
from gateway.llm_po.errors import DesignError, UnsupportedError, WorldError
from gateway.llm_po.glr import rival_evidence
from gateway.llm_po.lab.baselines import EpsilonGreedy, RoundRobin, Rucb, Tracking, borda
from gateway.llm_po.lab.simulate import METHODS, STOPPING_RULES, Trial, simulate
from gateway.llm_po.lab.worlds import World, bradley_terry, cycle, linear, named
from gateway.llm_po.samplers import LlmPo, Situation
from gateway.llm_po.stopping import Design
from gateway.llm_po.unstructured import bernoulli_kl, optimal_allocation
from gateway.llm_po.wins import IntArray

WORLD = bradley_terry("b", [0.9, 0.2, -0.1, -0.6])
BEST: Final = "no_worse_than_best"


def _design(epsilon: float = 0.0) -> Design:
    return Design(0.05, epsilon, 0, (0.0,) * 4)


def _situation(each: int, runs: int = 3, epsilon: float = 0.0) -> Situation:
    rng = np.random.default_rng(0)
    upper = np.triu(rng.binomial(each, WORLD.preferences, size=(runs, 4, 4)), 1)
    played = np.triu(np.full((runs, 4, 4), each), 1)
    wins = upper + (played - upper).swapaxes(1, 2)
    return Situation(wins, np.zeros_like(wins), np.zeros((runs, 4), dtype=np.bool_), _design(epsilon))


@pytest.mark.parametrize("each", [0, 1, 50])
@pytest.mark.parametrize("method", METHODS)
def test_proposed_pairs_are_pairs(method: str, each: int) -> None:
    """Every run and draw gives two different policies, from the first comparison on."""
    pairs = METHODS[method]().pairs(_situation(each), 40, np.random.default_rng(1))

    assert pairs.shape == (3, 40, 2)
    assert (pairs[..., 0] != pairs[..., 1]).all()
    assert pairs.min() >= 0
    assert pairs.max() < 4


def test_pairs_for_a_margin_are_pairs() -> None:
    """The no-worse design proposes proper pairs too."""
    pairs = LlmPo().pairs(_situation(10, epsilon=0.02), 40, np.random.default_rng(1))

    assert (pairs[..., 0] != pairs[..., 1]).all()


def test_round_robin_keeps_the_counts_level() -> None:
    """Twelve draws over six pairs give each pair twice."""
    pairs = RoundRobin().pairs(_situation(0), 12, np.random.default_rng(1))

    for run in pairs:
        _, counts = np.unique(run, axis=0, return_counts=True)
        assert counts.tolist() == [2] * 6


def test_tracking_goes_where_the_optimal_proportions_are_not_met() -> None:
    """If the truth is well known, tracking fills the closed-form allocation where most is missing."""
    target = optimal_allocation(WORLD.preferences).proportions

    pairs = Tracking().pairs(_situation(4_000, runs=1), 60_000, np.random.default_rng(1))[0]

    shares, wanted = _shares(np.sort(pairs, axis=1)), np.triu(target + target.T)
    assert shares[wanted > 0].sum() > 0.99
    assert (np.argsort(shares[wanted > 0]) == np.argsort(wanted[wanted > 0])).all()


def test_own_design_approaches_the_optimal_pairs() -> None:
    """The design draws only pairs of the optimum if the truth is known."""
    target = optimal_allocation(WORLD.preferences).proportions

    pairs = LlmPo().pairs(_situation(4_000, runs=1), 2_000, np.random.default_rng(1))[0]

    assert (_shares(np.sort(pairs, axis=1))[np.triu(target + target.T) > 0]).sum() > 0.99


@pytest.mark.parametrize("promised", [{}, {"epsilon": 0.02}, {"epsilon": 0.02, "promise": BEST}])
def test_pairs_of_one_draw_are_as_likely_as_pairs_of_draws_of_their_own(promised: dict[str, Any]) -> None:
    """Four pairs from each draw of the posterior leave every pair's share as it is."""
    few = _situation(3, runs=1)
    situation = replace(few, design=replace(few.design, **promised), at_half=np.zeros_like(few.wins))

    of_one, of_four = (
        LlmPo(each).pairs(situation, 19_999, np.random.default_rng(each))[0] for each in (1, 4)
    )

    assert len(of_one) == len(of_four) == 19_999
    assert _shares(np.sort(of_four, axis=1)) == pytest.approx(_shares(np.sort(of_one, axis=1)), abs=0.02)


def test_pairs_of_one_draw_certify_one_policy() -> None:
    """A draw fixes which policy is to be certified; its rivals are drawn anew."""
    pairs = LlmPo(4).pairs(_situation(3, runs=1, epsilon=0.02), 80, np.random.default_rng(1))

    certified, rivals = pairs[0, :, 1].reshape(20, 4), pairs[0, :, 0].reshape(20, 4)
    is_one = (certified == certified[:, :1]).all(axis=1)
    assert is_one.mean() > 0.7  # the others look like a cycle
    assert (rivals != rivals[:, :1]).any()


def test_greedy_and_optimistic_rules_find_the_leader() -> None:
    """Both rules compare the best policy with another one if there is much data."""
    rng = np.random.default_rng(1)

    greedy = EpsilonGreedy().pairs(_situation(500, runs=1), 400, rng)[0]
    optimistic = Rucb().pairs(_situation(2_000, runs=1), 400, rng)[0]

    assert (greedy == 0).any(axis=1).mean() > 0.85
    assert (optimistic == 0).any(axis=1).all()


def test_likelihood_ratio_sums_over_the_rivals_that_are_ahead() -> None:
    """Results of 2:8 and 5:5 give 10 kl(.2, .5) nats against policy 0."""
    wins: IntArray = np.array([[[0, 2, 5], [8, 0, 5], [5, 5, 0]]])

    nats = 10 * (0.2 * math.log(0.4) + 0.8 * math.log(1.6))
    assert rival_evidence(wins)[0] == pytest.approx([nats, 0, 0])
    assert borda(wins)[0] == pytest.approx([0.35, 0.65, 0.5])


def test_customary_likelihood_ratio_rule_ends_at_its_threshold() -> None:
    """The threshold is beta(t, delta) = log((1 + log t) / delta)."""
    design = Design(0.05, 0.0, 0, (0.0, 0.0))

    reached = glr.glr_verdict(np.array([[0, 25], [5, 0]]), design, "customary")

    assert reached is not None
    assert (reached.kind, reached.champion) == ("winner", 0)
    assert reached.threshold_nats == pytest.approx(math.log((1 + math.log(30)) / 0.05))
    assert glr.glr_verdict(np.array([[0, 20], [10, 0]]), design, "customary") is None


def test_proven_likelihood_ratio_rule_pays_for_every_rival() -> None:
    """Each of two rivals gets half the stake, so one rival ahead pays log 4 + log(n) / 2."""
    wins = np.array([[0, 5, 8], [25, 0, 16], [12, 14, 0]])

    reached = glr.glr_verdict(wins, Design(0.9, 0.0, 0, (0.0,) * 3))

    against_0 = 30 * _kl(5 / 30) - math.log(4) - 0.5 * math.log(30) + _paid(20, 8 / 20)
    against_2 = _paid(30, 14 / 30) - math.log(2)
    assert reached is None
    assert glr.loser_nats(wins[None], "proven")[0] == pytest.approx([against_0, -2 * math.log(2), against_2])


def _paid(total: int, rate: float) -> float:
    """What a rival that is ahead adds, for three policies: at worst the stake that was not on it."""
    return max(-math.log(2), total * _kl(rate) - math.log(4) - 0.5 * math.log(total))


def _kl(rate: float) -> float:
    return rate * math.log(2 * rate) + (1 - rate) * math.log(2 * (1 - rate))


@pytest.mark.parametrize("threshold", [0.5, 0.52, 0.6])
def test_restricted_mixture_is_what_the_proof_says(threshold: float) -> None:
    """Integration shows that the restricted Beta(1/2, 1/2) mixture pays no less if the rate is below."""
    angles = (np.arange(4000) + 0.5) / 4000 * math.asin(math.sqrt(threshold))
    chances = np.sin(angles) ** 2  # Beta(1/2, 1/2) is uniform in the angle
    slack = math.log(2) if threshold == 0.5 else math.log(2) + 1
    for total in (1, 2, 7, 40, 300):
        for won in range(math.ceil(threshold * total)):
            logs = won * np.log(chances / threshold) + (total - won) * np.log((1 - chances) / (1 - threshold))
            mixture = float(np.log(np.exp(logs - logs.max()).mean()) + logs.max())
            rate = won / total
            ratio = total * float(bernoulli_kl(rate, threshold))
            assert mixture >= ratio - 0.5 * math.log(total) - slack - 1e-3


@pytest.mark.parametrize("stopping", STOPPING_RULES)
def test_both_rules_know_their_verdicts(stopping: str) -> None:
    """Winner, no worse, and the budget's end."""
    trials = {
        "winner": Trial(WORLD, stopping=stopping),
        "no_worse": Trial(WORLD, stopping=stopping, epsilon=0.05),
        "inconclusive": Trial(WORLD, stopping=stopping, max_comparisons=12),
    }

    for kind, trial in trials.items():
        assert simulate(trial, 10, seed=4).outcomes[kind] >= 9


def test_likelihood_ratio_rule_sees_that_nobody_is_left() -> None:
    """Counts that rule out all policies at once mean no winner, with the cycle."""
    wins = np.array([[0, 90, 10], [10, 0, 90], [90, 10, 0]])

    reached = glr.glr_verdict(wins, Design(0.05, 0.0, 0, (0.0,) * 3))

    assert reached is not None
    assert reached.kind == "no_winner"
    assert len(reached.cycle) == 3


def test_budget_is_never_exceeded() -> None:
    """Neither a block nor outcomes in flight exceed the budget."""
    summary = simulate(Trial(WORLD, max_comparisons=33), 20)

    assert max(ending.comparisons for ending in summary.endings) <= 33


def test_report_has_nothing_to_divide_by_where_nobody_is_best() -> None:
    """A cycle has no hardness and no ratio."""
    report = simulate(Trial(cycle("c", 3, 0.9)), 3).to_json()

    assert report["hardness"] is None
    assert report["ratio"] is None


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"method": "guess"}, UnsupportedError, "llm-po-tracking"),
        ({"stopping": "guess"}, UnsupportedError, "e-process, glr"),
        ({"delta": 0.0}, DesignError, "delta is 0.0"),
        ({"epsilon": -1.0}, DesignError, "epsilon is -1.0"),
        ({"in_flight": -1}, DesignError, "in_flight is -1"),
        ({"refresh_every": 0}, DesignError, "refresh_every 0"),
        ({"blind_start": 5, "in_flight": 5}, DesignError, "blind_start is 5"),
    ],
)
def test_trial_out_of_range_is_refused(
    change: dict[str, object], error: type[Exception], message: str
) -> None:
    """The message names the value and what would do."""
    with pytest.raises(error, match=message):
        Trial(WORLD, **change)


@pytest.mark.parametrize(("seeds", "seed"), [(0, 0), (3, -1)])
def test_no_runs_and_no_seed_are_refused(seeds: int, seed: int) -> None:
    """A simulation needs at least one run and a seed from 0 on."""
    with pytest.raises(DesignError, match=r"seeds? is"):
        simulate(Trial(WORLD), seeds, seed)


def test_features_make_a_linear_world() -> None:
    """Scores are features times theta."""
    one = linear("l", [[1.0, 0.0], [0.0, 1.0]], [0.7, -0.2])

    assert one.preferences == pytest.approx(bradley_terry("b", [0.7, -0.2]).preferences)


def test_relabelled_world_keeps_who_beats_whom() -> None:
    """Position i holds old policy order[i], labels and all."""
    moved = WORLD.relabelled(np.array([3, 1, 0, 2]))

    assert moved.champion == 2
    assert moved.labels[2] == WORLD.labels[0]
    assert moved.preferences[2, 0] == WORLD.preferences[0, 3]


def test_labels_must_name_every_policy() -> None:
    """Two policies of one name cannot be told apart in a report."""
    with pytest.raises(WorldError, match="different labels"):
        World("w", ("a", "a"), named("w", [[0.5, 0.6], [0.4, 0.5]]).preferences)


def test_what_is_wrong_depends_on_the_margin() -> None:
    """Only the best is right without a margin; with one, so is every policy beaten by no more than that."""
    near = bradley_terry("n", [0.05, 0.0])

    assert near.is_wrong(1, 0.0)
    assert not near.is_wrong(1, 0.02)
    assert near.is_wrong(1, 0.01)


def _shares(pairs: IntArray) -> np.ndarray:
    counted = np.zeros((4, 4))
    np.add.at(counted, (pairs[:, 0], pairs[:, 1]), 1)
    return counted / len(pairs)
