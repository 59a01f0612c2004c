"""The plan a planner publishes: a distribution over pairs, honest forecasts, progress and verdicts."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

from gateway.llm_po.betting import MILLION
from gateway.llm_po.distribution import pair_distribution
from gateway.llm_po.errors import TallyError
from gateway.llm_po.evidence import Ledger, Tally
from gateway.llm_po.lab.trial import METHODS
from gateway.llm_po.lab.worlds import bradley_terry
from gateway.llm_po.lines import no_worse_nano_nats
from gateway.llm_po.plan import Design, Plan, plan
from gateway.llm_po.samplers import Situation
from gateway.llm_po.structured.features import Grid, one_hot
from gateway.llm_po.structured.sampler import StructuredSampler
from tests.llm_po.running import play

MARGINS = pytest.mark.parametrize("epsilon", [0.0, 0.02])


def _design(policies: int, epsilon: float, **changes: object) -> Design:
    plain = {"delta": 0.05, "epsilon": epsilon, "incumbent": 0, "costs": (0.0,) * policies}
    return Design(**{**plain, **changes})


def _plan(tally: Tally, design: Design, seed: int = 0) -> Plan:
    return plan(tally, design, np.random.default_rng(seed))


@MARGINS
@pytest.mark.parametrize("policies", [2, 3, 16])
def test_first_plan_needs_no_data(policies: int, epsilon: float) -> None:
    """The first plan has equal forecasts, a proper distribution and no verdict."""
    made = _plan(Tally.empty(policies), _design(policies, epsilon))

    assert made.verdict is None
    others = made.forecasts_millionths[~np.eye(policies, dtype=bool)]
    assert np.ptp(others) <= 1
    assert 0.3 * MILLION < others[0] < 0.5 * MILLION
    assert made.probabilities.sum() == pytest.approx(1)
    assert (made.pairs[:, 0] < made.pairs[:, 1]).all()
    assert made.pairs.min() >= 0
    assert made.pairs.max() < policies


@MARGINS
def test_plan_in_the_middle_of_a_run_is_publishable(epsilon: float) -> None:
    """A plan has each pair once, positive shares and whole forecasts in range, never both sides high."""
    world, design = bradley_terry("b", [0.6, 0.3, 0.0, -0.3]), _design(4, epsilon)
    ledger, _ = play(world, design, seed=3, most=60)

    made = _plan(ledger.tally(), design)

    assert len({tuple(pair) for pair in made.pairs.tolist()}) == len(made.pairs)
    assert (made.probabilities > 0).all()
    q = made.forecasts_millionths
    assert (q + q.T <= (1 + 2 * epsilon) * MILLION).all()
    assert q.min() >= 20_000
    assert q.max() <= 980_000
    assert made.expected_remaining is not None
    assert made.expected_remaining > 0


def test_same_counts_and_seed_give_the_same_plan() -> None:
    """Planning has no memory and no ambient randomness."""
    tally = play(bradley_terry("b", [0.5, 0.0, -0.5]), _design(3, 0.0), seed=1, most=40)[0].tally()

    one, two = _plan(tally, _design(3, 0.0), 7), _plan(tally, _design(3, 0.0), 7)

    assert one.pairs.tolist() == two.pairs.tolist()
    assert one.probabilities.tolist() == two.probabilities.tolist()


def test_plan_survives_the_way_to_another_process_and_back() -> None:
    """Everything pickles, because the planner runs in its own process."""
    design = _design(3, 0.02)
    made = _plan(pickle.loads(pickle.dumps(Tally.empty(3))), pickle.loads(pickle.dumps(design)))  # noqa: S301 - what was pickled here

    back = pickle.loads(pickle.dumps(made))  # noqa: S301 - what was pickled here

    assert back.pairs.tolist() == made.pairs.tolist()
    assert back.verdict == made.verdict


def test_eliminated_policies_are_no_challengers_but_may_be_opponents() -> None:
    """If two policies are left, every pair has one of them in it."""
    wins = np.array([[0, 30, 35, 38], [20, 0, 30, 35], [5, 10, 0, 20], [2, 5, 20, 0]])
    zeros = np.zeros((4, 4), dtype=np.int64)
    tally = Tally(wins, zeros, zeros, np.array([False, False, True, True]), int(wins.sum()))

    made = _plan(tally, _design(4, 0.0))

    assert all({0, 1} & set(pair) for pair in made.pairs.tolist())
    assert made.leader == 0


def test_doubtful_survivor_is_compared_with_whom_it_has_not_beaten() -> None:
    """After the last elimination, comparisons serve to resolve doubts about the remaining policy."""
    wins = np.array([[0, 80, 20], [20, 0, 80], [80, 20, 0]])
    zeros = np.zeros((3, 3), dtype=np.int64)
    tally = Tally(wins, zeros, zeros, np.array([False, True, True]), int(wins.sum()))

    made = _plan(tally, _design(3, 0.0))

    assert made.verdict is None
    assert made.pairs[made.probabilities.argmax()].tolist() == [0, 2]
    assert made.probabilities.max() > 0.99


@MARGINS
def test_work_in_flight_is_spread_over_several_pairs(epsilon: float) -> None:
    """No refresh sends everything to one pair while several challengers still need comparisons."""
    design = _design(8, epsilon)
    ledger, _ = play(bradley_terry("b", np.linspace(0.6, -0.6, 8)), design, seed=2, most=150)

    made = _plan(ledger.tally(), design)

    assert made.probabilities.max() < 0.9
    assert len(made.pairs) >= 3


@MARGINS
def test_expected_remaining_is_of_the_size_of_what_remains(epsilon: float) -> None:
    """A near tie in the data is uncertain, not a tie: the estimate does not run away."""
    world, design = bradley_terry("b", np.linspace(1.0, -1.0, 8)), _design(8, epsilon)
    whole = play(world, design, seed=5, most=9_000)[0].comparisons

    made = _plan(play(world, design, seed=5, most=150)[0].tally(), design)

    assert made.expected_remaining is not None
    assert whole / 10 < made.expected_remaining < whole * 10


def test_decided_plan_says_so_and_needs_nothing_more() -> None:
    """The verdict is in the plan, with nothing remaining."""
    line = no_worse_nano_nats(0.05, 2)
    zeros = np.zeros((2, 2), dtype=np.int64)
    tally = Tally(zeros, zeros, np.array([[0, 0], [line, 0]]), np.zeros(2, dtype=np.bool_), 0)

    made = _plan(tally, _design(2, 0.02))

    assert made.verdict is not None
    assert made.verdict.kind == "no_worse"
    assert made.expected_remaining == 0


def test_budget_bounds_what_is_expected_to_remain() -> None:
    """No forecast exceeds the budget."""
    made = _plan(Ledger(3, 0.05, 0.02).tally(), _design(3, 0.02, max_comparisons=25))

    assert made.expected_remaining == 25


def test_tally_and_design_of_different_experiments_are_refused() -> None:
    """Counts of three policies do not fit a design of two."""
    with pytest.raises(TallyError, match="K = 3, the design 2"):
        _plan(Tally.empty(3), _design(2, 0.0))


GRID = Grid({"model": ("a", "b", "c"), "prompt": ("x", "y")}).features()


def _grown(tally: Tally, pairs: int) -> Tally:
    """The tally after some more comparisons of every pair, won by the lower index a bit more often."""
    more = np.triu(np.full_like(tally.wins, pairs), 1) + np.tril(np.full_like(tally.wins, pairs - 1), -1)
    wins = tally.wins + more
    return replace(tally, wins=wins, comparisons=int(wins.sum() + tally.ties.sum() // 2))


@pytest.mark.parametrize("stopping", ["e-process", "glr", "lr-mixture"])
@MARGINS
def test_warm_start_changes_how_a_plan_is_reached_and_not_the_plan(stopping: str, epsilon: float) -> None:
    """The fits of an earlier plan lead to the same optimum within the solver's tolerance."""
    features = GRID if stopping == "lr-mixture" else None
    design = _design(6, epsilon, stopping=stopping, features=features)
    before = _grown(Tally.empty(6), 8)
    counted = _grown(before, 2)
    start = _plan(before, design).next_start

    cold = plan(counted, design, np.random.default_rng(1))
    warm = plan(counted, design, np.random.default_rng(1), start)

    assert np.abs(cold.forecasts_millionths - warm.forecasts_millionths).max() < 1_000
    assert (warm.leader, warm.verdict, warm.fit is None) == (cold.leader, cold.verdict, cold.fit is None)
    assert warm.evidence_nats == pytest.approx(cold.evidence_nats, rel=1e-6, abs=1e-9)
    assert warm.probabilities.sum() == pytest.approx(1)
    if cold.fit is not None and warm.fit is not None:
        assert warm.fit.p_value == pytest.approx(cold.fit.p_value, rel=1e-6)


