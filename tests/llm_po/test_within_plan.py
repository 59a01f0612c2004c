"""Forecasts go on within a plan: by a rule, with the same digits everywhere, and better than staying."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from gateway.llm_po.betting import HEAVIEST, HIGHEST, LOWEST, MILLION, gone_on, increments_at, natural_log
from gateway.llm_po.bradley_terry import Fit, Scales, fit, logistic
from gateway.llm_po.evidence import increments_of_bets
from gateway.llm_po.forecast import Bets, bets
from gateway.llm_po.lab import simulate
from gateway.llm_po.lab.going_on import GoingOn
from gateway.llm_po.lab.trial import Trial
from gateway.llm_po.lab.worlds import bradley_terry, named
from gateway.llm_po.lines import NANO
from gateway.llm_po.stakes import Published
from gateway.llm_po.within_plan import PlanForecasts

MANY_FORECASTS = np.arange(20_000, 980_001, 11)
BEST: dict[str, Any] = {"epsilon": 0.02, "promise": "no_worse_than_best"}


def _same_nano_nats(forecasts: np.ndarray, threshold: float) -> bool:
    """Whether bets with these forecasts add what they would with the usual logarithm."""
    for ratios in (forecasts / MILLION / threshold, (1 - forecasts / MILLION) / (1 - threshold)):
        usual = np.array([math.floor(math.log(each) * NANO) for each in ratios.tolist()])
        if not (np.floor(natural_log(ratios) * NANO) == usual).all():
            return False
    return True


@pytest.mark.parametrize("threshold", [0.5, 0.51, 0.52, 0.6, 0.48])
def test_our_logarithm_gives_the_nano_nats_of_the_usual_one(threshold: float) -> None:
    """So logs of earlier versions keep their evidence."""
    assert _same_nano_nats(MANY_FORECASTS, threshold)


@pytest.mark.long
@pytest.mark.parametrize("threshold", [0.5, 0.505, 0.51, 0.52, 0.525, 0.53, 0.55, 0.6, 0.45, 0.48])
def test_our_logarithm_gives_them_for_every_forecast(threshold: float) -> None:
    """For all that may be published, at ten margins."""
    assert _same_nano_nats(np.arange(LOWEST, HIGHEST + 1), threshold)


@pytest.mark.parametrize("exponent", [-60.0, -3.3, -1e-9, 0.0, 1e-9, 0.4, 0.41, 5.0, 43.0])
def test_our_logarithm_is_one_far_from_one_as_well(exponent: float) -> None:
    """A margin of nearly one half makes large ratios."""
    if abs(exponent) < 44:
        assert natural_log(math.exp(exponent)) == pytest.approx(exponent, rel=1e-14, abs=1e-15)


def test_all_bets_together_add_what_each_adds_alone() -> None:
    """The planner computes a matrix at once, the verifier one comparison after the other: equal digits."""
    q = np.random.default_rng(3).integers(20_000, 980_001, (40, 40))
    for threshold in (0.5, 0.52, 0.75):
        found = increments_of_bets(q, threshold)
        for first in range(40):
            for second in range(first + 1, 40):
                own, rival = found[first, second].tolist(), found[second, first].tolist()
                alone = increments_at(int(q[first, second]), threshold, int(q[second, first]))
                assert alone == (*own, rival[1], rival[0])


def test_a_forecast_goes_on_like_the_mean_of_a_beta_distribution() -> None:
    """Its weight is the number of comparisons it starts from; it stays where it may be published."""
    assert gone_on(400_000, 10, 0, 0) == 400_000
    assert gone_on(400_000, 10, 1, 0) == 5_000_000 // 11
    assert gone_on(400_000, 10, 2, 3) == 6_000_000 // 15
    assert gone_on(400_000, 1, 0, 1_000_000) == 20_000
    assert gone_on(400_000, 1, 1_000_000, 0) == 980_000
    assert gone_on(400_000, HEAVIEST, 1, 0) == 400_000


def _two(wins: int, losses: int) -> Fit:
    """Two policies whose logit is normal with a standard deviation of .7 before anything is compared."""
    return fit(np.array([[[0, wins], [losses, 0]]]), Scales.grid([(0.7 / math.sqrt(2), 0.0, 1.0)]))


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (3, 2), (9, 14), (60, 55), (700, 760), (30, 70)])
def test_the_weight_is_what_the_posterior_knows_of_the_pair(wins: int, losses: int) -> None:
    """Forecast and weight are those of the beta distribution with the posterior's mean and variance."""
    found = bets(_two(wins, losses), 0.0, over_rivals=False)

    logits = np.linspace(-6, 0, 60_001)
    log_density = -((logits / 0.7) ** 2) / 2 + wins * np.log(logistic(logits))
    log_density += losses * np.log(logistic(-logits))
    density = np.exp(log_density - log_density.max())
    density /= density.sum()
    mean = density @ logistic(logits)
    variance = density @ (logistic(logits) - mean) ** 2
    assert found.forecasts[0, 0, 1] == pytest.approx(mean, abs=0.01)
    assert found.weights[0, 0, 1] == pytest.approx(mean * (1 - mean) / variance - 1, rel=0.2, abs=2)


