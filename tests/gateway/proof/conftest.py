"""The log of a decided experiment, to be tampered with."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from gateway.experiments.agreement import Agreement
from gateway.experiments.store_history import StoreHistory
from gateway.instrumentation.hooks import Hooks
from gateway.learning.plan_worker import PlanJob, PlanResult, compute_plan
from gateway.learning.planning import Planner
from gateway.learning.promotion import Promoter
from gateway.proof.experiment_log import ExperimentLog
from policy_store.log_records import Result
from policy_store.report_records import Report
from policy_store.states import ExperimentState
from policy_store.store import PolicyStore
from tests.gateway.building import NAME, catalogue_holder, definition

Rows = list[dict[str, Any]]


async def _here(job: PlanJob) -> PlanResult:
    return compute_plan(job)


@pytest.fixture
def decide(embedded_store: PolicyStore) -> Callable[..., Any]:
    """Runs an experiment to its end, or for `most` comparisons; gives its exported log as rows.

    A plan is made after `every` comparisons.
    """

    async def run(
        result: Result = Result.LOSS,
        *,
        first_unit: int = 0,
        most: int = 2_000,
        every: int = 10,
        **changes: Any,
    ) -> Rows:
        about = definition(**changes)
        await embedded_store.keep_contents(NAME, about.contents)
        view = await embedded_store.register(about.experiment, about.elimination_nano_nats)
        planner = Planner(
            embedded_store,
            catalogue_holder(),
            _here,
            Promoter(embedded_store, catalogue_holder(), Hooks()),
            history=StoreHistory(),
            agreement=Agreement(),
            holder="a",
            interval_seconds=1,
            lease_seconds=60,
            hooks=Hooks(),
            rng=random.Random(7),
        )
        policies = len(about.policies)
        draws = random.Random(3)
        for number in range(first_unit, first_unit + most):
            if number % every == 0:
                await planner.plan_all()
                if (await embedded_store.view(NAME)).look is not None:
                    await planner.plan_all()
                if (await embedded_store.view(NAME)).state is not ExperimentState.RUNNING:
                    break
            first, second = sorted(draws.sample(range(policies), 2))
            # A few go the other way, so that both kinds of increments occur.
            seen = Result.WIN if draws.random() < 0.1 else result
            report = Report(NAME, view.generation, f"unit{number}", first, second, "side_by_side", "x", 60)
            await embedded_store.record_preference(report, seen)
        return [json.loads(line) async for line in ExperimentLog(embedded_store).lines(NAME)]

    return run
