"""Estimates before an experiment: against a simulation of all of it, and what they advise."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from gateway.experiments.collecting import WAYS
from gateway.llm_po.exposure import Caps
from gateway.llm_po.lab.simulate import RunEnding, Summary, Trial, simulate
from gateway.llm_po.lab.worlds import success_rates
from gateway.llm_po.structured.features import Grid
from gateway.simulation.advice import advice
from gateway.simulation.estimate import EffectEstimate, estimate
from gateway.simulation.prospect import EFFECTS, EstimateError, Prospect

PROSPECT = Prospect(
    experiment="support",
    policies=3,
    incumbent=0,
    costs=(0.0, 0.0, 0.0),
    delta=0.05,
    epsilon=0.0,
    way=WAYS["matched"],
    share=0.5,
    min_comparisons=0,
    min_days=0.0,
    max_comparisons=None,
    units_per_day=4_000,
    feedback_rate=0.2,
    feedback_delay_days=0.0,
    tie_rate=0.0,
    success_rate=None,
    prices=(0.01, 0.02, 0.03),
)


def _of(prospect: Prospect, effect: str = "large", runs: int = 40) -> EffectEstimate:
    job = prospect.job(effect, runs, seed=0, caps=None)
    return EffectEstimate(effect, simulate(job.trial, job.seeds), prospect)


@pytest.fixture(scope="module")
def plain() -> list[EffectEstimate]:
    """The forecasts for `PROSPECT`."""
    return estimate(PROSPECT, 10, processes=1)


def test_matched_takes_two_reporting_units_a_comparison_and_side_by_side_one() -> None:
    """4,000 units, half take part, a fifth report: 400 reports a day."""
    assert PROSPECT.comparisons_per_day == pytest.approx(200)
    assert replace(PROSPECT, way=WAYS["side_by_side"]).comparisons_per_day == pytest.approx(400)


def test_where_users_ask_again_comparisons_per_request_are_the_rate_of_asking_again() -> None:
    """The second answer costs nothing extra, because the user asks for it anyway."""
    prospect = replace(PROSPECT, way=WAYS["regenerate"], feedback_rate=0.03, prices=(0.02, 0.02, 0.02))
    assert prospect.comparisons_per_day == pytest.approx(4_000 * 0.5 * 0.03)
    assert {each.extra_money["median"] for each in estimate(prospect, 1, processes=1)} == {0.0}


def test_smaller_effects_take_longer(plain: list[EffectEstimate]) -> None:
    """Estimates without a margin leave equal policies out, because such runs would never end."""
    medians = [forecast.comparisons["median"] for forecast in plain]

    assert [forecast.effect for forecast in plain] == ["small", "medium", "large"]
    assert medians == sorted(medians, key=lambda count: -(count or 0))
    assert all(forecast.best_promoted == 1.0 for forecast in plain)


def test_weaker_promise_is_estimated_to_take_fewer_comparisons() -> None:
    """What is simulated is what the experiment promises."""
    stronger = replace(PROSPECT, policies=5, costs=(0.0,) * 5, epsilon=0.05)
    weaker = replace(stronger, promise="no_worse_than_best")

    usual, fewer = (float(np.mean(_of(each).taken)) for each in (stronger, weaker))

    assert fewer < 0.9 * usual


def test_days_and_money_follow_from_the_comparisons(plain: list[EffectEstimate]) -> None:
    """There are 200 comparisons a day, and each takes ten answers at two cents on average."""
    large = plain[-1]
    median = large.comparisons["median"]

    assert median is not None
    assert large.money is not None
    assert large.extra_money is not None
    assert large.days["median"] == pytest.approx(median / 200)
    assert large.money["median"] == pytest.approx(median * 10 * 0.02)
    assert large.extra_money["median"] == pytest.approx(median * 10 * (0.02 - 0.01))


def test_side_by_side_pays_for_a_second_answer() -> None:
    """Half the units, two answers each: all but one are extra."""
    prospect = replace(PROSPECT, way=WAYS["side_by_side"], prices=(0.02, 0.02, 0.02))
    large = _of(prospect)
    median = large.comparisons["median"]

    assert median is not None
    assert large.money is not None
    assert large.extra_money is not None
    assert large.money["median"] == pytest.approx(median * 5 * 2 * 0.02)
    assert large.extra_money["median"] == pytest.approx(median * 5 * 0.02)


def test_ties_drawn_afterwards_are_those_of_a_full_simulation() -> None:
    """Success rates of 60 % and more: the mean agrees with a simulation of ties and all."""
    forecast = _of(replace(PROSPECT, success_rate=0.6), runs=80)
    best = PROSPECT.policies * [0.6]
    best[1] = replace(PROSPECT, success_rate=0.6).best_success_rate("large")

    full = simulate(Trial(success_rates("full", best), max_comparisons=60_000), 80, seed=9)

    spread = np.hypot(full.stderr, forecast.taken.std() / np.sqrt(forecast.taken.size))
    # The losing two tie a little less often with each other than with the best: a few per cent.
    assert abs(forecast.taken.mean() - full.mean) < 3 * spread + 0.05 * full.mean


def test_effect_means_the_same_for_good_or_bad_outcomes() -> None:
    """A success rate that is preferred 70 % of the decisive comparisons to one of 80 %: odds 7/3 x 4."""
    prospect = replace(PROSPECT, success_rate=0.8)
    best = prospect.best_success_rate("large")

    assert best / (1 - best) == pytest.approx(4 * 7 / 3)
    assert prospect.decisive_share("large") == pytest.approx(best * 0.2 + 0.8 * (1 - best))
    assert success_rates("two", [0.8, best]).preferences[1, 0] == pytest.approx(EFFECTS["large"])


def test_without_a_structure_one_policy_is_ahead_of_equals() -> None:
    """Every other policy meets the best at the effect, and the others at a half."""
    preferences = PROSPECT.world("large").preferences

    assert preferences[1, [0, 2]] == pytest.approx(0.7)
    assert preferences[0, 2] == pytest.approx(0.5)


def test_in_a_grid_the_nearest_rivals_are_one_level_away() -> None:
    """Rivals one level from the best lose at the effect, and rivals two levels away by its odds squared."""
    grid = Grid({"model": ("a", "b"), "prompt": ("x", "y", "z")})
    world = _in_grid(grid).world("large")
    best = world.champion

    assert best is not None
    assert best != PROSPECT.incumbent
    own = grid.combinations[best]
    for rival, levels in enumerate(grid.combinations):
        odds = (7 / 3) ** sum(mine != theirs for mine, theirs in zip(own, levels, strict=True))
        assert world.preferences[best, rival] == pytest.approx(odds / (1 + odds))


def test_structure_shortens_what_is_estimated_as_it_shortens_the_experiment() -> None:
    """A grid of twelve: with the structure, likelihood ratios need a fraction of the exact comparisons."""
    grid = _in_grid(Grid({"model": ("a", "b"), "prompt": ("x", "y", "z"), "temperature": ("0", "1")}))
    found = [
        _of(prospect, runs=6).comparisons["median"] or np.inf
        for prospect in (replace(grid, features=None), replace(grid, stopping="lr-mixture"))
    ]

    assert found[1] < 0.6 * found[0]


def test_exact_guarantee_of_a_grid_is_estimated_with_what_the_grid_tells() -> None:
    """Evidence counts without the structure, but forecasts know it: fewer comparisons than without."""
    grid = _in_grid(Grid({"model": ("a", "b"), "prompt": ("x", "y", "z"), "temperature": ("0", "1")}))
    found = [_of(prospect, runs=50).taken.mean() for prospect in (replace(grid, features=None), grid)]

    assert found[1] < found[0]


def _in_grid(grid: Grid) -> Prospect:
    """An estimate for the policies of a grid."""
    policies = len(grid.combinations)
    levels = tuple(grid.combinations)
    return replace(
        PROSPECT, policies=policies, costs=(0.0,) * policies, features=grid.features(), levels=levels
    )


def test_outcomes_in_flight_are_waited_for() -> None:
    """A delay of half a day keeps 100 comparisons in flight and lengthens every run."""
    slow = replace(PROSPECT, feedback_delay_days=0.5)

    assert slow.in_flight == 100
    prompt, late = (_of(each, runs=20).comparisons["median"] for each in (PROSPECT, slow))
    assert prompt is not None
    assert late is not None
    assert late >= prompt + 50


def test_minimum_duration_holds_decisions_back_and_is_said() -> None:
    """No run decides before 2,000 comparisons, which take ten days at 200 a day."""
    prospect = replace(PROSPECT, min_days=10.0)
    found = [_of(prospect, effect, runs=2) for effect in ("medium", "large")]

    assert prospect.fewest_comparisons == 2_000
    assert min(forecast.taken.min() for forecast in found) >= 2_000
    assert any("min_duration" in sentence for sentence in advice(prospect, found))


def test_budget_that_cuts_off_is_said(plain: list[EffectEstimate]) -> None:
    """The share of experiments it would end undecided, by effect."""
    prospect = replace(PROSPECT, max_comparisons=300)
    found = [replace(forecast, prospect=prospect) for forecast in plain]

    assert found[0].undecided > 0.9
    assert found[0].comparisons == plain[0].comparisons
    assert any(
        sentence.startswith("max_comparisons 300") and "a small effect" in sentence
        for sentence in advice(prospect, found)
    )


def test_too_little_traffic_is_said_with_what_would_help(plain: list[EffectEstimate]) -> None:
    """Forty requests a day: hundreds of days, and each thing that would shorten them."""
    prospect = replace(PROSPECT, units_per_day=40)
    (sentence,) = advice(prospect, [replace(forecast, prospect=prospect) for forecast in plain])

    for part in ("days at this traffic", "traffic.share above 0.5 (1.0:", "epsilon", "drop some of the 3"):
        assert part in sentence


@pytest.mark.parametrize(("cap", "said"), [(1, "one vote"), (4, "at most 4 votes")])
def test_a_cap_on_votes_needs_users(plain: list[EffectEstimate], cap: int, said: str) -> None:
    """A comparison takes two users' votes here, and each user has only so many."""
    prospect = replace(PROSPECT, voter_cap_per_experiment=cap)
    (sentence,) = advice(prospect, plain)

    median = next(each for each in plain if each.effect == "medium").comparisons["median"]
    assert median is not None
    assert prospect.way.units_per_comparison == 2
    assert said in sentence
    assert f"at least {math.ceil(2 * median / cap):,} users" in sentence


