"""Makes a decision: one step of the store, which can happen only once, records certificate and incumbent.

The store makes a move only from a state that the table of moves allows (`policy_store/moves.py`), and only
for the replica that holds the planning lease; every replica then serves the new incumbent as soon as its
refresher sees the new revision.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from gateway.config.promotion import PromotionSpec
from gateway.experiments.catalogue import CatalogueHolder
from gateway.experiments.conclusions import Voting, full_certificate, move_for, why_it_lapsed
from gateway.experiments.costs import AnswerCosts
from gateway.experiments.plan_values import Decision
from gateway.experiments.policy_content import descriptions
from gateway.experiments.stages import is_step_over, steps_of
from gateway.instrumentation.hooks import Hooks
from gateway.instrumentation.records import DecisionTaken
from gateway.learning.vouching import integrity_of
from gateway.running.logs import get_logger
from policy_store.counts import Counts
from policy_store.decisions import Failing
from policy_store.errors import DecisionConflictError
from policy_store.moves import MOVES, Move
from policy_store.stage_records import Stage
from policy_store.store import PolicyStore
from policy_store.view import ExperimentView

_log = get_logger(__name__)


class Promoter:
    """Turns decisions into moves of the store.

    Args:
        store: The shared state.
        catalogue: Holds the configuration in force, which the certificate names.
        hooks: Hear of decisions.
    """

    def __init__(self, store: PolicyStore, catalogue: CatalogueHolder, hooks: Hooks) -> None:
        self._store = store
        self._catalogue = catalogue
        self._hooks = hooks

    async def conclude(
        self,
        view: ExperimentView,
        decision: Decision | None,
        voting: Voting,
        costs: AnswerCosts,
        *,
        held: Sequence[str],
        counts: Counts,
        plan_version: int,
        fence: int,
    ) -> None:
        """Act on the conclusion that the evidence allows: decide, ask for approval, or withdraw that request.

        Args:
            view: The experiment.
            decision: The conclusion that all evidence allows, if any.
            voting: How many voters gave the votes.
            costs: The costs of answers.
            held: The reasons that hold any decision back now.
            counts: The counts that all this follows from.
            plan_version: Version of the plan with this evidence.
            fence: The planner's fencing number.

        Raises:
            StaleFenceError, StoreUnavailableError: As in `decide`.
        """
        is_certified = view.state in MOVES[Move.WITHDRAW].sources
        if is_certified and (why := why_it_lapsed(view, decision, held)) is not None:
            await self._withdraw(view, why, fence)
        elif view.stage is not None and not view.stage.is_last:
            if is_step_over(view, counts):
                await self._advance(view, view.stage, counts, fence)
        elif decision is not None and decision.kind == "inconclusive" and view.may_take_look:
            # What it leads to follows from the next reading, whichever replica plans then.
            await self._store.reveal_look(view.experiment.name, view.generation, fence)
        elif decision is not None and not self._waits(view, counts):
            await self.decide(
                view,
                decision,
                voting,
                costs,
                plan_version=plan_version,
                fence=fence,
                counts=counts,
            )

    def _waits(self, view: ExperimentView, counts: Counts) -> bool:
        """Whether what is certified has to wait still: for others, or for the end of the last step."""
        if view.stage is not None:
            return not is_step_over(view, counts)
        return view.state in MOVES[Move.WITHDRAW].sources and self._promotion(view).asks_first

    async def _advance(self, view: ExperimentView, stage: Stage, counts: Counts, fence: int) -> None:
        name, champion = view.experiment.name, (view.certificate or {})["champion"]
        with suppress(DecisionConflictError):  # a person was faster
            await self._store.advance(
                name,
                view.generation,
                fence,
                stage=stage,
                champion=champion,
                comparisons=counts.comparisons,
            )
            self._hooks.tell(
                DecisionTaken(name, view.generation, view.state.value, view.experiment.policies[champion])
            )

    async def _withdraw(self, view: ExperimentView, why: str, fence: int) -> None:
        name, certificate = view.experiment.name, view.certificate or {}
        with suppress(DecisionConflictError):  # a person made a move first
            await self._store.decide(
                name,
                view.generation,
                fence,
                move=Move.WITHDRAW,
                champion=certificate["champion"],
                certificate={},
            )
            _log.info("certificate_withdrawn", experiment=name, generation=view.generation, why=why)

    async def give_up(self, view: ExperimentView, failing: Failing, fence: int) -> None:
        """End an experiment because a candidate fails. It is no error if a person made a move first.

        Raises:
            StaleFenceError, StoreUnavailableError: As in `decide`.
        """
        name = view.experiment.name
        with suppress(DecisionConflictError):
            ended = await self._store.decide(
                name,
                view.generation,
                fence,
                move=Move.GIVE_UP,
                champion=None,
                certificate={},
                failing=failing,
            )
            policy = view.experiment.policies[failing.policy]
            told = {"policy": policy, "asked": failing.asked, "failed": failing.failed}
            _log.warning("candidate_unfit", experiment=name, generation=view.generation, **told)
            self._hooks.tell(DecisionTaken(name, view.generation, ended.state.value, None))

    def _promotion(self, view: ExperimentView) -> PromotionSpec:
        definition = self._catalogue.current.definitions.get(view.experiment.name)
        return PromotionSpec() if definition is None else definition.spec.promotion

    async def decide(
        self,
        view: ExperimentView,
        decision: Decision,
        voting: Voting,
        costs: AnswerCosts,
        *,
        plan_version: int,
        fence: int,
        counts: Counts,
    ) -> None:
        """Make the move that follows from `decision`. It is no error if another replica made it first.

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
            decided_at=counts.now,
            voting=voting,
            costs=costs,
            integrity=await integrity_of(self._store, view, decision, counts),
            policies=descriptions(view.experiment, contents, catalogue.policies_shown),
        )
        promotion = self._promotion(view)
        steps = steps_of(promotion) if view.stage is None else ()
        move = move_for(
            decision.kind,
            is_incumbent=decision.champion == view.incumbent,
            asks_first=promotion.asks_first and view.stage is None,
            in_steps=bool(steps),
        )
        try:
            decided = await self._store.decide(
                name,
                view.generation,
                fence,
                move=move,
                champion=decision.champion,
                certificate=certificate,
                steps=steps if MOVES[move].target.facts.is_staged else (),
                comparisons=counts.comparisons,
            )
        except DecisionConflictError:
            _log.info("decided_by_another_replica", experiment=name)
        else:
            champion = None if decision.champion is None else view.experiment.policies[decision.champion]
            self._hooks.tell(DecisionTaken(name, view.generation, decided.state.value, champion))
