"""Tells the store which configuration this replica runs, and follows those of the others.

Every process that uses the store is a replica, including each worker. A request to reload that an
administrator sends to one of them is a number in the store, which all follow.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from gateway.experiments.agreement import Agreement
from gateway.experiments.catalogue import CatalogueHolder
from gateway.reloading.reloader import Reloader
from gateway.running.logs import get_logger
from policy_store.errors import StoreError
from policy_store.replicas import ReplicaBook, ReplicaRecord

_log = get_logger(__name__)

BEAT_SECONDS: Final = 0.5
GRACE_SECONDS: Final = (
    5.0  # for which replicas may differ before that is logged: they reload one after the other
)
_POLL_SECONDS: Final = 0.02
_MOST_POLLS: Final = 250


class Replicas:
    """This replica among the others.

    Args:
        book: The store's book of replicas.
        name: The unique name of this replica.
        catalogue: Holds its configuration.
        agreement: Hears of all replicas.
        reloader: Reloads when all replicas are asked to; None if the configuration is not from a file.
        timer: Monotonic seconds.
    """

    def __init__(
        self,
        book: ReplicaBook,
        name: str,
        catalogue: CatalogueHolder,
        agreement: Agreement,
        reloader: Reloader | None,
        timer: Callable[[], float],
    ) -> None:
        self._book = book
        self._name = name
        self._catalogue = catalogue
        self._agreement = agreement
        self._reloader = reloader
        self._timer = timer
        self._asked: int | None = None  # of the wishes to reload; None before the store answered
        self._differ_since: float | None = None
        self._is_said = False

    @property
    def asked(self) -> int:
        """The number of the last wish to reload that was followed."""
        return self._asked or 0

    async def run(self) -> None:
        """Report and follow until cancelled; then sign off."""
        try:
            while True:
                await self.look()
                await asyncio.sleep(BEAT_SECONDS)
        finally:
            with suppress(StoreError):  # without signing off, the entry expires soon
                await self._book.leave(self._name)

    async def look(self) -> None:
        """Report and follow once. While the store is silent, the last known replicas stay."""
        with suppress(StoreError):
            if await self._follow(await self._tell()):
                await self._tell()
        self._report()

    async def ask_all(self) -> Sequence[ReplicaRecord] | None:
        """After this replica has reloaded, ask the others to; wait some seconds for their answers.

        Returns:
            What they run; None if the store does not answer.
        """
        with suppress(StoreError):
            asked = self._asked = await self._book.ask_to_reload()
            for _ in range(_MOST_POLLS):
                await self._tell()
                if all(each.asked >= asked for each in self._agreement.replicas):
                    break
                await asyncio.sleep(_POLL_SECONDS)
            return self._agreement.replicas
        return None

    async def _tell(self) -> int:
        """Report this replica to the store; returns how often all were asked to reload."""
        faults = len(self._reloader.faults) if self._reloader else 0
        record = ReplicaRecord(self._name, self._catalogue.current.config_hash, self.asked, faults)
        seen = await self._book.tell(record)
        self._agreement.replicas = seen.replicas
        return seen.asked

    async def _follow(self, asked: int) -> bool:
        """Reload if all were asked to; returns whether there is something new to report."""
        before, self._asked = self._asked, asked
        if self._reloader is None or before == asked:
            return before != asked
        if before is None:  # the wish may have come while this process was starting
            await self._reloader.catch_up()
        elif before < asked:
            await self._reloader.try_to_reload("another replica")
        return True

    def _report(self) -> None:
        if self._agreement.held is None:
            if self._is_said:
                _log.info("replicas_agree", hash=self._catalogue.current.config_hash)
            self._differ_since, self._is_said = None, False
            return
        now = self._timer()
        self._differ_since = now if self._differ_since is None else self._differ_since
        if not self._is_said and now - self._differ_since >= GRACE_SECONDS:
            self._is_said = True
            _log.warning("replicas_differ", held="decisions", replicas=dict(self._agreement.by_hash))
