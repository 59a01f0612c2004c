"""Takes the last look at the end of a budget."""

from __future__ import annotations

from policy_store import codec
from policy_store.scripting import StorePart
from policy_store.view import ExperimentView


class LookStore(StorePart):
    """The part of the store for last looks."""

    async def reveal_look(self, name: str, generation: int, fence: int) -> ExperimentView:
        """Reveal the secret of the last look: the log and the view have it from now on.

        Atomic, and once: repeating it changes nothing. A store that lost the secret reveals an empty one, and
        there is no look.

        Args:
            name: Experiment.
            generation: Must be the current one, undecided, with its budget spent.
            fence: The number from `acquire_lease`.

        Raises:
            StaleFenceError: Another planner took over.
            DecisionConflictError: There is no last look, or it is not due.
        """
        keys = self._names.experiment(name)
        own = keys.generation(generation)
        reply = await self._scripts.run(
            "reveal_look", (keys.control, keys.events, own.log, own.counts, own.look), generation, fence
        )
        return codec.view_from(reply)
