"""Acts on what guardrails find: ejects a policy that is worse, pauses the experiment, or rolls it back.

Only the planner that holds the lease acts, and each finding is one step of the store, made once. While the
evidence suffices for neither finding, nothing happens. A finding never promotes a policy.
"""

from __future__ import annotations

from typing import Any, Final

from gateway.experiments.definitions import Definition
from gateway.experiments.guardrails import (
    GUARDRAIL_ACTOR,
    GuardReading,
    counted_run,
    deed_for,
    readings,
    reason_of,
)
from gateway.instrumentation.hooks import Hooks
from gateway.instrumentation.records import DecisionTaken, GuardrailActed
from gateway.llm_po.guardrails import Finding
from policy_store.errors import DecisionConflictError
from policy_store.guard_events import GuardrailTripped
from policy_store.guard_records import Deed, Trip
from policy_store.moves import MOVES, Move
from policy_store.store import PolicyStore
from policy_store.view import ExperimentView

_DIGITS: Final = 6


class GuardKeeper:
    """Looks after the guardrails of experiments.

    Args:
        store: The shared state.
        hooks: Hear of findings.
    """

    def __init__(self, store: PolicyStore, hooks: Hooks) -> None:
        self._store = store
        self._hooks = hooks

    async def look(self, view: ExperimentView, definition: Definition, fence: int) -> ExperimentView:
        """The experiment, after acting on what its guardrails find.

        Raises:
            StaleFenceError: Another planner took over; nothing was changed.
            StoreUnavailableError: It is not known what was changed; looking again is safe.
        """
        is_due = bool(definition.guardrails) and view.state.facts.draws_pairs
        if not is_due or not definition.is_same_as(view.experiment):
            return view
        name, run = view.experiment.name, counted_run(view)
        counted = await self._store.counted_pairs(name, run)
        for reading in readings(view, definition.guardrails, counted):
            if reading.finding is Finding.WORSE and reading.is_new_to(view):
                before, view = view, await self._act(view, reading, run, fence)
                if view.state is not before.state:
                    return view
        hours = [hour for counts in counted.values() for hour in counts.hours]
        if len(set(hours)) > 1:
            await self._store.forget_hours(name, run, counted, max(hours))
        return view

    async def _act(self, view: ExperimentView, reading: GuardReading, run: int, fence: int) -> ExperimentView:
        """Record a finding, and do what follows; another one's move that came first is left alone."""
        name, experiment = view.experiment.name, view.experiment
        policy = experiment.policy_fingerprints[reading.policy]
        did, move = deed_for(view, reading.guardrail.then, reading.policy)
        count = view.guards.count_of(policy)
        tripped = _tripped(view, reading, did, run=run, count=count, fence=fence)
        try:
            after = await self._store.trip(
                view,
                view.guards.with_trip(Trip(reading.guardrail.name, policy, did, count)),
                tripped,
                move=move,
                moved=_moved(view, reading, move, fence),
            )
        except DecisionConflictError:  # a person made a move first
            return await self._store.view(name)
        serves = experiment.policies[after.incumbent]
        self._hooks.tell(
            GuardrailActed(name, reading.guardrail.name, experiment.policies[reading.policy], did.value)
        )
        if move is not None:
            self._hooks.tell(DecisionTaken(name, after.generation, after.state.value, serves))
        return after


def _tripped(
    view: ExperimentView, reading: GuardReading, did: Deed, *, run: int, count: int, fence: int
) -> GuardrailTripped:
    contrast, (worse, usual) = reading.guardrail.contrast, reading.numbers or (0.0, 0.0)
    return GuardrailTripped(
        guardrail=reading.guardrail.name,
        policy=reading.policy,
        reference=reading.reference,
        did=did.value,
        run=run,
        count=count,
        contrast=[contrast.candidate, contrast.incumbent, contrast.offset],
        level=reading.guardrail.level,
        hour=reading.hour,
        pairs=[[*numbers, times] for numbers, times in sorted(reading.pairs.items())],
        nats=round(reading.nats, _DIGITS),
        needed_nats=round(reading.needed, _DIGITS),
        worse=worse,
        usual=usual,
        fence=fence,
        generation=view.generation,
    )


def _moved(view: ExperimentView, reading: GuardReading, move: Move | None, fence: int) -> dict[str, Any]:
    """Detail of the event of the move that follows."""
    if move is None:
        return {}
    if MOVES[move].guards:
        reason = reason_of(reading, view.experiment.policies)
        return {
            "actor": GUARDRAIL_ACTOR,
            "reason": reason,
            "fence": fence,
            "generation": view.generation,
        }
    return {"champion": reading.policy, "fence": fence, "generation": view.generation}
