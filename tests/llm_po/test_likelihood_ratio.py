"""Stopping by likelihood ratio, the structured sampler and the goodness of fit."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gateway.llm_po.bradley_terry import differences, logistic
from gateway.llm_po.lab import worlds
from gateway.llm_po.lab.simulate import Trial, simulate
from gateway.llm_po.samplers import Situation
from gateway.llm_po.stopping import Design
from gateway.llm_po.structured.features import Grid, one_hot
from gateway.llm_po.structured.goodness_of_fit import goodness_of_fit
from gateway.llm_po.structured.likelihood_ratio import (
    TAU,
    lr_line_nats,
    lr_may_conclude,
    lr_verdict,
    margin_logits,
    mixture_nats,
    rival_nats,
)
from gateway.llm_po.structured.linear import fit_structure
from gateway.llm_po.structured.sampler import StructuredSampler, aim, shares_due
from gateway.llm_po.wins import FloatArray, IntArray, pair_totals

GRID = Grid({"model": "abc", "prompt": "xy"}).features()


def _design(policies: int, epsilon: float = 0.0, **changes: object) -> Design:
    return Design(
        **{"delta": 0.05, "epsilon": epsilon, "incumbent": 0, "costs": (0.0,) * policies, **changes}
    )


def _expected(scores: FloatArray, each: int) -> IntArray:
    """`each` comparisons of every pair that come out as expected, rounded."""
    won = np.rint(each * np.triu(logistic(differences(scores)), 1)).astype(np.int64)
    return np.asarray(won + np.tril(each - won.T, -1))


def test_ratio_of_two_policies_is_the_binomial_one() -> None:
    """For one pair the ratio is n kl(rate, 1/2), and its variance is 4/n at the constraint."""
    wins = np.array([[[0, 33], [17, 0]]])
    rate = 0.66
    ratio = 50 * (rate * math.log(2 * rate) + (1 - rate) * math.log(2 * (1 - rate)))

    found = rival_nats(wins, one_hot(2), np.array([0]), 0.0, fit_structure(wins, one_hot(2)))[0, 1]

    expected = mixture_nats(np.array([ratio]), np.array([4 / 50]))[0]
    assert found == pytest.approx(expected, abs=1e-5)


def test_mixture_is_the_integral_it_claims_to_be() -> None:
    """Quadrature over the half-normal prior gives the same likelihood ratio of a normal estimate."""
    variance, estimate = 0.04, 0.5
    gap = np.linspace(0, 6, 200_001)
    prior = 2 / (TAU * math.sqrt(2 * math.pi)) * np.exp(-(gap**2) / (2 * TAU**2))
    integrand = prior * np.exp((estimate * gap - gap**2 / 2) / variance)
    mixed = math.log(float(((integrand[1:] + integrand[:-1]) / 2).sum() * (gap[1] - gap[0])))

    found = mixture_nats(np.array([estimate**2 / (2 * variance)]), np.array([variance]))[0]

    assert found == pytest.approx(mixed, abs=1e-6)


def test_rival_ahead_has_nothing_against_it() -> None:
    """The statistic is zero if the fit itself meets the constraint, and infinite for the policy itself."""
    wins = _expected(np.array([0.6, 0.0, -0.6]), 40)[None]

    nats = rival_nats(wins, one_hot(3), np.array([1]), 0.0, fit_structure(wins, one_hot(3)))[0]

    assert nats[0] == 0
    assert nats[1] == math.inf
    assert nats[2] > 1.5


def test_unidentified_rival_has_nothing_against_it() -> None:
    """A policy that was never compared cannot be ruled out, however much is known of the others."""
    wins = np.zeros((1, 3, 3), dtype=np.int64)
    wins[0, 0, 1], wins[0, 1, 0] = 400, 100

    nats = rival_nats(wins, one_hot(3), np.array([0]), 0.0, fit_structure(wins, one_hot(3)))[0]

    assert nats[1] > 20
    assert nats[2] == pytest.approx(0, abs=1e-3)


def test_policy_that_won_everything_is_certified() -> None:
    """Separation does not hold a clear decision up."""
    wins = np.array([[0, 30, 30], [0, 0, 18], [0, 12, 0]])

    reached = lr_verdict(wins, _design(3), one_hot(3))

    assert reached is not None
    assert (reached.kind, reached.champion) == ("winner", 0)
    assert reached.threshold_nats == pytest.approx(math.log(20))


def test_verdict_waits_for_evidence_and_permission() -> None:
    """Too few comparisons, an unmet minimum or a hold prevents a verdict."""
    clear = _expected(np.array([0.8, 0.0, -0.5, -0.7, -0.9, -1.0]), 30)

    assert lr_verdict(clear // 15, _design(6), GRID) is None
    assert lr_verdict(clear, _design(6, min_comparisons=10_000), GRID) is None
    assert lr_verdict(clear, _design(6, may_decide=False), GRID) is None
    assert lr_verdict(clear, _design(6), GRID) is not None


def test_among_equals_the_cheapest_then_the_incumbent_is_taken() -> None:
    """Several policies may be certified if there is a margin."""
    wins = _expected(np.array([0.0, 0.0, -1.0]), 4000)

    cheap = lr_verdict(wins, _design(3, 0.05, costs=(2.0, 1.0, 3.0)), one_hot(3))
    kept = lr_verdict(wins, _design(3, 0.05, incumbent=1), one_hot(3))

    assert cheap is not None
    assert (cheap.kind, cheap.champion) == ("no_worse", 1)
    assert cheap.threshold_nats == pytest.approx(lr_line_nats(0.05, 0.05, 3))
    assert kept is not None
    assert kept.champion == 1


def test_bound_that_spares_fits_never_hides_a_decision() -> None:
    """The cheap bound and the exact statistics agree on who may conclude, run after run."""
    rng = np.random.default_rng(5)
    scores = np.array([0.5, 0.2, 0.0, -0.2, -0.4, -0.6])
    won = rng.binomial(25, np.broadcast_to(logistic(differences(scores)), (40, 6, 6)))
    wins = np.triu(won, 1) + np.tril(25 - won.swapaxes(1, 2), -1)
    fitted = fit_structure(wins, GRID)

    exact = rival_nats(wins, GRID, fitted.scores.argmax(axis=1), 0.0, fitted).min(axis=1)

    reached = lr_may_conclude(wins, _design(6), GRID, fitted)
    assert reached.tolist() == (exact >= math.log(20)).tolist()
    assert 0 < reached.sum() < 40


def test_margin_in_logits() -> None:
    """The margin in logits is logit(1/2 + epsilon)."""
    assert margin_logits(0.0) == 0
    assert margin_logits(0.02) == pytest.approx(math.log(0.52 / 0.48))


def test_sampler_starts_by_making_every_pair_identifiable() -> None:
    """A first block of a few comparisons per direction already connects all policies."""
    features = one_hot(8)
    wins = np.zeros((1, 8, 8), dtype=np.int64)
    situation = Situation(wins, wins, np.zeros((1, 8), dtype=np.bool_), _design(8))

    pairs = StructuredSampler(features).pairs(situation, 28, np.random.default_rng(1))

    assert pairs.shape == (1, 28, 2)
    assert (pairs[..., 0] < pairs[..., 1]).all()
    assert len(np.unique(pairs)) == 8


def test_sampler_deals_what_is_missing_and_spreads_what_is_in_flight() -> None:
    """A pair far ahead of its share gets nothing; over posterior draws a block is spread over many pairs."""
    wins = _expected(np.linspace(0.5, -0.5, 6), 10)
    wins[0, 5] += 219  # at their true rate, so that the scores stay what they are
    wins[5, 0] += 81
    runs = np.repeat(wins[None], 50, axis=0)
    situation = Situation(runs, runs * 0, np.zeros((50, 6), dtype=np.bool_), _design(6))

    due = np.triu(shares_due(aim(situation, one_hot(6), np.random.default_rng(2)), situation.wins, 50))

    assert (due[:, 0, 5] == 0).all()
    assert due.sum(axis=(1, 2)) == pytest.approx(1)
    assert due.mean(axis=0).max() < 0.7
    assert ((due > 0).sum(axis=(1, 2)) >= 3).all()


def test_counts_from_the_model_fit_it() -> None:
    """Counts as expected under the model leave a small deviance and a p-value near one."""
    found = goodness_of_fit(_expected(np.linspace(0.5, -0.5, 6), 200), one_hot(6))

    assert found.p_value > 0.5
    assert not found.is_misfit


def test_cycle_does_not_fit() -> None:
    """No scores explain rock, paper, scissors."""
    wins = np.array([[0, 80, 20], [20, 0, 80], [80, 20, 0]])

    found = goodness_of_fit(wins, one_hot(3))

    assert found.is_misfit
    assert found.deviance > 10 * found.expected


def test_nothing_is_said_before_pairs_outnumber_parameters() -> None:
    """A tree of pairs is always fitted perfectly."""
    wins = np.zeros((3, 3), dtype=np.int64)
    wins[0, 1], wins[1, 0], wins[1, 2] = 3, 2, 4

    assert goodness_of_fit(wins, one_hot(3)).p_value == 1
    assert goodness_of_fit(np.zeros((3, 3), dtype=np.int64), one_hot(3)).p_value == 1


def test_sparse_counts_raise_no_false_alarm() -> None:
    """Pairs compared once or twice, 300 simulated designs: misfits stay near their level of 1 %."""
    rng = np.random.default_rng(3)
    scores = np.linspace(1.0, -1.0, 8)
    chance = logistic(differences(scores))
    alarms = 0
    for _ in range(300):
        totals = rng.integers(0, 3, (8, 8))
        won = rng.binomial(totals, chance)
        wins = np.triu(won, 1) + np.tril((totals - won).T, -1)
        alarms += goodness_of_fit(wins, one_hot(8)).is_misfit

    assert alarms <= 10


@pytest.mark.parametrize("epsilon", [0.0, 0.05])
def test_easy_world_is_decided_rightly_and_cheaply(epsilon: float) -> None:
    """Sixteen runs in a grid are all right and far cheaper than taking every pair in turn."""
    world = worlds.grid("g", {"model": {"a": 0.0, "b": -0.6, "c": -0.9}, "prompt": {"x": 0.0, "y": -0.6}})
    trial = Trial(world, stopping="lr-mixture", epsilon=epsilon, max_comparisons=5000)

    ours = simulate(trial, 16, seed=1)

    assert ours.wrong == 0
    assert ours.outcomes["winner" if epsilon == 0 else "no_worse"] == 16
    assert ours.mean < 3 * trial.hardness * math.log(20 * (1 if epsilon == 0 else 5))


def test_pairs_of_a_run_keep_to_the_optimal_shares() -> None:
    """Dealt pairs end near the solver's proportions: the two nearest policies meet most."""
    world = worlds.bradley_terry("b", [0.9, 0.5, -0.5, -0.8])
    wins, rng = np.zeros((1, 4, 4), dtype=np.int64), np.random.default_rng(4)
    sampler = StructuredSampler(one_hot(4))
    for _ in range(30):
        situation = Situation(wins, wins * 0, np.zeros((1, 4), dtype=np.bool_), _design(4))
        for first, second in sampler.pairs(situation, 20, rng)[0]:
            won = rng.random() < world.preferences[first, second]
            wins[0, first if won else second, second if won else first] += 1

    totals = pair_totals(wins)[0]
    assert totals[0, 1] == totals.max()
    assert totals[0, 1] > 2 * totals[2, 3]


def test_world_outside_the_space_has_no_hardness_there() -> None:
    """A misspecified structure can be simulated; there is no optimum of its own to compare with."""
    trial = Trial(
        worlds.misfit("m", [0.6, 0.0, -0.6], 0.5, 0.3, 1), stopping="lr-mixture", max_comparisons=200
    )

    assert trial.hardness == math.inf
    assert simulate(trial, 2, seed=1).to_json()["ratio"] is None