def test_structured_plan_solves_from_where_the_last_one_was() -> None:
    """Once fit and proportions are known, a few more comparisons take a fraction of the steps."""
    chances = bradley_terry("b", np.linspace(0.5, -2.5, 16)).preferences
    design = _design(16, 0.02, stopping="lr-mixture", features=one_hot(16))
    before, after = (
        replace(Tally.empty(16), wins=wins, comparisons=int(wins.sum()))
        for wins in (np.rint(each * (chances - np.eye(16) / 2)).astype(np.int64) for each in (50, 51))
    )

    start = _plan(before, design).next_start
    cold, warm = (plan(after, design, np.random.default_rng(2), one).next_start for one in (None, start))

    assert cold.aimed is not None
    assert warm.aimed is not None
    assert warm.aimed.solution.iterations < 0.8 * cold.aimed.solution.iterations
    assert warm.aimed.solution.gap.max() <= 0.1


@pytest.mark.parametrize("method", [*METHODS, "structured"])
@MARGINS
def test_every_sampler_gives_a_distribution_over_pairs(method: str, epsilon: float) -> None:
    """What proposes single pairs in a simulation can be published by a gateway as it is."""
    sampler = StructuredSampler(GRID) if method == "structured" else METHODS[method]()
    situation = Situation.of(_grown(Tally.empty(6), 4), _design(6, epsilon))

    pairs, probabilities = pair_distribution(sampler, situation, np.random.default_rng(0))

    assert probabilities.sum() == pytest.approx(1)
    assert (probabilities > 0).all()
    assert (pairs[:, 0] < pairs[:, 1]).all()
    assert np.unique(pairs, axis=0).shape == pairs.shape


