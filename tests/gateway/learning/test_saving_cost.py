"""An experiment may save what comparisons cost rather than comparisons."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from gateway.config.gateway_file import GatewayConfig
from gateway.experiments.definitions import Definition, define
from gateway.experiments.policies import compile_policies
from gateway.learning.plan_worker import PlanJob, compute_plan
from policy_store.counts import Counts
from tests.gateway.building import config_fields

CHANCES = np.array(
    [[0.5, 0.73, 0.9, 0.9], [0.27, 0.5, 0.78, 0.78], [0.1, 0.22, 0.5, 0.5], [0.1, 0.22, 0.5, 0.5]]
)


def _definition(costs: dict[str, float], **changes: Any) -> Definition:
    fields = config_fields()
    policies = {name: {"model": "plain", "system": name, "cost": cost} for name, cost in costs.items()}
    fields["experiments"]["support"].update(
        {"incumbent": next(iter(costs)), "policies": policies, "epsilon": 0, **changes}
    )
    config = GatewayConfig.model_validate(fields)
    spec = config.experiments["support"]
    return define("support", spec, compile_policies(config, spec))


def _share_of_dear(definition: Definition) -> float:
    """How often the plan asks policy 0, of which every pair was compared a hundred times."""
    each = 100
    wins = np.rint(each * CHANCES).astype(int)
    np.fill_diagonal(wins, 0)
    nothing = tuple((0,) * 4 for _ in range(4))
    counts = Counts(
        comparisons=int(wins.sum()),
        wins=tuple(map(tuple, wins.tolist())),
        ties=nothing,
        evidence_nano_nats=nothing,
        eliminated_at=(None,) * 4,
        started_at=0.0,
        now=1.0,
        debts_nano_nats=(0,) * 4,
    )
    plan = compute_plan(PlanJob(definition.experiment, 0, counts, may_decide=False, seed=3))
    return sum(pair.probability for pair in plan.proposal.pairs if 0 in (pair.first, pair.second))


def test_losers_meet_the_cheap_opponent() -> None:
    """The expensive champion is asked where no other policy will do."""
    costs = {"a-dear": 20.0, "b": 1.0, "c": 1.0, "d": 1.0}

    by_count = _share_of_dear(_definition(costs))
    by_cost = _share_of_dear(_definition(costs, objective="cost"))

    assert by_count > 0.9
    assert by_cost < by_count


def test_every_policy_has_to_declare_what_it_costs() -> None:
    """The message says what is missing."""
    with pytest.raises(ValidationError, match="needs the cost of every policy"):
        _definition({"a": 1.0, "b": 0.0}, objective="cost")


def test_the_objective_is_part_of_what_is_run() -> None:
    """An experiment without an objective is recorded as it was before objectives existed."""
    costs = {"a": 1.0, "b": 2.0}

    assert _definition(costs).experiment.inference == ""
    assert '"objective":"cost"' in _definition(costs, objective="cost").experiment.inference
