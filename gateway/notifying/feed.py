"""Follows what happens to experiments, for everyone who looks: one reader of the store in each process.

The reader asks for each followed experiment's new events now and then, whatever the number of followers, and
keeps the latest. A follower is only a place in that; it goes on from there however slowly it reads. Asking,
unlike waiting at the server, survives a failover and works on a cluster.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from gateway.errors import TooManyStreamsError
from gateway.notifying.reading import EventReader
from gateway.running.lifecycle import Lifecycle
from policy_store.errors import StoreError
from policy_store.events import PlacedEvent

MOST_FOLLOWERS: Final = 100
"""In each process."""
HEARTBEAT_SECONDS: Final = 15.0
_KEPT: Final = 1_000
_READ_AT_ONCE: Final = 500


class _Tail:
    """The latest events of one experiment, while someone follows them.

    Attributes:
        floor: Every event after this place, up to the last one read, is kept.
        followers: How many follow it.
        changed: Is set once there is more; then another one takes its place.
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
        """What is kept of the events after a place; from earlier than the floor, they are read anew."""
        if _order(entry) < _order(self.floor):
            self.floor = entry
            self._events.clear()
        return [event for event in self._events if _order(event.entry) > _order(entry)]

    def add(self, events: list[PlacedEvent]) -> None:
        """Take up what was read after the end."""
        self._events.extend(events)
        while len(self._events) > _KEPT:
            self.floor = self._events.popleft().entry
        self.wake()

    def wake(self) -> None:
        """Let the followers look."""
        self.changed.set()
        self.changed = asyncio.Event()


class EventFeed:
    """The one reader.

    Args:
        reader: Reads events, and makes of them what is told.
        lifecycle: Ends all streams once the process is about to stop, so that followers go elsewhere.
        interval_seconds: Time between two looks at the store.
    """

    def __init__(self, reader: EventReader, lifecycle: Lifecycle, *, interval_seconds: float) -> None:
        self.reader = reader
        self._lifecycle = lifecycle
        self._interval_seconds = interval_seconds
        self._tails: dict[str, _Tail] = {}

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(self._interval_seconds)

    async def look(self) -> None:
        """Read once what is new in every experiment that is followed."""
        with suppress(StoreError):  # the next look asks again; the store's health says that it is away
            for name, tail in list(self._tails.items()):
                end = tail.end
                events = await self.reader.later(name, end, _READ_AT_ONCE)
                if events and tail.end == end:  # a follower from earlier may have come meanwhile
                    tail.add(events)
        if self._lifecycle.is_draining:
            for tail in self._tails.values():
                tail.wake()

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
        """What happens after a place, as it is told, until the process is about to stop.

        The first thing it gives is an empty list, once there is room for this follower. Another one says
        that nothing happened for `HEARTBEAT_SECONDS`.

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
