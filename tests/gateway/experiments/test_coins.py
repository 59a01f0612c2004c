"""The coin between a pair's policies: towards the one that lags, and steady where that is known late."""

from __future__ import annotations

import random
from collections import deque

import pytest

from gateway.experiments.coins import CHANCES, Coin, coin_for, lags


def no_draw() -> float:
    """A draw that is not needed."""
    raise AssertionError("drawn")


@pytest.mark.parametrize(
    ("waiting", "coin"),
    [((0, 0), Coin.FAIR), ((3, 3), Coin.FAIR), ((1, 0), Coin.TO_SECOND), ((0, 2), Coin.TO_FIRST)],
)
def test_with_nothing_under_way_the_lagging_policy_is_drawn(waiting: tuple[int, int], coin: Coin) -> None:
    """What waits is known as it is, so every unit may help, and nothing is left to chance."""
    assert coin_for(waiting, 0.0, no_draw) is coin


@pytest.mark.parametrize(
    ("surplus", "under_way", "share"), [(4, 10.0, 4 / 11), (11, 10.0, 1.0), (1, 100.0, 1 / 101)]
)
def test_the_weighted_coin_is_rarer_with_outcomes_under_way(
    surplus: int, under_way: float, share: float
) -> None:
    """They come whatever is drawn now; a coin that knew nothing of them would be drawn for each of them."""
    rng = random.Random(1)
    coins = [coin_for((0, surplus), under_way, rng.random) for _ in range(10_000)]
    assert coins.count(Coin.TO_FIRST) / len(coins) == pytest.approx(share, abs=0.015)
    assert set(coins) <= {Coin.TO_FIRST, Coin.FAIR}


def most_waiting(late: int, under_way: float) -> int:
    """The most outcomes that wait after the first thousand, if draws know what waited `late` outcomes ago."""
    rng, most = random.Random(5), 0
    surplus, known = 0, deque([0] * late, maxlen=late)
    for number in range(6_000):
        coin = coin_for((max(known[0], 0), max(-known[0], 0)), under_way, rng.random)
        known.append(surplus)
        surplus += -1 if rng.random() < CHANCES[coin] else 1
        most = max(most, abs(surplus)) if number > 1_000 else most
    return most


@pytest.mark.parametrize("late", [30, 300])
def test_draws_that_know_late_what_waits_do_not_swing(late: int) -> None:
    """Drawn by old numbers alone, nearly as many outcomes wait in turn on each side as are under way."""
    assert most_waiting(late, under_way=0.0) > 0.8 * late
    assert most_waiting(late, under_way=late) < 6 * late**0.5


def test_plans_are_published_anew_where_much_more_waits() -> None:
    """Routers need about how many more wait on which side; every outcome would be too often."""
    assert [lags((number, 0)) for number in (0, 1, 2, 3, 4, 7, 8)] == [0, -1, -2, -2, -3, -3, -4]
    assert lags((2, 7)) == 3
