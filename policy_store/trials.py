"""Counts how often policies were asked and how often they failed."""

from __future__ import annotations

from collections.abc import Mapping

from policy_store.scripting import StorePart


class TrialStore(StorePart):
    """The part of the store for policies that fail."""

    async def count_trials(self, name: str, definition: str, tried: Mapping[int, tuple[int, int]]) -> None:
        """Add how often policies were asked and how often they failed; all of them or none.

        Nothing is added if the current generation has another definition, or no plans are made for it.
        Unlike reports, these are added again if the call is repeated.

        Args:
            name: Experiment.
            definition: Fingerprint of the experiment in which they were asked.
            tried: By a policy's index: asked, failed.
        """
        words = [word for policy, numbers in tried.items() for word in (policy, *numbers)]
        await self._scripts.run("count_trials", (self._names.experiment(name).control,), definition, *words)
