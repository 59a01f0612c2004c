"""The sample-ratio check: silent while both sides are reported alike, whatever the coin; else loud."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gateway.llm_po.balance import (
    BALANCE_LEVEL,
    TOLERANCE,
    Reported,
    expected_second,
    imbalance_line,
    imbalance_nats,
    reporting_ratio,
)
from gateway.llm_po.errors import DesignError

CHANCES = (0.5, 0.9, 0.1)


def reached_after(ratio: float, seed: int, most: int = 4_000) -> int | None:
    """After how many reports the line is reached, if second sides are reported `ratio` times as often."""
    rng = np.random.default_rng(seed)
    counts = {chance: [0, 0] for chance in CHANCES}
    for number in range(1, most + 1):
        chance = CHANCES[rng.integers(3)]
        likely = ratio * chance / (ratio * chance + 1 - chance)
        counts[chance][int(rng.random() < likely)] += 1
        if number % 10 == 0:
            found = imbalance_nats([Reported(each, *count) for each, count in counts.items()])
            if found >= imbalance_line(1):
                return number
    return None


@pytest.mark.parametrize("ratio", [1.0, TOLERANCE, 1 / TOLERANCE, 1.1])
def test_within_the_tolerance_nothing_is_found(ratio: float) -> None:
    """Even at its border, looked at after every report."""
    assert [reached_after(ratio, seed, most=600) for seed in range(20)] == [None] * 20


def test_at_the_border_the_level_holds() -> None:
    """Of many runs at the tolerance itself at most one in a thousand ever reaches the line."""
    rng = np.random.default_rng(5)
    runs, length = 3_000, 300
    second = np.cumsum(rng.random((runs, length)) < TOLERANCE / (TOLERANCE + 1), axis=1)
    reached = 0
    for asked in range(30, length + 1, 30):
        most = next(
            (n for n in range(asked // 2, asked + 1) if _nats(asked, n) >= imbalance_line(1)), asked + 1
        )
        reached = max(reached, int((second[:, asked - 1] >= most).sum()))
    assert reached <= runs * BALANCE_LEVEL + 3 * math.sqrt(runs * BALANCE_LEVEL)


def _nats(asked: int, second: int) -> float:
    return imbalance_nats([Reported(0.5, asked - second, second)])


@pytest.mark.parametrize(("ratio", "most"), [(1_000.0, 20), (0.001, 20), (3.0, 250), (0.5, 1_500)])
def test_one_sided_reports_are_found(ratio: float, most: int) -> None:
    """An application that reports one side only is found within twenty reports of pairs with a fair coin."""
    found = [reached_after(ratio, seed) for seed in range(5)]
    assert all(each is not None and each <= 3 * most for each in found)
    if ratio > 100:
        assert _nats(most, most) >= imbalance_line(1)


def test_a_loaded_coin_explains_itself() -> None:
    """Nine in ten of one side are what a coin of nine in ten gives."""
    loaded = [Reported(0.9, 100, 900)]
    assert imbalance_nats(loaded) < 0
    assert imbalance_nats([Reported(0.5, 100, 900)]) > 100
    assert expected_second(loaded) == pytest.approx(900)


def test_both_directions_are_alike() -> None:
    """Which policy has the lower index says nothing."""
    assert imbalance_nats([Reported(0.1, 7, 50)]) == pytest.approx(imbalance_nats([Reported(0.9, 50, 7)]))


@pytest.mark.parametrize("wrong", [Reported(0.0, 1, 1), Reported(1.0, 1, 1), Reported(0.5, -1, 1)])
def test_what_is_no_count_is_refused(wrong: Reported) -> None:
    """Chances and counts are checked."""
    with pytest.raises(DesignError):
        imbalance_nats([wrong])


def test_with_one_coin_the_interval_is_wilsons() -> None:
    """40 of 100 reports of a fair coin: a share between 0.309 and 0.498, as odds."""
    found = reporting_ratio([Reported(0.5, 60, 40)])
    assert found is not None
    assert found == pytest.approx((0.30940 / 0.69060, 40 / 60, 0.49800 / 0.50200), rel=1e-3)


def test_a_weighted_coin_hides_nothing() -> None:
    """Whatever coins drew the units, the ratio is that of the reporting."""
    for ratio in (0.5, 1.0, 1.6):
        exact = [
            Reported(chance, 10**6 - second, second)
            for chance in CHANCES
            for second in [round(10**6 * ratio * chance / (ratio * chance + 1 - chance))]
        ]
        found = reporting_ratio(exact)
        assert found is not None
        assert found == pytest.approx((ratio, ratio, ratio), rel=0.01)
        assert found.low < ratio < found.high


@pytest.mark.parametrize(("first", "second", "estimate"), [(7, 0, 0.0), (0, 7, math.inf)])
def test_one_side_alone_has_an_open_end(first: int, second: int, estimate: float) -> None:
    """Seven reports of one side bound the ratio from the other direction only."""
    found = reporting_ratio([Reported(0.5, first, second), Reported(0.9, 0, 0)])
    assert found is not None
    low, middle, high = found
    assert middle == estimate
    assert (low, high < 1) == (0.0, True) if second == 0 else (low > 1, high) == (True, math.inf)


def test_no_report_says_nothing() -> None:
    """Neither without coins nor with coins that were not reported."""
    assert reporting_ratio([]) is None
    assert reporting_ratio([Reported(0.5, 0, 0)]) is None


@pytest.mark.parametrize("ratio", [1.0, 0.7])
def test_the_interval_has_the_ratio_as_often_as_it_says(ratio: float) -> None:
    """Of 400 experiments with mixed coins about one in twenty is outside."""
    rng = np.random.default_rng(11)
    likely = [ratio * chance / (ratio * chance + 1 - chance) for chance in CHANCES]
    outside = 0
    for _ in range(400):
        seconds = rng.binomial((60, 25, 15), likely)
        units = [
            Reported(chance, total - int(second), int(second))
            for chance, total, second in zip(CHANCES, (60, 25, 15), seconds, strict=True)
        ]
        found = reporting_ratio(units)
        assert found is not None
        outside += not found.low <= ratio <= found.high
    assert 8 <= outside <= 34
