"""Staged promotions: from one step to the next."""

from __future__ import annotations

from typing import Any

from policy_store import codec
from policy_store.events import Stepped, encoded
from policy_store.moves import Move
from policy_store.scripting import StorePart
from policy_store.stage_records import Stage
from policy_store.view import ExperimentView


class StageStore(StorePart):
    """The part of the store that knows the steps of staged promotions."""

    async def advance(
        self, name: str, generation: int, fence: int, *, stage: Stage, champion: int, comparisons: int
    ) -> ExperimentView:
        """Make the planner's move to the next step.

        Args:
            name: Experiment.
            generation: Must be the current one.
            fence: The number `acquire_lease` gave.
            stage: Where it stands; only from there it moves.
            champion: Index of the certified policy.
            comparisons: How many were counted until now.

        Raises:
            StaleFenceError: Another planner took over.
            DecisionConflictError: It stands elsewhere, or the generation is no longer the current one.
        """
        share = stage.steps[stage.step + 1].share
        told = Stepped(champion, fence, generation, step=stage.step + 2, share=share)
        said = codec.dump_json(encoded(told))
        return await self._step(name, generation, Move.ADVANCE, stage, comparisons, said, fence, "")

    async def approve_step(
        self,
        name: str,
        generation: int,
        *,
        stage: Stage,
        comparisons: int,
        actor: str,
        reason: str,
        seen: dict[str, Any],
    ) -> ExperimentView:
        """Make a person's move to the next step; repeating it for the same reason changes nothing.

        Args:
            name: Experiment.
            generation: Must be the current one.
            stage: Where it stands; only from there it moves.
            comparisons: How many were counted until now.
            actor: Name of the person's key.
            reason: The person's words.
            seen: The certificate in force that the approval rests on.

        Raises:
            DecisionConflictError: It stands elsewhere, the generation is no longer the current one, or
                another certificate is in force.
        """
        said = codec.dump_json({"actor": actor, "reason": reason, "generation": generation})
        certificate = codec.dump_json(seen)
        return await self._step(
            name, generation, Move.APPROVE_STEP, stage, comparisons, said, "", certificate
        )

    async def _step(
        self,
        name: str,
        generation: int,
        move: Move,
        stage: Stage,
        comparisons: int,
        said: str,
        fence: int | str,
        seen: str,
    ) -> ExperimentView:
        keys = self._names.experiment(name)
        own = keys.generation(generation)
        reply = await self._scripts.run(
            "take_step",
            (keys.control, keys.events, own.log, own.held),
            *(generation, move.value, stage.step, comparisons, repr(stage.steps[stage.step + 1].share)),
            *(said, fence, seen),
        )
        return codec.view_from(reply)
