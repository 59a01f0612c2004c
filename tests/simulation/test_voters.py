"""Voters who vote again: their votes are alike, a cap leaves some out, the promise is about their mean."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.llm_po.errors import WorldError
from gateway.llm_po.lab.simulate import Trial, simulate
from gateway.llm_po.lab.voters import NOT_COUNTED, Voters, Votes
from gateway.llm_po.lab.worlds import Drift, World, voted
from gateway.llm_po.wins import FloatArray, IntArray
from tests.simulation.calibration import decided


def _two(preferred: float) -> FloatArray:
    return np.array([[0.5, preferred], [1 - preferred, 0.5]])


def _votes(voters: Voters, comparisons: int) -> IntArray:
    """Votes of 50 runs on the pair (0, 1), shape (50, comparisons)."""
    first = np.zeros((50, comparisons), dtype=np.int64)
    return Votes(voters, 50, np.random.default_rng(3)).on(first, first + 1)


def test_votes_of_a_voter_are_of_one_kind() -> None:
    """Where every voter has made up their mind, each one's votes are equal, and both kinds occur."""
    votes = _votes(Voters((0.5, 0.5), (_two(1.0), _two(0.0)), votes=4), 12)

    by_voter = votes.reshape(50, 3, 4)
    assert (by_voter == by_voter[..., :1]).all()
    assert 0.3 < by_voter[..., 0].mean() < 0.7


def test_cap_leaves_out_later_votes_on_the_pair() -> None:
    """Of each voter's four votes the first two count; the next voter's count again."""
    votes = _votes(Voters((1.0,), (_two(1.0),), votes=4, cap=2), 8)

    assert votes[0].tolist() == [1, 1, NOT_COUNTED, NOT_COUNTED] * 2


def test_cap_is_one_of_each_pair() -> None:
    """A vote on another pair counts although the voter's vote on the first pair is used up."""
    kind = np.full((3, 3), 0.5)
    kind[0, 1:], kind[1:, 0] = 1.0, 0.0
    votes = Votes(Voters((1.0,), (kind,), votes=4, cap=1), 1, np.random.default_rng(3))

    assert votes.on(np.array([[0, 0, 0, 0]]), np.array([[1, 1, 2, 2]])).tolist() == [
        [1, NOT_COUNTED, 1, NOT_COUNTED]
    ]


def test_cap_in_all_is_one_over_all_pairs() -> None:
    """What is not counted on one pair uses up nothing; the second counted vote is the last on any pair."""
    kind = np.full((3, 3), 0.5)
    kind[0, 1:], kind[1:, 0] = 1.0, 0.0
    voters = Voters((1.0,), (kind,), votes=4, cap=1, cap_in_all=2)
    votes = Votes(voters, 1, np.random.default_rng(3))

    assert votes.on(np.array([[0, 0, 0, 1]]), np.array([[1, 1, 2, 2]])).tolist() == [
        [1, NOT_COUNTED, 1, NOT_COUNTED]
    ]


def test_runs_that_ended_leave_the_others_as_they_are() -> None:
    """The voter in the middle of voting stays the same one in the runs that go on."""
    votes = Votes(Voters((0.5, 0.5), (_two(1.0), _two(0.0)), votes=2), 40, np.random.default_rng(3))
    one = np.zeros((40, 1), dtype=np.int64)
    begun, kept = votes.on(one, one + 1)[:, 0], np.arange(40) % 2 == 0
    votes.keep(kept)

    assert (votes.on(one[kept], one[kept] + 1)[:, 0] == begun[kept]).all()


def test_world_prefers_what_its_voters_do_on_average() -> None:
    """Also in another order of the policies."""
    world = voted("v", Voters((0.6, 0.4), (_two(0.9), _two(0.2)), votes=3))

    assert world.preferences[0, 1] == pytest.approx(0.6 * 0.9 + 0.4 * 0.2)
    turned = world.relabelled(np.array([1, 0]))
    assert turned.preferences[1, 0] == pytest.approx(world.preferences[0, 1])
    assert turned.voters is not None
    assert turned.voters.preferences[1, 0] == pytest.approx(world.preferences[0, 1])


@pytest.mark.parametrize("beside", [{"drift": Drift(_two(0.7), 10)}, {"ties": np.zeros((2, 2))}])
def test_world_of_voters_has_nothing_beside_them(beside: dict[str, object]) -> None:
    """Ties and drifts of voters are not simulated, so a world with both is refused."""
    with pytest.raises(WorldError, match="voters"):
        World("w", ("a", "b"), _two(0.6), voters=Voters((1.0,), (_two(0.6),), 1), **beside)


def test_world_of_other_voters_is_refused() -> None:
    """What counts as wrong follows from the preferences, so they have to be the voters' own."""
    with pytest.raises(WorldError, match="prefer something else"):
        World("w", ("a", "b"), _two(0.6), voters=Voters((1.0,), (_two(0.7),), 1))


@pytest.mark.parametrize(("cap", "fewest_wrong", "most_wrong"), [(1, 0, 12), (None, 25, 100)])
def test_votes_of_one_voter_are_not_independent(cap: int | None, fewest_wrong: int, most_wrong: int) -> None:
    """Ten votes alike of each voter break the promise where all count, and one of them keeps it."""
    trial = Trial(decided(0.62, votes=10, cap=cap), epsilon=0.1)

    assert fewest_wrong <= simulate(trial, seeds=100, seed=1).wrong <= most_wrong
