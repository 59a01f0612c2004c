"""What is gained over the incumbent, with an interval that a choice among many rivals does not spoil."""

from __future__ import annotations

import pytest

from gateway.experiments.gain import gain

POLICIES = ("plain", "warm", "brief")
WINS = ((0, 20, 9), (60, 0, 0), (1, 0, 0))


def test_the_gain_is_of_decisive_comparisons_with_the_incumbent() -> None:
    """Share, counts and interval; the confidence is the experiment's."""
    found = gain(POLICIES, WINS, 1, 0, delta=0.05, policies_ever=3)
    assert found is not None
    assert (found.policy, found.incumbent, found.wins, found.losses) == ("warm", "plain", 60, 20)
    assert (found.preference, found.confidence) == (0.75, 0.95)
    assert 0.5 < found.low < 0.75 < found.high < 1.0


def test_more_rivals_make_a_wider_interval() -> None:
    """The error level is shared: the policy ahead is the luckiest of all."""
    few, many = (gain(POLICIES, WINS, 1, 0, delta=0.05, policies_ever=ever) for ever in (2, 64))
    assert few is not None
    assert many is not None
    assert many.low < few.low < few.high < many.high


def test_the_incumbent_gains_nothing_over_itself() -> None:
    """The gain is absent if the champion is the incumbent."""
    assert gain(POLICIES, WINS, 0, 0, delta=0.05, policies_ever=3) is None


def test_without_comparisons_of_the_two_everything_is_possible() -> None:
    """If a structure decided without comparing the two policies, the gain's interval covers everything."""
    found = gain(POLICIES, WINS, 2, 1, delta=0.05, policies_ever=3)
    assert found is not None
    assert (found.preference, found.low, found.high) == (None, 0.0, pytest.approx(1.0))
