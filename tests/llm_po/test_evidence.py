"""The ledger: increments that stay a supermartingale, thresholds, and counting that anyone can repeat."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.llm_po.betting import MILLION
from gateway.llm_po.errors import DesignError, ForecastError, TallyError
from gateway.llm_po.evidence import Ledger, Tally, clip_forecasts, in_millionths, increments
from gateway.llm_po.lines import NANO, elimination_nano_nats, elimination_threshold, no_worse_threshold

forecasts = st.integers(20_000, 980_000)
margins = st.sampled_from([0.0, 0.01, 0.02, 0.1, 0.3])


@given(forecasts, margins, st.floats(0.0, 1.0))
@settings(max_examples=400, deadline=None)
def test_expected_factor_is_at_most_one_under_every_null(q: int, epsilon: float, above: float) -> None:
    """exp(evidence) does not grow on average if the preference is at least 1/2 + epsilon."""
    threshold = 0.5 + epsilon
    mu = threshold + above * (1 - threshold)
    first, second, mirrored_first, mirrored_second = (math.exp(x / NANO) for x in increments(q, epsilon))

    assert mu * first + (1 - mu) * second <= 1 + 1e-12
    assert (1 - mu) * mirrored_first + mu * mirrored_second <= 1 + 1e-12


@given(forecasts, margins)
@settings(max_examples=200, deadline=None)
def test_increments_are_the_log_likelihood_ratio_rounded_down(q: int, epsilon: float) -> None:
    """Rounding takes less than a nano-nat, and only ever away from the evidence."""
    chance, threshold = q / MILLION, 0.5 + epsilon
    expected = (0.0, 0.0)
    if chance < threshold:
        expected = (math.log(chance / threshold), math.log((1 - chance) / (1 - threshold)))

    for got, exact in zip(increments(q, epsilon)[:2], expected, strict=True):
        assert 0 <= exact * NANO - got < 1


@given(forecasts, margins)
@settings(max_examples=200, deadline=None)
def test_mirrored_pair_adds_the_mirrored_amounts(q: int, epsilon: float) -> None:
    """Swapping the two policies swaps the roles and nothing else."""
    a_if_a, a_if_b, b_if_a, b_if_b = increments(q, epsilon)

    assert increments(MILLION - q, epsilon) == (b_if_b, b_if_a, a_if_b, a_if_a)


@given(forecasts, forecasts, margins)
@settings(max_examples=200, deadline=None)
def test_each_side_bets_with_a_forecast_of_its_own(q: int, second: int, epsilon: float) -> None:
    """What speaks against one policy does not depend on the forecast of the bet against the other."""
    assert increments(q, epsilon, second)[:2] == increments(q, epsilon)[:2]
    assert increments(q, epsilon, second)[2:] == increments(MILLION - second, epsilon)[2:]


def test_fair_coin_forecast_adds_nothing_without_a_margin() -> None:
    """A forecast of one half bets nothing."""
    assert increments(500_000, 0.0) == (0, 0, 0, 0)


def test_thresholds_share_the_error_among_the_wrong_choices() -> None:
    """One wrong elimination is possible; of K >= 3 policies in a cycle all K are wrong choices."""
    assert elimination_threshold(0.05) == pytest.approx(math.log(20))
    assert elimination_nano_nats(0.05) == math.ceil(math.log(20) * NANO)
    assert no_worse_threshold(0.05, 2) == pytest.approx(math.log(20))
    assert no_worse_threshold(0.05, 3) == pytest.approx(math.log(60))


def test_published_forecasts_are_clipped() -> None:
    """What is published lies in [0.02, 0.98], in whole millionths; a policy bets nothing against itself."""
    q = np.array([[0.1, 0.001, 1 / 3], [0.999, 0.5, 0.6], [0.45, 0.4, 0.5]])

    published = in_millionths(q)

    assert published[0].tolist() == [500_000, 20_000, 333_333]
    assert published[:, 0].tolist() == [500_000, 980_000, 450_000]
    assert clip_forecasts([0.0, 1.0]).tolist() == [0.02, 0.98]


def test_tie_is_counted_and_carries_no_evidence() -> None:
    """A tie is a comparison; the evidence does not move."""
    ledger = Ledger(2, delta=0.05, epsilon=0.0)

    ledger.count(0, 1, "tie", 200_000)

    tally = ledger.tally()
    assert tally.comparisons == 1
    assert tally.ties.tolist() == [[0, 1], [1, 0]]
    assert not tally.evidence.any()


def test_elimination_happens_at_the_first_crossing_and_for_good() -> None:
    """A policy is out from the comparison at which its total reaches the line, whatever comes later."""
    ledger = Ledger(2, delta=0.05, epsilon=0.0)
    step = increments(200_000, 0.0)[1]
    needed = -(-elimination_nano_nats(0.05) // step)

    for _ in range(needed - 1):
        ledger.count(0, 1, "loss", 200_000)
    assert ledger.eliminated_at == [None, None]
    ledger.count(0, 1, "loss", 200_000)
    for _ in range(20):
        ledger.count(0, 1, "win", 200_000)

    assert ledger.eliminated_at == [needed, None]
    assert ledger.tally().row_totals[0] < elimination_nano_nats(0.05)
    assert ledger.tally().eliminated.tolist() == [True, False]


@pytest.mark.parametrize("q", [0, 19_999, 980_001, 1_000_000])
def test_forecast_outside_the_range_is_refused(q: int) -> None:
    """An unclipped forecast could add unbounded evidence."""
    with pytest.raises(ForecastError, match=str(q)):
        increments(q, 0.0)


@pytest.mark.parametrize("delta", [0.0, 1.0, -0.1, 2.0, math.nan])
def test_error_level_outside_its_range_is_refused(delta: float) -> None:
    """The message names the value."""
    with pytest.raises(DesignError, match="delta is"):
        elimination_threshold(delta)


@pytest.mark.parametrize("epsilon", [-0.01, 0.5, math.nan])
def test_margin_outside_its_range_is_refused(epsilon: float) -> None:
    """The message names the value."""
    with pytest.raises(DesignError, match="epsilon is"):
        increments(500_000, epsilon)


def test_forecast_that_is_not_a_number_is_refused() -> None:
    """NaN is never published."""
    with pytest.raises(ForecastError, match="NaN"):
        clip_forecasts([0.5, math.nan])


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("wins", [[0, -1], [0, 0]], "counts start at 0"),
        ("wins", [[0, math.nan], [0, 0]], "NaN"),
        ("wins", [[0, 0.5], [0, 0]], "fractions"),
        ("wins", [[1, 0], [0, 0]], "diagonal"),
        ("wins", [[0, 1, 0], [0, 0, 0]], "shape"),
        ("wins", [[0]], "at least two"),
        ("wins", [["a", "b"], ["c", "d"]], "whole numbers"),
        ("ties", [[0, 2], [1, 0]], "symmetric"),
        ("ties", [[0, 0, 0]] * 3, "one K"),
        ("eliminated", [False], "one K"),
        ("comparisons", 7, "add up to"),
    ],
)
def test_counts_that_no_comparisons_produce_are_refused(part: str, value: object, message: str) -> None:
    """A tally is checked where it is built, so nothing later meets a bad one."""
    zeros = np.zeros((2, 2), dtype=np.int64)
    parts = {"wins": zeros, "ties": zeros, "evidence": zeros, "eliminated": [False] * 2, "comparisons": 0}

    with pytest.raises(TallyError, match=message):
        Tally(**{**parts, part: value})
