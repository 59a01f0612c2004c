"""Moves by hand: pause, resume, stop, approve, reject, promote, roll back.

Each is one step of the store. It applies only to the state that the person saw, and the log has the person
and the reason. A person's decision claims nothing about the evidence, except an approval: the approved
certificate must still hold.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from gateway.errors import ConflictError, InvalidRequestError, StoreHeldError
from gateway.experiments.agreement import Agreement
from gateway.experiments.catalogue import CatalogueHolder
from gateway.experiments.conclusions import certificate_by_hand, why_it_lapsed
from gateway.experiments.guardrails import why_not_promoted
from gateway.experiments.holds import holds
from gateway.experiments.policy_content import descriptions
from gateway.experiments.store_history import StoreHistory
from gateway.experiments.verbs import READMIT, VERBS, Verb, found_worse, may, move_of
from gateway.instrumentation.hooks import Hooks
from gateway.instrumentation.records import MovedByHand
from gateway.learning.plan_jobs import plan_job
from gateway.learning.plan_worker import PlanJob, PlanResult
from policy_store.errors import DecisionConflictError
from policy_store.events import StepApproved
from policy_store.guard_events import Readmitted
from policy_store.moves import MOVES, Move
from policy_store.stage_records import Stage
from policy_store.store import PolicyStore
from policy_store.view import ExperimentView

# Only plans are drawn at random; the conclusion does not depend on the seed.
_SEED: Final = 0
_PROMOTIONS: Final = (Move.APPROVE, Move.PROMOTE_BY_HAND)


@dataclass(frozen=True, slots=True)
class Wish:
    """The move that a person asks for.

    Attributes:
        verb: The verb of the move.
        actor: Name of the person's key.
        reason: Why.
        policy: The policy to promote; for an approval or a rejection, the policy that the person saw waiting.
    """

    verb: Verb
    actor: str
    reason: str
    policy: str | None = None

    @property
    def move(self) -> Move:
        """The move that the verb names."""
        return VERBS[self.verb]


class Steering:
    """Makes moves by hand.

    Args:
        store: The shared state.
        catalogue: Holds the configuration in force.
        compute: Turns a job into a plan, away from the event loop.
        history: Knows whether the store lost something; then nothing is moved.
        agreement: Says whether replicas run the same configuration: while they do not, nothing is promoted.
        hooks: Hear of moves.
    """

    def __init__(
        self,
        store: PolicyStore,
        catalogue: CatalogueHolder,
        compute: Callable[[PlanJob], Awaitable[PlanResult]],
        history: StoreHistory,
        agreement: Agreement,
        hooks: Hooks,
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._compute = compute
        self._history = history
        self._agreement = agreement
        self._hooks = hooks

    async def move(self, name: str, wish: Wish) -> ExperimentView:
        """Make the move that a person asks for; repeating it changes nothing.

        Raises:
            ConflictError: The present state does not allow the move, or it needs a certificate that no
                longer holds.
            InvalidRequestError: There is no such policy, or it cannot be meant.
            StoreHeldError: The store lost something and no operator has accepted that yet.
            StoreError: It is not known whether the move was made; repeating it is safe.
        """
        if self._history.held is not None:
            raise StoreHeldError(
                "The store lost something, so nothing is decided until `llmpo store accept`."
            )
        is_readmission = wish.verb == READMIT
        if not is_readmission and wish.move in _PROMOTIONS and self._agreement.held is not None:
            raise ConflictError(f"{self._agreement.held} Nothing was changed.")
        view = await self._store.view(name)
        try:
            moved = await (self._readmitted(view, wish) if is_readmission else self._moved(view, wish))
        except DecisionConflictError:
            raise _refusal(await self._store.view(name), wish) from None
        if moved.revision != view.revision:
            serves = moved.experiment.policies[moved.incumbent]
            self._hooks.tell(
                MovedByHand(
                    name, moved.generation, wish.verb, wish.actor, wish.reason, moved.state.value, serves
                )
            )
        return moved

    async def _moved(self, view: ExperimentView, wish: Wish) -> ExperimentView:
        if view.stage is not None and wish.move is Move.APPROVE:
            latest = [
                event.told for event in await self._store.events(view.experiment.name, 1, is_confirmed=True)
            ]
            by = (wish.actor, wish.reason)
            if any(isinstance(told, StepApproved) and (told.actor, told.reason) == by for told in latest):
                return view  # the same person's approval for the same reason, sent again
            if move_of(wish.verb, view) is Move.APPROVE_STEP:
                return await self._step_approved(view, view.stage, wish)
        about = await self._about(view, wish)
        return await self._store.move_by_hand(
            view.experiment.name, view.generation, wish.move, actor=wish.actor, reason=wish.reason, **about
        )

    async def _readmitted(self, view: ExperimentView, wish: Wish) -> ExperimentView:
        """The experiment with a policy admitted again; counting for guardrails begins anew for it."""
        name, policies, found = view.experiment.name, view.experiment.policies, found_worse(view)
        if wish.policy not in policies:
            raise _no_such_policy(view, wish)
        if wish.policy not in found:
            latest = [event.told for event in await self._store.events(name, 1, is_confirmed=True)]
            by = (wish.actor, wish.reason)
            if any(isinstance(told, Readmitted) and (told.actor, told.reason) == by for told in latest):
                return view  # the same, sent again
            among = f"They found {', '.join(found)} worse." if found else "They found no policy worse."
            raise ConflictError(f"No guardrail holds {wish.policy} back. {among} Nothing was changed.")
        policy = policies.index(wish.policy)
        fingerprint = view.experiment.policy_fingerprints[policy]
        trips = [trip.guardrail for trip in view.guards.of(fingerprint)]
        said = Readmitted(wish.actor, wish.reason, policy, trips, view.generation)
        return await self._store.readmit(view, view.guards.without(fingerprint), said)

    async def _step_approved(self, view: ExperimentView, stage: Stage, wish: Wish) -> ExperimentView:
        """The next step of a staged promotion, if the present one waits for a person."""
        name = view.experiment.name
        about = await self._about(view, wish)
        counts = await self._store.counts(name, view.generation)
        return await self._store.approve_step(
            name,
            view.generation,
            stage=stage,
            comparisons=counts.comparisons,
            actor=wish.actor,
            reason=wish.reason,
            seen=about["seen"],
        )

    async def _about(self, view: ExperimentView, wish: Wish) -> dict[str, Any]:
        """The subject of the move: a champion, the certificate that was seen, and the one to store."""
        is_due = view.state in MOVES[wish.move].sources  # otherwise it is refused, or was made before
        if wish.move is Move.PROMOTE_BY_HAND:
            return await self._chosen(view, wish, is_due=is_due)
        if wish.move is Move.RESUME and view.guards != view.guards.resumed():
            return {"guards": (view.guards, view.guards.resumed())}
        if wish.move not in (Move.APPROVE, Move.REJECT):
            return {}
        awaiting = (view.certificate or {}).get("champion_name")
        if is_due and wish.policy not in (None, awaiting):
            raise ConflictError(
                f"{awaiting} awaits approval, not {wish.policy}. Check again before you decide."
            )
        if wish.move is Move.REJECT:
            return {"seen": view.certificate} if is_due else {}
        if is_due:
            if view.stage is not None and not view.stage.present.approval:
                raise ConflictError(
                    f"The present step of {view.experiment.name!r} waits for no person: it ends by itself. "
                    "Nothing was changed."
                )
            await self.check_certificate(view)
        champion = (view.certificate or {}).get("champion")
        if not isinstance(champion, int):
            raise _refusal(view, wish)
        return {"champion": champion, "seen": view.certificate}

    async def check_certificate(self, view: ExperimentView) -> None:
        """Decide again from everything counted. Raises ConflictError if the certificate no longer holds."""
        catalogue, name = self._catalogue.current, view.experiment.name
        definition = catalogue.definitions[name]
        if not definition.is_same_as(view.experiment):
            raise ConflictError(
                f"This replica's file defines {name!r} differently from the store, so it cannot check "
                "the certificate. Run one configuration on all replicas, and ask again."
            )
        champion = (view.certificate or {}).get("champion")
        found = why_not_promoted(view, champion) if isinstance(champion, int) else None
        if found is not None:
            raise ConflictError(f"{found} Nothing was changed.")
        counts = await self._store.counts(name, view.generation)
        held = holds(view.experiment, definition.spec.promotion, counts)
        job, _ = await plan_job(
            self._store, catalogue, definition, view, counts, may_decide=not held, seed=_SEED
        )
        why = why_it_lapsed(view, (await self._compute(job)).decision, held)
        if why is not None:
            raise ConflictError(
                f"The certificate of {name!r} no longer holds, so it cannot be approved. {why} "
                "Evidence goes on being gathered."
            )

    async def _chosen(self, view: ExperimentView, wish: Wish, *, is_due: bool) -> dict[str, Any]:
        """The subject of a promotion by hand, with its record."""
        name, policies = view.experiment.name, view.experiment.policies
        if wish.policy not in policies:
            raise _no_such_policy(view, wish)
        champion = policies.index(wish.policy)
        if is_due and (why := why_not_promoted(view, champion)) is not None:
            raise ConflictError(f"{why} Nothing was changed.")
        if is_due and champion == view.incumbent:
            raise ConflictError(
                f"{wish.policy} serves already. To keep it and end the experiment, use `stop`."
            )
        catalogue = self._catalogue.current
        contents = await self._store.contents(name) if catalogue.policies_shown == "full" else {}
        counts = await self._store.counts(name, view.generation)
        certificate = certificate_by_hand(
            view,
            counts,
            champion,
            actor=wish.actor,
            reason=wish.reason,
            config_hash=catalogue.config_hash,
            decided_at=counts.now,
            policies=descriptions(view.experiment, contents, catalogue.policies_shown),
        )
        return {"champion": champion, "certificate": certificate}


def _no_such_policy(view: ExperimentView, wish: Wish) -> InvalidRequestError:
    policies = ", ".join(view.experiment.policies)
    if wish.policy is None:
        return InvalidRequestError(
            f"Name the policy to {wish.verb}, as `policy`. {view.experiment.name!r} has: {policies}.",
            param="policy",
        )
    return InvalidRequestError(
        f"{view.experiment.name!r} has no policy {wish.policy!r}. There are: {policies}.", param="policy"
    )


def _refusal(view: ExperimentView, wish: Wish) -> ConflictError:
    if wish.verb == READMIT:
        return ConflictError(f"{view.experiment.name!r} changed at this moment. Look at it, and ask again.")
    is_settled = view.state in MOVES[wish.move].sources and view.stage is None
    if is_settled and not may(view, wish.move):
        serves = view.experiment.policies[view.incumbent]
        return ConflictError(
            f"{serves} served before {view.experiment.name!r} was {view.state.facts.label}, so there is no "
            "promotion to take back. Nothing was changed."
        )
    allowed = sorted(state.facts.label for state in MOVES[wish.move].sources)
    starts = ", ".join(allowed[:-1]) + f" or {allowed[-1]}" if len(allowed) > 1 else allowed[0]
    return ConflictError(
        f"{view.experiment.name!r} is {view.state.facts.label} (generation {view.generation}); {wish.verb} "
        f"is for an experiment that is {starts}. Nothing was changed."
    )