def test_one_comparison_moves_a_forecast_nearly_as_a_new_fit_would() -> None:
    """That is what the weight is for."""
    before = bets(_two(12, 15), 0.0, over_rivals=False)
    weight = round(float(before.weights[0, 0, 1]))
    moved = gone_on(round(float(before.forecasts[0, 0, 1]) * MILLION), weight, 0, 5) / MILLION

    after = bets(_two(12, 20), 0.0, over_rivals=False).forecasts[0, 0, 1]

    assert moved == pytest.approx(after, abs=0.01)
    assert abs(moved - before.forecasts[0, 0, 1]) > 0.02


def test_simulations_and_verifiers_let_forecasts_go_on_alike() -> None:
    """Many runs side by side, and a log read line by line, have the same forecasts."""
    rng = np.random.default_rng(8)
    q = rng.integers(20_000, 980_001, (1, 3, 3))
    weights = rng.integers(1, 30, (1, 3, 3))
    runs = GoingOn(Published(q, weights))
    said = [
        (a, b, q[0, a, b], q[0, b, a], weights[0, a, b], weights[0, b, a]) for a in (0, 1) for b in (1, 2)
    ]
    log = PlanForecasts(tuple(map(int, each)) for each in said if each[0] < each[1])

    for _ in range(200):
        first, second = sorted(rng.choice(3, 2, replace=False).tolist())
        outcome = int(rng.integers(3))
        pair = np.array([first]), np.array([second])
        assert runs.of(*pair) == [log.of((first, second))]
        runs.count(*pair, np.array([outcome]))
        log.count((first, second), ("loss", "win", "tie")[outcome])


def test_a_plan_of_an_earlier_version_stays_as_published() -> None:
    """It has one forecast of a pair or two, and no weights."""
    plan = PlanForecasts([(0, 1, 400_000), (0, 2, 300_000, 600_000)])
    for pair in ((0, 1), (0, 2)):
        plan.count(pair, "win")

    assert plan.of((0, 1)) == (400_000, None)
    assert plan.of((0, 2)) == (300_000, 600_000)
    assert (1, 2) not in plan


def _staying(fitted: Fit, epsilon: float, *, over_rivals: bool) -> Bets:
    forecasts = bets(fitted, epsilon, over_rivals=over_rivals).forecasts
    return Bets(forecasts, np.full_like(forecasts, HEAVIEST))


@pytest.mark.parametrize(
    ("trial", "most"),
    [
        (Trial(named("near", [[0.5, 0.53], [0.47, 0.5]]), refresh_every=1_000, **BEST), 0.5),
        (Trial(bradley_terry("five", [0.8, 0.3, 0.1, -0.2, -1.0]), refresh_every=100), 1.0),
    ],
    ids=["a near tie", "clear differences"],
)
def test_evidence_that_comes_in_large_batches_is_not_lost(
    trial: Trial, most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first plan expects clear differences. Counted with that alone, near ties lose evidence."""
    found = simulate.simulate(trial, 16, seed=2)
    monkeypatch.setattr(simulate, "bets", _staying)
    staying = simulate.simulate(trial, 16, seed=2)

    assert found.mean < most * staying.mean
    assert found.wrong == staying.wrong == 0
