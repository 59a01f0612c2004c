"""Published forecasts: as bold as they pay most, except where less is enough."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gateway.llm_po.betting import MILLION
from gateway.llm_po.evidence import increments
from gateway.llm_po.forecast import Bets
from gateway.llm_po.lines import NANO
from gateway.llm_po.samplers import Situation
from gateway.llm_po.stakes import published
from gateway.llm_po.stopping import Design

LINE = math.log(20)


def _situation(row_totals: list[float], epsilon: float = 0.0, eliminated: tuple[int, ...] = ()) -> Situation:
    policies = len(row_totals)
    evidence = np.zeros((1, policies, policies), dtype=np.int64)
    for policy, nats in enumerate(row_totals):
        evidence[0, policy, (policy + 1) % policies] = round(nats * NANO)
    out = np.zeros((1, policies), dtype=np.bool_)
    out[0, list(eliminated)] = True
    design = Design(0.05, epsilon, 0, (0.0,) * policies)
    return Situation(np.zeros_like(evidence), evidence, out, design)


def _q(first_preferred: float, policies: int = 2) -> np.ndarray:
    q = np.full((1, policies, policies), 0.5)
    q[0, 0, 1], q[0, 1, 0] = first_preferred, 1 - first_preferred
    return q


def _published(q: np.ndarray, situation: Situation) -> np.ndarray:
    return published(Bets(q, np.ones_like(q)), situation).forecasts[0]


def test_forecast_stays_as_it_is_far_from_the_line() -> None:
    """Nothing is trimmed while one outcome is not enough."""
    staked = _published(_q(0.3), _situation([0.0, 0.0]))

    assert staked[0, 1] == 300_000
    assert staked[1, 0] == MILLION - 300_000


@pytest.mark.parametrize("missing", [0.15, 0.2, 0.3])
def test_one_outcome_against_a_policy_reaches_the_line_and_hardly_more(missing: float) -> None:
    """The trimmed forecasts do so on either side of the pair."""
    for q, row in ((0.3, 0), (0.7, 1)):
        totals = [0.0, 0.0]
        totals[row] = LINE - missing
        staked = _published(_q(q), _situation(totals))

        gains = increments(int(staked[0, 1]), 0.0, int(staked[1, 0]))
        gain = gains[1] if row == 0 else gains[2]
        assert missing * NANO <= gain <= (missing + 1e-4) * NANO


def test_a_bet_keeps_part_of_its_gain() -> None:
    """Outcomes counted before the next refresh still have to tell something."""
    staked = _published(_q(0.3), _situation([LINE - 1e-6, 0.0]))

    gain = increments(int(staked[0, 1]), 0.0)[1] / NANO
    assert gain == pytest.approx(0.4 * math.log(1.4), abs=1e-5)


def test_nothing_is_trimmed_for_the_eliminated_or_with_a_margin() -> None:
    """The eliminated need nothing more; with a margin the line is another one."""
    eliminated = _published(_q(0.3, 3), _situation([LINE - 0.1, 0, 0], eliminated=(0,)))
    margin = _published(_q(0.3), _situation([LINE - 0.1, 0.0], epsilon=0.02))

    assert eliminated[0, 1] == margin[0, 1] == 300_000


def test_both_sides_of_a_pair_bet_on_their_own() -> None:
    """Each side is trimmed by what its own policy still needs, and the other side keeps its forecast."""
    q = np.full((1, 2, 2), 0.5)
    q[0, 0, 1], q[0, 1, 0] = 0.3, 0.4

    staked = _published(q, _situation([LINE - 0.1, 0.0]))

    assert staked[1, 0] == 400_000
    assert 300_000 < staked[0, 1] < 500_000
