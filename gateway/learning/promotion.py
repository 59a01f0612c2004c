"""Takes a decision: one step of the store, which can happen only once, records certificate and incumbent.

The store makes a move only from a state the table of moves allows (`policy_store/states.py`), and only for
the replica that holds the planning lease; every replica then serves the new incumbent as soon as its
refresher sees the new revision.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.experiments.catalogue import CatalogueHolder
from gateway.experiments.conclusions import Decision, Voting, full_certificate, move_for
from gateway.experiments.costs import AnswerCosts
from gateway.experiments.policy_content import descriptions
from gateway.instrumentation.hooks import Hooks
from gateway.instrumentation.records import DecisionTaken
from gateway.running.logs import get_logger
from policy_store.errors import DecisionConflictError
from policy_store.models import ExperimentView
from policy_store.store import PolicyStore

_log = get_logger(__name__)


class Promoter:
    """Turns decisions into moves of the store.

    Args:
        store: The shared state.
        catalogue: Holds the configuration in force, which the certificate names.
        clock: Unix seconds.
        hooks: Are told of decisions.
    """

    def __init__(
        self, store: PolicyStore, catalogue: CatalogueHolder, *, clock: Callable[[], float], hooks: Hooks
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._clock = clock
        self._hooks = hooks

    async def decide(
        self,
        view: ExperimentView,
        decision: Decision,
        voting: Voting,
        costs: AnswerCosts,
        *,
        plan_version: int,
        fence: int,
    ) -> None:
        """End the experiment as `decision` says. It is no error if another replica did so first.

        Raises:
            StaleFenceError: Another replica plans this experiment now; nothing was changed.
            StoreUnavailableError: It is not known whether the decision was recorded; deciding again is safe.
        """
        name, catalogue = view.experiment.name, self._catalogue.current
        contents = await self._store.contents(name) if catalogue.policies_shown == "full" else {}
        certificate = full_certificate(
            decision,
            view.experiment,
            generation=view.generation,
            plan_version=plan_version,
            config_hash=catalogue.config_hash,
            decided_at=self._clock(),
            voting=voting,
            costs=costs,
            policies=descriptions(view.experiment, contents, catalogue.policies_shown),
        )
        try:
            decided = await self._store.decide(
                name,
                view.generation,
                fence,
                move=move_for(decision.kind, is_incumbent=decision.champion == view.incumbent),
                champion=decision.champion,
                certificate=certificate,
            )
        except DecisionConflictError:
            _log.info("decided_by_another_replica", experiment=name)
        else:
            champion = None if decision.champion is None else view.experiment.policies[decision.champion]
            self._hooks.tell(DecisionTaken(name, view.generation, decided.state.value, champion))
