"""Makes the moves that planners decide on, and those that are made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from policy_store import codec
from policy_store.events import Decided, GaveUp, Stepped, encoded
from policy_store.guard_records import GuardStanding
from policy_store.moves import MOVES, Move
from policy_store.scripting import StorePart
from policy_store.stage_records import StageStep
from policy_store.view import ExperimentView


class Failing(NamedTuple):
    """A candidate that fails on most of the requests it is asked."""

    policy: int
    asked: int
    failed: int


class DecisionStore(StorePart):
    """The part of the store for decisions."""

    async def decide(
        self,
        name: str,
        generation: int,
        fence: int,
        *,
        move: Move,
        champion: int | None,
        certificate: dict[str, Any],
        verdict: dict[str, Any] | None = None,
        steps: Sequence[StageStep] = (),
        comparisons: int = 0,
        failing: Failing | None = None,
    ) -> ExperimentView:
        """Make a planner's move: state, certificate and, if the move installs one, incumbent change together.

        Atomic: one of several competing decisions is made. Repeating the same decision returns the stored
            one.

        Args:
            name: Experiment.
            generation: Must be the current one.
            fence: The number from `acquire_lease`.
            move: The move.
            champion: Index of the policy that the move is about, if any.
            certificate: The certificate; a move that certifies nothing does not store it.
            verdict: What the watch came to that the move ends.
            steps: Those of the staged promotion that the move begins.
            comparisons: How many were counted until then.
            failing: The candidate that the move gives up on.

        Raises:
            StaleFenceError: Another planner took over.
            DecisionConflictError: The move does not start from the present state, or the generation is no
                longer current.
            ValueError: The move lacks a champion or has one that it does not need; or a number in the
                certificate is not finite.
        """
        _check_champion(move, champion)
        keys = self._names.experiment(name)
        own = keys.generation(generation)
        event = Decided(champion, fence, generation)
        if steps:
            event = Stepped(champion, fence, generation, step=1, share=steps[0].share)
        if failing is not None:
            event = GaveUp(champion, fence, generation, *failing)
        reply = await self._scripts.run(
            "decide",
            (keys.control, keys.events, own.log, own.held),
            *(generation, fence, move.value, "" if champion is None else champion),
            codec.dump_json(certificate),
            codec.dump_json(encoded(event)),
            "" if verdict is None else codec.dump_json(verdict),
            codec.steps_to_json(steps) if steps else "",
            comparisons,
        )
        return codec.view_from(reply)

    async def move_by_hand(
        self,
        name: str,
        generation: int,
        move: Move,
        *,
        actor: str,
        reason: str,
        champion: int | None = None,
        certificate: dict[str, Any] | None = None,
        seen: dict[str, Any] | None = None,
        fence: int | None = None,
        verdict: dict[str, Any] | None = None,
        guards: tuple[GuardStanding, GuardStanding] | None = None,
    ) -> ExperimentView:
        """Make a move for a reason: state, certificate, incumbent change at once; the log says who and why.

        Atomic: one of several competing moves is made. Repeating a move by the same actor for the same
            reason returns the stored one.

        Args:
            name: Experiment.
            generation: Must be the current one.
            move: The move.
            actor: Name of the person's key.
            reason: The person's words.
            champion: Index of the policy that the move is about, if any.
            certificate: The certificate to store, if the move certifies.
            seen: The certificate in force that the move depends on; None if it depends on none.
            fence: The number `acquire_lease` gave, where a watch or a confirm hook moves and no person.
            verdict: What that watch came to.
            guards: What guardrails found before the move and find after it, if it changes that.

        Raises:
            StaleFenceError: Another planner took over.
            DecisionConflictError: The move does not start from the present state, the generation is no longer
                the current one, another certificate is in force, there is no promotion to take back, or
                guardrails found worse what is to be promoted, or something else than was read.
            ValueError: As in `decide`.
        """
        _check_champion(move, champion)
        keys = self._names.experiment(name)
        own = keys.generation(generation)
        reply = await self._scripts.run(
            "move_by_hand",
            (keys.control, keys.events, own.log, own.held),
            *(generation, move.value, "" if champion is None else champion),
            *("" if each is None else codec.dump_json(each) for each in (certificate, seen)),
            codec.dump_json(
                {
                    **({} if fence is None else {"fence": fence}),
                    "actor": actor,
                    "reason": reason,
                    "generation": generation,
                }
            ),
            "" if fence is None else fence,
            "" if verdict is None else codec.dump_json(verdict),
            *(each.to_text() for each in guards or (GuardStanding(), GuardStanding())),
        )
        return codec.view_from(reply)


def _check_champion(move: Move, champion: int | None) -> None:
    if (champion is not None) is not MOVES[move].names_champion:
        wanted = "names a" if MOVES[move].names_champion else "has no"
        raise ValueError(f"The move {move} {wanted} champion; {champion} was given.")
