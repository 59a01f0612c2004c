"""Collects the input from which a plan, or a verdict on everything counted so far, is computed."""

from __future__ import annotations

from gateway.experiments.catalogue import Catalogue
from gateway.experiments.costs import AnswerCosts, answer_costs
from gateway.experiments.definitions import Definition
from gateway.experiments.plan_values import InformingSource
from gateway.learning.plan_worker import PlanJob
from policy_store.counts import Counts
from policy_store.last_looks import uniform_number
from policy_store.store import PolicyStore
from policy_store.view import ExperimentView


async def plan_job(
    store: PolicyStore,
    catalogue: Catalogue,
    definition: Definition,
    view: ExperimentView,
    counts: Counts,
    *,
    may_decide: bool,
    seed: int,
    sources: tuple[InformingSource, ...] = (),
) -> tuple[PlanJob, AnswerCosts]:
    """The job for a reading of an experiment, and the costs of answers.

    A verdict does not depend on `sources`, so they may be left out where only that is asked for.

    Raises:
        StoreUnavailableError: The measured tokens cannot be read.
    """
    usage = await store.usage(view.experiment.name)
    costs = answer_costs(view.experiment, definition, catalogue.prices, usage)
    caps, deciding = definition.caps, costs.deciding
    about = view.experiment, view.incumbent, counts
    last_look = uniform_number(view.look, view.experiment.fingerprint()) if view.look else None
    job = PlanJob(*about, may_decide, seed, caps, deciding, last_look, sources)
    return job, costs
