"""The plan a planner publishes: a distribution over pairs, honest forecasts, progress and verdicts."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from gateway.llm_po.errors import TallyError
from gateway.llm_po.evidence import MILLION, Ledger, Tally, no_worse_nano_nats
from gateway.llm_po.plan import Design, Plan, plan
from gateway.llm_po.worlds import bradley_terry
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
    """Before the first comparison: even forecasts, a proper distribution, no verdict."""
    made = _plan(Tally.empty(policies), _design(policies, epsilon))

    assert made.verdict is None
    assert (made.forecasts_millionths == MILLION // 2).all()
    assert made.probabilities.sum() == pytest.approx(1)
    assert (made.pairs[:, 0] < made.pairs[:, 1]).all()
    assert made.pairs.min() >= 0
    assert made.pairs.max() < policies


@MARGINS
def test_plan_in_the_middle_of_a_run_is_publishable(epsilon: float) -> None:
    """Each pair once, positive shares, forecasts that are whole, in range and complementary."""
    world, design = bradley_terry("b", [0.6, 0.3, 0.0, -0.3]), _design(4, epsilon)
    ledger, _ = play(world, design, seed=3, most=60)

    made = _plan(ledger.tally(), design)

    assert len({tuple(pair) for pair in made.pairs.tolist()}) == len(made.pairs)
    assert (made.probabilities > 0).all()
    q = made.forecasts_millionths
    assert (q + q.T == MILLION).all()
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
    """The planner runs in its own process: everything pickles."""
    design = _design(3, 0.02)
    made = _plan(pickle.loads(pickle.dumps(Tally.empty(3))), pickle.loads(pickle.dumps(design)))  # noqa: S301

    back = pickle.loads(pickle.dumps(made))  # noqa: S301

    assert back.pairs.tolist() == made.pairs.tolist()
    assert back.verdict == made.verdict


def test_eliminated_policies_are_no_challengers_but_may_be_opponents() -> None:
    """With two policies standing every pair has one of them in it."""
    wins = np.array([[0, 30, 35, 38], [20, 0, 30, 35], [5, 10, 0, 20], [2, 5, 20, 0]])
    zeros = np.zeros((4, 4), dtype=np.int64)
    tally = Tally(wins, zeros, zeros, np.array([False, False, True, True]), int(wins.sum()))

    made = _plan(tally, _design(4, 0.0))

    assert all({0, 1} & set(pair) for pair in made.pairs.tolist())
    assert made.leader == 0


def test_doubtful_survivor_is_compared_with_whom_it_has_not_beaten() -> None:
    """What is left after the last elimination is spent on clearing the survivor."""
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
    world, design = bradley_terry("b", np.linspace(0.6, -0.6, 8)), _design(8, epsilon)
    whole = play(world, design, seed=2, most=9_000)[0].comparisons

    made = _plan(play(world, design, seed=2, most=150)[0].tally(), design)

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
    """Nobody waits for more than the budget."""
    made = _plan(Ledger(3, 0.05, 0.02).tally(), _design(3, 0.02, max_comparisons=25))

    assert made.expected_remaining == 25


def test_tally_and_design_of_different_experiments_are_refused() -> None:
    """Three policies counted, two designed for."""
    with pytest.raises(TallyError, match="K = 3, the design 2"):
        _plan(Tally.empty(3), _design(2, 0.0))