def test_structure_keeps_the_debts_of_policies_that_left() -> None:
    """What a removed rival spoke for a policy is still to be made up for, whatever informs the forecasts."""
    design = _design(6, 0.0, features=GRID)
    indebted = replace(_grown(Tally.empty(6), 30), debts=np.array([0, 0, 0, 0, 0, -(10**12)]))

    plain = _plan(_grown(Tally.empty(6), 30), design)
    made = _plan(indebted, design)

    share = [sum(p.probabilities[(p.pairs == 5).any(axis=1)]) for p in (plain, made)]
    assert share[0] < 0.5
    assert share[1] > 0.8


@pytest.mark.parametrize("budget", [None, 100])
def test_last_policy_in_doubt_gives_no_estimate(budget: int | None) -> None:
    """Policies 1 and 2 are out, but 0 never met 2: how long the check against circles takes is unknown."""
    wins = np.zeros((3, 3), dtype=np.int64)
    wins[0, 1], wins[1, 2] = 20, 20
    out = np.array([False, True, True])
    tally = Tally(wins, np.zeros_like(wins), np.zeros_like(wins), out, 40)
    design = Design(0.05, 0.0, 0, (0.0, 0.0, 0.0), max_comparisons=budget)
    against = replace(tally, wins=wins + np.array([[0, 0, 0], [0, 0, 0], [9, 0, 0]]), comparisons=49)
    made = plan(against, design, np.random.default_rng(1))

    assert made.verdict is None
    assert made.expected_remaining == (None if budget is None else budget - 49)


def test_source_that_knows_of_no_circle_does_not_end_the_doubt() -> None:
    """The check against circles asks the comparisons alone, and so does the estimate of what it takes."""
    wins = np.array([[0, 20, 0], [0, 0, 2], [1, 0, 0]])
    tally = Tally(wins, np.zeros_like(wins), np.zeros_like(wins), np.array([False, True, True]), 23)
    said = np.triu(np.full((3, 3), 100.0), 1)
    made = plan(tally, Design(0.05, 0.0, 0, (0.0, 0.0, 0.0)), np.random.default_rng(1), sources=[said])

    assert made.used[0] > 0.9
    assert made.verdict is None
    assert made.expected_remaining is None


def test_first_plan_favours_no_policy() -> None:
    """Until the first outcomes come, no policy is the opponent of all others just because of its number."""
    made = _plan(Tally.empty(5), _design(5, 0.0))

    shares = np.bincount(made.pairs.ravel(), np.repeat(made.probabilities, 2), minlength=5) / 2
    assert len(made.pairs) == 10
    assert shares.max() < 0.3
