"""Events with the names of policies instead of their positions, which differ between generations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Final

from gateway.experiments.store_history import StoreHistory
from policy_store.errors import UnknownExperimentError
from policy_store.events import EventKind, LoggedEvent
from policy_store.experiment import Experiment
from policy_store.store import PolicyStore
from policy_store.view import ExperimentView

_POLICIES: Final = (
    "policy",
    "champion",
    "incumbent",
    "incumbent_before",
    "previous",
    "reference",
)  # fields of details that hold a policy's position


def generation_of(event: LoggedEvent) -> int | None:
    """The generation that an event belongs to, if the event says so."""
    generation = event.detail.get("generation")
    return generation if isinstance(generation, int) else None


def told(events: Iterable[LoggedEvent], generations: Mapping[int, Experiment]) -> list[LoggedEvent]:
    """Events in the form for users and scripts.

    With a margin no policy is ever eliminated: evidence that reaches the line decides nothing alone. Earlier
    versions wrote such events nevertheless, so they are left out here.

    Args:
        events: The stored events.
        generations: The experiment in each generation. A position in an unknown generation stays a number.
    """
    return [each for event in events if (each := told_one(event, generations)) is not None]


def told_one(event: LoggedEvent, generations: Mapping[int, Experiment]) -> LoggedEvent | None:
    """One of them; None for one that is not told."""
    experiment = generations.get(generation_of(event) or 0)
    if event.kind == EventKind.ELIMINATED and experiment is not None and experiment.epsilon != 0:
        return None
    policies = () if experiment is None else experiment.policies
    detail = {
        field: policies[value]
        if field in _POLICIES and isinstance(value, int) and 0 <= value < len(policies)
        else value
        for field, value in event.detail.items()
    }
    return replace(event, detail=detail)


class Generations:
    """The experiment in each generation that events tell of, each read once.

    It never changes, unless the store lost something: then a number may be given again. So everything is
    read anew once an operator has accepted that.

    Args:
        store: The shared state.
        history: Knows when that is.
    """

    def __init__(self, store: PolicyStore, history: StoreHistory) -> None:
        self._store = store
        self._history = history
        self._read: dict[tuple[int, str], dict[int, Experiment]] = {}

    def saw(self, view: ExperimentView) -> None:
        """Keep the experiment of the current generation."""
        self._known(view.experiment.name)[view.generation] = view.experiment

    async def of(self, name: str, events: Iterable[LoggedEvent]) -> Mapping[int, Experiment]:
        """The experiment in all generations that are known, those of the events included.

        A generation that the store does not hold any more is missing. Raises StoreUnavailableError.
        """
        for generation in {number for event in events if (number := generation_of(event)) is not None}:
            await self.one(name, generation)
        return dict(self._known(name))

    async def one(self, name: str, generation: int) -> Experiment | None:
        """The experiment in a generation; None if the store has none of that number.

        Raises StoreUnavailableError.
        """
        known = self._known(name)
        if generation not in known:
            with suppress(UnknownExperimentError):
                known[generation] = await self._store.experiment(name, generation)
        return known.get(generation)

    async def before(self, name: str, generation: int) -> int | None:
        """The number of the generation before this one, if any; watches over promotions have numbers as well.

        Raises StoreUnavailableError.
        """
        for before in range(generation - 1, 0, -1):
            try:
                await self._store.watch(name, before)
            except UnknownExperimentError:
                return before
        return None

    def _known(self, name: str) -> dict[int, Experiment]:
        return self._read.setdefault((self._history.epoch, name), {})
