"""Keeps what policies' answers took where all replicas share it, for their costs.

A hook counts, and a task of its own brings what was counted to the store once in a while, off the path of
requests. What the store did not take is brought again; should it have taken it without saying so, that is
counted twice. Costs are means of many answers.
"""

from __future__ import annotations

import asyncio
import contextlib

from gateway.experiments.catalogue import CatalogueHolder
from gateway.instrumentation.hooks import Listener
from gateway.instrumentation.records import AttemptEnded
from policy_store.errors import StoreError
from policy_store.models import Usage
from policy_store.store import PolicyStore


class UsageKeeper(Listener):
    """Adds up what answers of policies took.

    Args:
        store: Where it is kept.
        catalogue: Says which policy a name stands for.
        interval_seconds: Time between two visits to the store.
    """

    def __init__(self, store: PolicyStore, catalogue: CatalogueHolder, *, interval_seconds: float) -> None:
        super().__init__({AttemptEnded: self._attempt_ended})
        self._store = store
        self._catalogue = catalogue
        self._interval_seconds = interval_seconds
        self._counted: dict[tuple[str, str], Usage] = {}

    def _attempt_ended(self, event: AttemptEnded) -> None:
        """Count an answer of a policy whose provider reported what it took."""
        if event.policy and event.ending == "answered" and event.tokens:
            self._count((event.experiment, event.policy), Usage(1, *event.tokens))

    async def run(self) -> None:
        """Bring it to the store until cancelled, and once more then."""
        try:
            while True:
                await asyncio.sleep(self._interval_seconds)
                await self._bring_if_possible()
        finally:
            await self._bring_if_possible()

    async def bring(self) -> None:
        """Add what was counted since to what is kept. Raises StoreError, and keeps it for the next time."""
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
        with contextlib.suppress(StoreError):  # the refresher says so; the next visit brings it
            await self.bring()

    def _count(self, name: tuple[str, str], used: Usage) -> None:
        before = self._counted.get(name)
        self._counted[name] = used if before is None else before.plus(used)
