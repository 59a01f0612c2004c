"""Follows events of experiments for all readers, with one reader of the store in each process.

It asks for new events of each followed experiment from time to time, whatever the number of followers, and
keeps the latest. A follower is only a position in these; it continues from there however slowly it reads.
Polling, unlike a blocking read, survives a failover and works on a cluster.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from gateway.errors import TooManyStreamsError
from gateway.notifying.reading import EventPages, report_unreadable
from gateway.running.isolation import Isolation
from gateway.running.lifecycle import Lifecycle
from policy_store.errors import StoreError, StoreUnavailableError
from policy_store.events import PlacedEvent

MOST_FOLLOWERS: Final = 100
"""Most followers in each process."""
HEARTBEAT_SECONDS: Final = 15.0
_KEPT: Final = 1_000
_READ_AT_ONCE: Final = 500


class _Tail:
    """The latest events of one experiment while it has followers.

    Attributes:
        floor: Every event after this place, up to the last one read, is kept.
        followers: The number of followers.
        changed: Set once there are more events; then replaced by a new one.
    """

    def __init__(self, start: str) -> None:
        self.floor = start
        self.followers = 0
        self.changed = asyncio.Event()
        self._events: deque[PlacedEvent] = deque()

    @property
    def end(self) -> str:
        """The place of the last event that was read."""
        return self._events[-1].entry if self._events else self.floor

    def after(self, entry: str) -> list[PlacedEvent]:
        """The kept events after a place. If it is before the floor, all are read again from there."""
        if _order(entry) < _order(self.floor):
            self.floor = entry
            self._events.clear()
        return [event for event in self._events if _order(event.entry) > _order(entry)]

    def add(self, events: list[PlacedEvent]) -> None:
        """Add the events read after the end."""
        self._events.extend(events)
        while len(self._events) > _KEPT:
            self.floor = self._events.popleft().entry
        self.wake()

    def wake(self) -> None:
        """Wake the followers."""
        self.changed.set()
        self.changed = asyncio.Event()


class EventFeed:
    """The one reader.

    Args:
        reader: Reads events and puts them into the form for readers.
        lifecycle: Ends all streams once the process is about to stop, so that readers use other replicas.
        interval_seconds: Time between two reads of the store.
    """

    def __init__(self, reader: EventPages, lifecycle: Lifecycle, *, interval_seconds: float) -> None:
        self.reader = reader
        self._lifecycle = lifecycle
        self._interval_seconds = interval_seconds
        self._tails: dict[str, _Tail] = {}
        self._isolation = Isolation(report_unreadable)

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(self._interval_seconds)

    async def look(self) -> None:
        """Read the new events of every followed experiment once."""
        with suppress(
            StoreUnavailableError
        ):  # the next read asks again; the store's health reports that it is away
            for name, tail in list(self._tails.items()):
                with self._isolation.of(name):
                    await self._read(name, tail)
        if self._lifecycle.is_draining:
            for tail in self._tails.values():
                tail.wake()

    async def _read(self, name: str, tail: _Tail) -> None:
        end = tail.end
        events = await self.reader.later(name, end, _READ_AT_ONCE)
        if events and tail.end == end:  # a follower from an earlier place may have come in the meantime
            tail.add(events)

    @contextmanager
    def _following(self, name: str, entry: str) -> Iterator[_Tail]:
        if sum(tail.followers for tail in self._tails.values()) >= MOST_FOLLOWERS:
            raise TooManyStreamsError
        tail = self._tails.setdefault(name, _Tail(entry))
        tail.followers += 1
        try:
            yield tail
        finally:
            tail.followers -= 1
            if not tail.followers:
                del self._tails[name]

    async def follow(self, name: str, entry: str) -> AsyncIterator[list[PlacedEvent]]:
        """The events after a place in the form for readers, until the process is about to stop.

        It first gives an empty list, once there is room for this follower. Later empty lists mean that
        nothing happened for `HEARTBEAT_SECONDS`.

        Raises:
            TooManyStreamsError: `MOST_FOLLOWERS` follow already.
        """
        with self._following(name, entry) as tail:
            yield []
            while not self._lifecycle.is_draining:
                changed = tail.changed
                fresh = tail.after(entry)
                if fresh:
                    yield await self._told(name, fresh)
                    entry = fresh[-1].entry
                    continue
                try:
                    await asyncio.wait_for(changed.wait(), HEARTBEAT_SECONDS)
                except TimeoutError:
                    yield []

    async def _told(self, name: str, events: list[PlacedEvent]) -> list[PlacedEvent]:
        """Names of policies may have to be read: as long as the store is away, that waits."""
        while not self._lifecycle.is_draining:
            try:
                return await self.reader.told(name, events)
            except StoreError:
                await asyncio.sleep(self._interval_seconds)
        return []


def _order(entry: str) -> tuple[int, int]:
    time, _, number = entry.partition("-")
    return int(time), int(number)
