"""A grid in the configuration becomes a structured plan."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from gateway.config.experiments import ExperimentSpec
from gateway.config.gateway_file import GatewayConfig
from gateway.experiments.definitions import Definition, define
from gateway.experiments.policies import compile_policies
from gateway.experiments.structure import structure_of
from gateway.learning.plan_worker import PlanJob, PlanResult, WarmStarts, compute_plan
from gateway.llm_po.errors import TallyError
from gateway.llm_po.evidence import increments
from policy_store.counts import Counts
from tests.gateway.building import config_fields

GRID: dict[str, Any] = {
    "model": ["plain", "warm"],
    "system": {"short": "Be brief.", "long": "Explain."},
    "temperature": [0, 0.7],
}


def _definition(**changes: Any) -> Definition:
    fields = config_fields()
    experiment = fields["experiments"]["support"]
    del experiment["policies"]
    experiment.update({"incumbent": "plain-short-0", "grid": GRID, **changes})
    config = GatewayConfig.model_validate(fields)
    spec = config.experiments["support"]
    return define("support", spec, compile_policies(config, spec))


def _spec(**changes: Any) -> ExperimentSpec:
    return ExperimentSpec.model_validate({"incumbent": "a", **changes})


def _plan(definition: Definition, each: int) -> PlanResult:
    return compute_plan(_job(definition, each))


def _timeless(made: PlanResult) -> PlanResult:
    """The plan, however long it took."""
    return replace(made, proposal=replace(made.proposal, duration_seconds=0.0))


def _job(definition: Definition, each: int) -> PlanJob:
    """The job after `each` comparisons of every pair that come out as warm, short, cold beats the rest."""
    policies = definition.experiment.policies
    scores = np.array(
        [("warm" in name) + 0.8 * ("short" in name) - 0.3 * ("0.7" in name) for name in policies]
    )
    chance = 1 / (1 + np.exp(scores[None] - scores[:, None]))
    won = np.rint(each * np.triu(chance, 1)).astype(int)
    wins = won + np.tril(each - won.T, -1)
    nothing = tuple((0,) * len(policies) for _ in policies)
    counts = Counts(
        comparisons=int(wins.sum()),
        wins=tuple(map(tuple, wins.tolist())),
        ties=nothing,
        evidence_nano_nats=nothing,
        eliminated_at=(None,) * len(policies),
        started_at=0.0,
        now=1.0,
        debts_nano_nats=(0,) * len(policies),
    )
    return PlanJob(definition.experiment, definition.experiment.incumbent, counts, True, 1)


def test_grid_expands_to_named_policies_in_a_linear_space() -> None:
    """The grid has eight policies and 1 + 1 + 1 directions, and likelihood ratios decide."""
    definition = _definition()

    said = structure_of(definition.experiment.inference, definition.experiment.policies)

    assert len(definition.policies) == 8
    assert "warm-long-0.7" in definition.experiment.policies
    assert said.features is not None
    assert said.features.rank == 3
    assert said.stopping == "lr-mixture"
    spec = definition.spec.policies["warm-short-0.7"]
    assert (spec.model, spec.system, spec.params.temperature) == ("warm", "Be brief.", 0.7)


def test_interactions_add_directions() -> None:
    """Models and prompts that work together better or worse than each does alone."""
    experiment = _definition(interactions=[["model", "system"]]).experiment
    said = structure_of(experiment.inference, experiment.policies)

    assert said.features is not None
    assert said.features.rank == 4


def test_structured_plan_decides_and_says_how_well_the_structure_fits() -> None:
    """Enough comparisons along the axes certify the best combination, asymptotically."""
    definition = _definition()

    early, late = _plan(definition, 1), _plan(definition, 80)

    assert early.decision is None
    assert sum(pair.probability for pair in early.proposal.pairs) == pytest.approx(1)
    assert late.decision is not None
    assert late.decision.champion == definition.experiment.policies.index("warm-short-0")
    assert late.decision.certificate["guarantee"] == "asymptotic"
    assert late.proposal.fit_p_value is not None
    assert late.proposal.fit_p_value > 0.05
    assert not late.proposal.is_misfit


def test_planning_process_goes_on_from_the_last_plan_of_the_same_experiment() -> None:
    """Warm or cold, the verdict is the same; another definition under that name starts anew."""
    starts, definition = WarmStarts(), _definition()
    fewer = _definition(grid={**GRID, "temperature": [0, 0.7, 1]})

    early = starts.compute(_job(definition, 10))
    late = starts.compute(_job(definition, 80))
    other = starts.compute(_job(fewer, 10))

    assert early.decision is None
    assert late.decision == compute_plan(_job(definition, 80)).decision
    cold = compute_plan(_job(definition, 80)).proposal
    assert late.proposal.evidence_nats == pytest.approx(cold.evidence_nats)
    assert _timeless(other) == _timeless(compute_plan(_job(fewer, 10)))


def test_start_that_led_to_an_error_is_used_once() -> None:
    """A plan that fails leaves nothing behind for the next one to fail over."""
    starts, definition = WarmStarts(), _definition()
    job = _job(definition, 10)
    starts.compute(job)

    with pytest.raises(TallyError):
        starts.compute(replace(job, counts=replace(job.counts, comparisons=1)))

    again = starts.compute(job)
    assert _timeless(again) == _timeless(compute_plan(job))


def test_experiment_without_structure_is_recorded_as_before() -> None:
    """Running experiments keep their generation: nothing is added to what they were."""
    spec = _definition(space="unstructured")

    assert spec.experiment.inference == ""
    assert "inference" not in json.loads(spec.experiment.to_json())


def test_promise_is_recorded_where_one_is_chosen_and_shapes_the_forecasts() -> None:
    """An exact structured experiment may promise no worse than the best; then evidence has two sides."""
    chosen = _definition(guarantee="exact", promise="no_worse_than_best")
    plain = _definition(guarantee="exact")

    made, usual = _plan(chosen, 2), _plan(plain, 2)

    assert chosen.experiment.promise == "no_worse_than_best"
    assert "promise" not in json.loads(plain.experiment.to_json())
    assert [each.increments for each in made.forecasts] == [
        increments(each.probability_millionths, 0.02, each.second_millionths) for each in made.forecasts
    ]
    assert [each.at_half for each in made.forecasts] == [
        increments(each.probability_millionths, 0.0, each.second_millionths) for each in made.forecasts
    ]
    assert {each.at_half for each in usual.forecasts} == {None}
    assert made.proposal.needed_nats[0] < usual.proposal.needed_nats[0]
    assert made.proposal.expected_remaining is not None
    assert usual.proposal.expected_remaining is not None
    assert made.proposal.expected_remaining < usual.proposal.expected_remaining


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ({}, ("unstructured", "exact", "e-process")),
        ({"space": "bradley_terry"}, ("bradley_terry", "asymptotic", "lr-mixture")),
        ({"space": "bradley_terry", "guarantee": "exact"}, ("bradley_terry", "exact", "e-process")),
        ({"space": "bradley_terry", "stopping": "glr"}, ("bradley_terry", "exact", "glr")),
        ({"stopping": "glr"}, ("unstructured", "exact", "glr")),
    ],
)
def test_what_is_left_out_follows_from_what_is_said(
    stated: dict[str, str], expected: tuple[str, str, str]
) -> None:
    """Space, guarantee and rule agree without being spelled out."""
    spec = _spec(policies={"a": {"model": "m"}}, **stated)

    assert (spec.space, spec.guarantee, spec.stopping) == expected


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"space": "linear"}, "needs a `grid`"),
        ({"guarantee": "asymptotic"}, "needs a structured space"),
        ({"space": "bradley_terry", "guarantee": "exact", "stopping": "lr-mixture"}, "is not exact"),
        ({"grid": GRID, "policies": {"a": {"model": "m"}}}, "Keep one"),
        ({"grid": {"temperature": [0]}}, "which models"),
        ({"grid": {"model": []}}, "'model' has no levels"),
        ({"grid": {"model": ["m"], "system": ["text"]}}, "name: text"),
        ({"grid": {"model": ["a/b", "a:b"]}}, "called 'a_b'"),
        ({"grid": {"model": [str(n) for n in range(1001)]}}, "1001 combinations"),
        ({"grid": GRID, "interactions": [["model"]]}, "no interaction"),
        ({"grid": GRID, "promise": "no_worse_than_best"}, "`stopping` is lr-mixture.*`guarantee: exact`"),
        ({"stopping": "glr", "promise": "no_worse_than_best"}, "`stopping` is glr"),
        ({"epsilon": 0, "promise": "no_worse_than_best"}, "is about a margin, and `epsilon` is 0"),
        ({"epsilon": 0, "promise": "no_worse_than_any"}, "is about a margin, and `epsilon` is 0"),
        ({"grid": GRID, "interactions": [["model", "prompt"]]}, "no interaction"),
    ],
)
def test_what_contradicts_itself_is_refused(stated: dict[str, Any], message: str) -> None:
    """Every refusal says what to do."""
    with pytest.raises(ValidationError, match=message):
        _spec(**stated)