def test_enough_traffic_needs_no_advice(plain: list[EffectEstimate]) -> None:
    """The list of advice is empty."""
    assert advice(PROSPECT, plain) == []


def test_effect_within_the_margin_is_said() -> None:
    """A policy that is preferred 55 % of the time counts as equal at epsilon 0.06."""
    prospect = replace(PROSPECT, epsilon=0.06)
    found = estimate(prospect, 1, processes=1)

    assert [forecast.effect for forecast in found] == list(EFFECTS)
    assert any("a small effect within epsilon 0.06" in sentence for sentence in advice(prospect, found))


def test_what_lasts_too_long_is_reported_as_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs beyond the horizon have no number, and the estimate says beyond what."""
    for module in ("prospect", "estimate"):
        monkeypatch.setattr(f"gateway.simulation.{module}.HORIZON", 40)
    prospect = replace(PROSPECT, units_per_day=20)
    found = estimate(prospect, 10, processes=1)

    assert found[0].comparisons["median"] is None
    assert found[0].days["median"] is None
    assert found[0].undecided == 1.0
    assert "more than 40 days" in " ".join(advice(prospect, found))


def test_unknown_prices_cost_nothing_to_say() -> None:
    """An estimate without prices has every result except money."""
    forecast = _of(replace(PROSPECT, prices=None), runs=5)

    assert forecast.money is None
    assert forecast.to_json()["cost"] is None
    assert forecast.to_json()["comparisons"]["median"] > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"share": 0.0}, "share is 0"),
        ({"feedback_rate": 0.0}, "feedback rate is 0"),
        ({"feedback_rate": 1.5}, "feedback rate is 1.5"),
        ({"units_per_day": 0.0}, "0 requests a day"),
        ({"feedback_delay_days": -1.0}, "delay of -1"),
        ({"tie_rate": 1.0}, "tie rate is 1"),
        ({"success_rate": 1.0}, "success rate is 1"),
    ],
)
def test_traffic_that_compares_nothing_is_refused(change: dict[str, float], message: str) -> None:
    """Each message names the value."""
    with pytest.raises(EstimateError, match=message):
        replace(PROSPECT, **change)


def test_capped_experiment_takes_the_days_of_its_units_and_pays_for_all_their_answers() -> None:
    """Three times as many units come as are compared: three times the days, and the incumbent's answers."""
    prospect = replace(PROSPECT, caps=Caps(0, (1.0, 0.1, 1.0)))
    ending = RunEnding(
        "winner", is_wrong=False, comparisons=200, opportunities=600.0, requests=(200, 40, 160)
    )
    trial = prospect.job("large", 1, seed=0, caps=prospect.caps).trial
    found = EffectEstimate("large", Summary(trial, (ending,)), prospect)

    assert found.comparisons["median"] == 200
    assert found.days["median"] == pytest.approx(3.0)
    assert found.money is not None
    assert found.extra_money is not None
    # Ten units answered per comparison; of the two thousand compared the policies answer as in the run.
    compared = 2_000 * (200 * 0.01 + 40 * 0.02 + 160 * 0.03) / 400
    assert found.money["median"] == pytest.approx(compared + 4_000 * 0.01)
    assert found.extra_money["median"] == pytest.approx(compared - 2_000 * 0.01)


def test_better_policy_is_the_one_with_the_tightest_cap() -> None:
    """An operator has to know what the caps cost at worst."""
    capped = replace(PROSPECT, caps=Caps(0, (1.0, 0.5, 0.1)))

    assert capped.best == 2
    assert capped.world("large").champion == 2
    assert PROSPECT.best == 1


def test_minimum_duration_is_of_units_where_there_are_caps() -> None:
    """Two days bring 400 comparisons' units; how many of them are compared is up to the caps."""
    prospect = replace(PROSPECT, min_days=2.0, min_comparisons=10, caps=Caps(0, (1.0, 0.1, 1.0)))
    within, free = (prospect.job("large", 1, 0, caps=caps).trial for caps in (prospect.caps, None))

    assert (within.min_comparisons, within.min_opportunities) == (10, 400)
    assert (free.min_comparisons, free.min_opportunities) == (400, 0)
