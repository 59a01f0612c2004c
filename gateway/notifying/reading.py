"""Pages of an experiment's events, which have permanent ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from gateway.errors import InvalidRequestError
from gateway.experiments.happenings import Generations, told_one
from gateway.running.logs import get_logger
from policy_store.events import PlacedEvent
from policy_store.store import PolicyStore

_log = get_logger(__name__)

START: Final = "0-0"
"""The place before all events."""


def report_unreadable(experiment: str, error: Exception) -> None:
    """Log that the events of an experiment cannot be read."""
    _log.error("events_unreadable", experiment=experiment, exc_info=error)


@dataclass(frozen=True, slots=True)
class EventPage:
    """Some of an experiment's events.

    Attributes:
        events: The events in the form for readers; some stored events are left out.
        last_id: Id of the last event read; the next page begins after it. None if there was none.
        has_more: Whether there is a next page.
    """

    events: Sequence[PlacedEvent]
    last_id: str | None
    has_more: bool


class EventPages:
    """Reads events and names the policies in them. Every method raises StoreUnavailableError.

    Args:
        store: The shared state.
        generations: Give the names of policies.
    """

    def __init__(self, store: PolicyStore, generations: Generations) -> None:
        self._store = store
        self._generations = generations

    def place_after(self, name: str, event_id: str) -> str:
        """The place of the event with this id.

        Raises:
            InvalidRequestError: It is not the id of an event of this experiment.
        """
        entry = self._store.entry_of(name, event_id)
        if entry is None:
            raise InvalidRequestError(
                f"{event_id[:80]!r} is not the id of an event of {name!r}. Use the `id` of one.",
                param="after",
                code="invalid_value",
            )
        return entry

    async def page(self, name: str, after: str | None, limit: int, *, newest_first: bool) -> EventPage:
        """The events after the one with this id, in either order.

        Raises:
            InvalidRequestError: As in `place_after`.
        """
        entry = None if after is None else self.place_after(name, after)
        read = await self._store.events_page(name, after=entry, count=limit + 1, newest_first=newest_first)
        page = read[:limit]
        return EventPage(await self.told(name, page), page[-1].id if page else None, len(read) > limit)

    async def later(self, name: str, entry: str, count: int) -> list[PlacedEvent]:
        """The first events after a place, in the stored form, once no failover loses them.

        That is so where replicas confirm writes.
        """
        return await self._store.events_page(name, after=entry, count=count, is_confirmed=True)

    async def latest_place(self, name: str) -> str:
        """The place of the latest event."""
        latest = await self._store.events_page(name, count=1, newest_first=True)
        return latest[0].entry if latest else START

    def id_at(self, name: str, entry: str) -> str:
        """The id of the event at a place."""
        return self._store.event_id(name, entry)

    async def told(self, name: str, events: Sequence[PlacedEvent]) -> list[PlacedEvent]:
        """Events in the form for users and scripts; some are left out."""
        generations = await self._generations.of(name, (each.event for each in events))
        told = ((each, told_one(each.event, generations)) for each in events)
        return [replace(each, event=event) for each, event in told if event is not None]
