"""The interval of a preference holds at every moment at once, however the moment is chosen."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gateway.llm_po.confidence import mixture_evidence, preference_interval
from gateway.llm_po.errors import DesignError, ForecastError, TallyError


@pytest.mark.parametrize("probability", [0.02, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("comparisons", [1, 2, 7, 40])
def test_the_evidence_has_mean_one(probability: float, comparisons: int) -> None:
    """Summed over everything that could have happened: what Ville's inequality needs, exactly."""
    mean = sum(
        math.comb(comparisons, wins)
        * probability**wins
        * (1 - probability) ** (comparisons - wins)
        * math.exp(mixture_evidence(wins, comparisons - wins, probability))
        for wins in range(comparisons + 1)
    )
    assert mean == pytest.approx(1.0)


def test_the_evidence_is_the_ratio_of_successive_predictions() -> None:
    """The ratio is the same in whatever order wins and losses came."""
    probability, log_ratio, wins, losses = 0.37, 0.0, 0, 0
    for is_win in (True, True, False, True, False, False, True):
        predicted = (wins + 0.5) / (wins + losses + 1)
        log_ratio += math.log(predicted / probability if is_win else (1 - predicted) / (1 - probability))
        wins, losses = wins + is_win, losses + (not is_win)
    assert mixture_evidence(wins, losses, probability) == pytest.approx(log_ratio)


@pytest.mark.parametrize("probability", [0.5, 0.62, 0.95])
def test_the_interval_ever_misses_the_truth_as_seldom_as_promised(probability: float) -> None:
    """The rate counts 2,000 runs, each judged by the worst of its 1,000 comparisons."""
    alpha, runs, steps = 0.1, 2_000, 1_000
    outcomes = np.random.default_rng(11).random((runs, steps)) < probability
    wins = outcomes.cumsum(axis=1)
    before = np.hstack([np.zeros((runs, 1), dtype=int), wins[:, :-1]])
    predicted = (before + 0.5) / (np.arange(steps) + 1)
    ratios = np.where(outcomes, predicted / probability, (1 - predicted) / (1 - probability))
    worst = np.log(ratios).cumsum(axis=1).argmax(axis=1)
    missed = 0
    for run, at in enumerate(worst):
        won = int(wins[run, at])
        low, high = preference_interval(won, int(at) + 1 - won, alpha)
        missed += not low <= probability <= high
    assert 0 < missed / runs <= alpha + 3 * math.sqrt(alpha / runs)


def test_the_ends_of_an_interval_are_where_the_evidence_reaches_the_line() -> None:
    """Swapping the policies mirrors the interval."""
    low, high = preference_interval(60, 40, 0.05)
    assert 0.0 < low < 0.6 < high < 1.0
    for end in (low, high):
        assert mixture_evidence(60, 40, end) == pytest.approx(math.log(20))
    assert preference_interval(40, 60, 0.05) == pytest.approx((1 - high, 1 - low))


@pytest.mark.parametrize(
    ("wins", "losses", "low", "high"), [(0, 0, 0.0, 1.0), (9, 0, None, 1.0), (0, 9, 0.0, None)]
)
def test_what_was_never_seen_is_not_excluded(
    wins: int, losses: int, low: float | None, high: float | None
) -> None:
    """Nothing is known without comparisons, and always winning stays possible after wins alone."""
    found = preference_interval(wins, losses, 0.05)
    assert found[0] == low or (low is None and 0.0 < found[0] < 1.0)
    assert found[1] == high or (high is None and 0.0 < found[1] < 1.0)


def test_nonsense_is_refused() -> None:
    """The error gives the value at fault."""
    with pytest.raises(TallyError, match="wins"):
        preference_interval(-1, 2, 0.05)
    with pytest.raises(DesignError, match="delta is 1"):
        preference_interval(1, 2, 1)
    with pytest.raises(ForecastError, match=r"probability is 1\.5"):
        mixture_evidence(1, 2, 1.5)
