"""The states of this gateway's experiments, to work out the effect of another file."""

from __future__ import annotations

import asyncio

from gateway.experiments.catalogue import CatalogueHolder
from gateway.experiments.standing import ExperimentStanding
from gateway.learning.progress import READ_TOGETHER
from policy_store.errors import UnknownExperimentError
from policy_store.generations import GenerationBook
from policy_store.store import PolicyStore


class Standings:
    """Reads states of experiments from the store.

    Args:
        store: The shared state; its client should gather calls, as that of the book.
        book: Knows the generations that the store keeps.
        catalogue: Names this gateway's experiments.
    """

    def __init__(self, store: PolicyStore, book: GenerationBook, catalogue: CatalogueHolder) -> None:
        self._store = store
        self._book = book
        self._catalogue = catalogue

    async def read(self) -> dict[str, ExperimentStanding]:
        """The state of each experiment that the store knows, by name.

        Raises:
            StoreUnavailableError: The store cannot be read.
        """
        names = tuple(self._catalogue.current.definitions)
        found: dict[str, ExperimentStanding | None] = {}
        for start in range(0, len(names), READ_TOGETHER):
            together = names[start : start + READ_TOGETHER]
            standings = await asyncio.gather(*map(self._read, together))
            found |= dict(zip(together, standings, strict=True))
        return {name: standing for name, standing in found.items() if standing is not None}

    async def _read(self, name: str) -> ExperimentStanding | None:
        try:
            view = await self._store.view(name)
            counts = await self._store.counts(name, view.generation)
            kept = await self._book.read(name)
        except UnknownExperimentError:
            return None
        incumbent = view.experiment.policies[view.incumbent]
        return ExperimentStanding(
            view.state, view.generation, incumbent, counts.comparisons, kept, view.look is not None
        )
