"""Adds up the tokens of policies' answers in the store, over all replicas, to compute their costs.

A hook counts, and a separate task adds the counts to the store from time to time, off the request path.
Counts that the store did not acknowledge are sent again. If it had taken them after all, they are counted
twice; this matters little, because costs are means of many answers.
"""

from __future__ import annotations

import asyncio
import contextlib

from gateway.experiments.catalogue import CatalogueHolder
from gateway.instrumentation.hooks import Listener
from gateway.instrumentation.records import AttemptEnded
from policy_store.errors import StoreError
from policy_store.store import PolicyStore
from policy_store.usage import Usage


class UsageKeeper(Listener):
    """Adds up the tokens of policies' answers.

    Args:
        store: Keeps the sums.
        catalogue: Maps names to policies.
        interval_seconds: Time between two writes to the store.
    """

    def __init__(self, store: PolicyStore, catalogue: CatalogueHolder, *, interval_seconds: float) -> None:
        super().__init__({AttemptEnded: self._attempt_ended})
        self._store = store
        self._catalogue = catalogue
        self._interval_seconds = interval_seconds
        self._counted: dict[tuple[str, str], Usage] = {}

    def _attempt_ended(self, event: AttemptEnded) -> None:
        """Count an answer of a policy, if its provider reported tokens."""
        if event.policy and event.ending == "answered" and event.tokens:
            self._count((event.experiment, event.policy), Usage(1, *event.tokens))

    async def run(self) -> None:
        """Add the counts to the store until cancelled, and once more at the end."""
        try:
            while True:
                await asyncio.sleep(self._interval_seconds)
                await self._bring_if_possible()
        finally:
            await self._bring_if_possible()

    async def bring(self) -> None:
        """Add the new counts to the stored sums. Raises StoreError; the counts are then sent next time."""
        counted, self._counted = self._counted, {}
        try:
            for experiment, definition in self._catalogue.current.definitions.items():
                prints = {each.name: each.fingerprint for each in definition.policies}
                names = [name for name in counted if name[0] == experiment and name[1] in prints]
                if names:
                    used = {prints[policy]: counted[experiment, policy] for _, policy in names}
                    await self._store.add_usage(experiment, used)
                for name in names:
                    del counted[name]
        except StoreError:
            for name, used_since in counted.items():
                self._count(name, used_since)
            raise

    async def _bring_if_possible(self) -> None:
        # the refresher reports it; the next write includes these counts
        with contextlib.suppress(StoreError):
            await self.bring()

    def _count(self, name: tuple[str, str], used: Usage) -> None:
        before = self._counted.get(name)
        self._counted[name] = used if before is None else before.plus(used)
