"""Takes a decision: the certificate and the new incumbent, in one step of the store that can happen once.

The store accepts a decision only while the experiment is running and only from whoever holds the planning
lease; every replica then serves the new incumbent as soon as its refresher sees the new revision.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from gateway import __version__
from gateway.experiments.catalogue import CatalogueHolder
from gateway.learning.plan_worker import Decision
from gateway.running.logs import get_logger
from policy_store.errors import DecisionConflictError
from policy_store.models import Experiment, ExperimentState, ExperimentView
from policy_store.store import PolicyStore

_log = get_logger(__name__)


class Promoter:
    """Decides experiments; see the module.

    Args:
        store: The shared state.
        catalogue: The configuration in force, which the certificate names.
        clock: Unix seconds.
    """

    def __init__(self, store: PolicyStore, catalogue: CatalogueHolder, *, clock: Callable[[], float]) -> None:
        self._store = store
        self._catalogue = catalogue
        self._clock = clock

    async def decide(
        self, view: ExperimentView, decision: Decision, *, plan_version: int, fence: int
    ) -> None:
        """End the experiment as `decision` says. Another replica having done so first is not an error.

        Raises:
            StaleFenceError: Another replica plans this experiment now; nothing was changed.
            StoreUnavailableError: Whether it was decided is not known; deciding again is safe.
        """
        name = view.experiment.name
        certificate = full_certificate(
            decision,
            view.experiment,
            generation=view.generation,
            plan_version=plan_version,
            config_hash=self._catalogue.current.config_hash,
            decided_at=self._clock(),
        )
        try:
            await self._store.decide(
                name,
                view.generation,
                fence,
                state=final_state(decision, view.incumbent),
                champion=decision.champion,
                certificate=certificate,
            )
        except DecisionConflictError:
            _log.info("experiment was decided by another replica", experiment=name)


def full_certificate(
    decision: Decision,
    experiment: Experiment,
    *,
    generation: int,
    plan_version: int,
    config_hash: str,
    decided_at: float,
) -> dict[str, Any]:
    """What was decided and why, with everything needed to check it years later."""
    champion = decision.champion
    return {
        **decision.certificate,
        "experiment": json.loads(experiment.to_json()),
        "generation": generation,
        "champion_name": None if champion is None else experiment.policies[champion],
        "plan_version": plan_version,
        "config_hash": config_hash,
        "code_version": __version__,
        "decided_at": decided_at,
    }


def final_state(decision: Decision, incumbent: int) -> ExperimentState:
    """Where a decision leaves an experiment."""
    if decision.kind == "no_winner":
        return ExperimentState.NO_WINNER
    if decision.kind == "inconclusive":
        return ExperimentState.INCONCLUSIVE
    return ExperimentState.SETTLED if decision.champion == incumbent else ExperimentState.PROMOTED
