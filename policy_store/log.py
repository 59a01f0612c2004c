"""Reads the audit log of a generation and the events of an experiment."""

from __future__ import annotations

from typing import Final

from policy_store import codec
from policy_store.events import LoggedEvent, PlacedEvent
from policy_store.log_records import LogRecord
from policy_store.roles import Role
from policy_store.scripting import StorePart

_LOG_START: Final = "-"


class LogStore(StorePart):
    """The part of the store for the log and events."""

    async def log(
        self,
        name: str,
        generation: int,
        *,
        after: str = _LOG_START,
        count: int = 10_000,
        informs: Role | None = None,
    ) -> tuple[list[LogRecord], str]:
        """A page of the append-only log: comparisons, plans and events in the order they happened.

        With `informs` it is the log of the comparisons that only inform in that role.

        Returns:
            At most `count` records, none at the end of the log, and the `after` of the next page.
        """
        key = self._names.experiment(name).generation(generation, informs).log
        start = after if after == _LOG_START else f"({after}"
        entries = await self._answer(self._redis.xrange(key, start, "+", count))
        records = [codec.log_record_from(fields) for _, fields in entries]
        return records, entries[-1][0] if entries else after

    async def log_entries(self, name: str, generation: int) -> int:
        """How many entries the log of a generation has."""
        return int(
            await self._answer(self._redis.xlen(self._names.experiment(name).generation(generation).log))
        )

    async def archive_lag(self, name: str, generation: int, now: float) -> float | None:
        """How long the oldest entry that no archive has yet has been in the log of a generation.

        Args:
            name: Experiment.
            generation: Its generation.
            now: Unix seconds by the store's clock.

        Returns:
            Seconds, 0 if all is archived; None if no log of the experiment was ever archived.
        """
        keys = self._names.experiment(name)
        places = await self._answer(self._redis.hgetall(keys.archived))
        if not places:
            return None
        after = places.get(str(generation), "").partition(" ")[0]
        start = f"({after}" if after else _LOG_START
        waiting = await self._answer(self._redis.xrange(keys.generation(generation).log, start, "+", 1))
        return max(0.0, now - int(waiting[0][0].partition("-")[0]) / 1000) if waiting else 0.0

    async def events(self, name: str, count: int = 50, *, is_confirmed: bool = False) -> list[LoggedEvent]:
        """The latest events over all generations, newest first; `is_confirmed` as in `events_page`."""
        key = self._names.experiment(name).events
        if is_confirmed:
            entries = await self._confirmed(key, "XREVRANGE", key, "+", "-", "COUNT", count)
        else:
            entries = await self._answer(self._redis.xrevrange(key, count=count))
        return [codec.event_from(fields) for _, fields in entries]

    async def events_page(
        self,
        name: str,
        *,
        after: str | None = None,
        count: int = 50,
        newest_first: bool = False,
        is_confirmed: bool = False,
    ) -> list[PlacedEvent]:
        """A page of events in their order, or in reverse order.

        Args:
            name: Experiment.
            after: The last entry of the page before; None for the first page.
            count: The most events.
            newest_first: Whether to go from newer to earlier events.
            is_confirmed: Whether replicas have to have what is read in their order (`confirming.py`).
        """
        keys = self._names.experiment(name)
        if newest_first:
            upto = "+" if after is None else f"({after}"
            entries = await self._answer(self._redis.xrevrange(keys.events, upto, "-", count))
        else:
            start = _LOG_START if after is None else f"({after}"
            entries = await self._answer(self._redis.xrange(keys.events, start, "+", count))
            if is_confirmed and entries and self._redis.confirming_replicas:
                again = ("XRANGE", keys.events, start, "+", "COUNT", count)
                entries = await self._confirmed(keys.events, *again)
        return [
            PlacedEvent(keys.event_id(entry), entry, codec.event_from(fields)) for entry, fields in entries
        ]

    def event_id(self, name: str, entry: str) -> str:
        """The id of the event with this entry."""
        return self._names.experiment(name).event_id(entry)

    def entry_of(self, name: str, event_id: str) -> str | None:
        """The entry of an event of an experiment; None if the id is not of one."""
        return self._names.experiment(name).entry_of(event_id)
