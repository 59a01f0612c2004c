"""What each source of comparisons is worth, before anything runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.llm_po.lab.judges import SimulatedJudge
from gateway.llm_po.lab.simulate import simulate
from gateway.simulation.by_source import (
    EFFECT,
    EVERYTHING,
    ExpectedSource,
    Scenario,
    estimate_by_source,
    scenarios,
)
from gateway.simulation.estimate import EffectEstimate
from gateway.simulation.prospect import Prospect
from tests.gateway.simulation.test_estimate import PROSPECT

EXPLICIT = ExpectedSource("explicit", True, per_day=20, rate=0.02)
IMPLICIT = ExpectedSource("implicit", True, per_day=200, rate=0.2)
JUDGE = ExpectedSource("judge", False, per_day=50, usd_per_day=2.0, is_judge=True)
RUN = ExpectedSource("run", False, beforehand=90)


@pytest.fixture(scope="module")
def together() -> EffectEstimate:
    """The estimate with all evidence."""
    job = PROSPECT.job(EFFECT, 10, seed=0, caps=None)
    return EffectEstimate(EFFECT, simulate(job.trial, job.seeds), PROSPECT)


def _by_name(
    sources: list[ExpectedSource], together: EffectEstimate, prospect: Prospect = PROSPECT
) -> dict[str, Scenario]:
    return {each.name: each for each in scenarios(prospect, sources, together, 0.8)}


def test_evidence_is_estimated_alone_and_together(together: EffectEstimate) -> None:
    """Each source at its own rate; what is known is not simulated again."""
    found = _by_name([EXPLICIT, IMPLICIT], together)

    assert list(found) == ["explicit", "implicit", "explicit and implicit"]
    assert [each.prospect.feedback_rate for each in found.values()] == [0.02, 0.2, PROSPECT.feedback_rate]
    estimates = estimate_by_source(list(found.values()), runs=10, processes=1)
    days = [each.forecast.days["median"] or 0.0 for each in estimates]
    comparisons = [each.forecast.comparisons["median"] or 0.0 for each in estimates]
    assert days == pytest.approx([comparisons[0] / 20, comparisons[1] / 200, together.days["median"]])
    assert estimates[2].forecast is together


def test_one_source_of_evidence_is_what_is_known_already(together: EffectEstimate) -> None:
    """Nothing more is simulated."""
    (estimate,) = estimate_by_source(scenarios(PROSPECT, [EXPLICIT], together, 0.8), processes=1)

    assert (estimate.scenario.about, estimate.forecast) == (EXPLICIT, together)


def test_what_informs_is_simulated_as_a_judge_beside_all_the_evidence(together: EffectEstimate) -> None:
    """It has said by then what it says in half the time, or what it said beforehand; every pair alike."""
    found = _by_name([EXPLICIT, JUDGE, RUN], together)
    days = together.days["median"]

    assert days is not None
    assert list(found) == ["explicit", "judge", "run", EVERYTHING]
    judge, run = SimulatedJudge(0.8, round(50 * days / 2 / 3)), SimulatedJudge(0.8, 30)
    assert [each.prospect.informed_by for each in found.values()] == [(), (judge,), (run,), (judge, run)]
    assert found["judge"].job(5, 0).trial.judges == (judge,)
    assert found["judge"].prospect.feedback_rate == PROSPECT.feedback_rate


def test_what_informs_decides_nothing_by_likelihood_ratios(together: EffectEstimate) -> None:
    """Where forecasts are not what the decision rests on, a source saves nothing."""
    found = _by_name([EXPLICIT, JUDGE], together, replace(PROSPECT, stopping="lr-mixture"))

    assert found["judge"].prospect.informed_by == ()


def test_a_judge_costs_its_daily_spending_until_the_decision(together: EffectEstimate) -> None:
    """The estimate says so for the source that it is about."""
    scenario = replace(_by_name([EXPLICIT, JUDGE], together)["judge"], known=together)
    (estimate,) = estimate_by_source([scenario], processes=1)

    assert estimate.judge_usd == pytest.approx(2.0 * (together.days["median"] or 0.0))
    assert estimate.to_json()["counts_as"] == "informs"
    assert estimate.to_json()["comparisons_per_day"] == 50


def test_a_judge_whose_decision_is_beyond_the_horizon_has_no_costs(together: EffectEstimate) -> None:
    """What it spends until then is not known."""
    endings = tuple(replace(ending, kind="inconclusive") for ending in together.summary.endings)
    undecided = replace(together, summary=replace(together.summary, endings=endings))
    scenario = replace(_by_name([EXPLICIT, JUDGE], together)["judge"], known=undecided)
    (estimate,) = estimate_by_source([scenario], processes=1)

    assert estimate.judge_usd is None


def test_a_judge_that_is_evidence_adds_its_comparisons_to_those_of_users(together: EffectEstimate) -> None:
    """Alone it compares what it pays for, unseen; together the comparisons of both are added."""
    counted = replace(JUDGE, is_evidence=True)
    both = replace(PROSPECT, judged_per_day=50.0)
    found = _by_name([EXPLICIT, counted], together, both)

    assert list(found) == ["explicit", "judge", "explicit and judge"]
    assert both.comparisons_per_day == pytest.approx(PROSPECT.comparisons_per_day + 50)
    alone = found["judge"].prospect
    assert (alone.comparisons_per_day, alone.answers_per_unit) == (pytest.approx(50), 0)
    users = replace(PROSPECT, feedback_rate=EXPLICIT.rate)
    assert found["explicit"].prospect.comparisons_per_day == users.comparisons_per_day
    taken = 50 + PROSPECT.comparisons_per_day * PROSPECT.way.units_per_comparison
    assert both.votes_per_comparison == pytest.approx(taken / both.comparisons_per_day)
    assert both.units_per_comparison < PROSPECT.units_per_comparison
