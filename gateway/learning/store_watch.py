"""Watches the store as a whole: whether it accepts writes, lost something, and keeps its data.

Once a second each replica makes a test write of the kind that feedback and plans make, and compares the
store's data about itself with what the replica saw before (`experiments/store_history.py`). A replica that
finds something missing tells the others through the store, if it can. An operator's acceptance begins a new
epoch, which every replica follows.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, Protocol

from gateway.experiments.sealing_key import SealingKeyHolder, SealingKeys
from gateway.experiments.snapshot import SnapshotHolder
from gateway.experiments.store_history import Loss, StoreHistory
from gateway.running.kept_file import KeptFile
from gateway.running.logs import get_logger
from gateway.running.store_breaker import StoreBreaker
from gateway.running.store_health import StoreHealth
from policy_store.errors import StoreError
from policy_store.layout import LAYOUT, LayoutKeeper
from policy_store.vitals import Pulse, ServerSettings, StoreVitals

_log = get_logger(__name__)

PULSE_SECONDS: Final = 1.0
SETTINGS_SECONDS: Final = 60.0
KEEP_PULSE_SECONDS: Final = 5.0


class Follower(Protocol):
    """A task that continues from the store as it is once an operator has accepted it."""

    def forget(self) -> None:
        """Forget what was read before."""
        ...

    async def refresh(self) -> None:
        """Read anew."""
        ...


class WatchedKey:
    """The sealing key of this replica, compared with the store's.

    Args:
        vitals: Reads what the store says about itself.
        keys: The sealing keys of this replica.
    """

    def __init__(self, vitals: StoreVitals, keys: SealingKeyHolder) -> None:
        self._vitals = vitals
        self._keys = keys

    async def put(self) -> None:
        """Give the store this replica's key, unless it is only a stand-in."""
        if not self._keys.is_stand_in:
            await self._vitals.put_sealing_key(self._keys.current.newest)

    async def adopt(self) -> None:
        """Seal with the store's key from now on; ids sealed before can still be opened."""
        if self._keys.is_stand_in:
            return
        stored, current = await self._vitals.sealing_key(), self._keys.current
        if stored is not None and stored != current.newest:
            older = tuple(key for key in current.all if key != stored)
            self._keys.current = SealingKeys(stored, older)

    async def loss(self) -> Loss | None:
        """The loss that the store's key shows: the data are gone, or it is another store."""
        if self._keys.is_stand_in:
            return None
        stored = await self._vitals.sealing_key()
        if stored is None:
            return Loss.KEYS_GONE
        return None if stored == self._keys.current.newest else Loss.ANOTHER_SEALING_KEY


class KeptPulse:
    """A file with the store that this replica saw last and its latest epoch and time.

    Args:
        file: The file.
        timer: Monotonic seconds.
    """

    def __init__(self, file: KeptFile, timer: Callable[[], float]) -> None:
        self._file = file
        self._timer = timer
        self._state: tuple[str, int] | None = None
        self._at = 0.0

    def take_up(self, history: StoreHistory) -> None:
        """Pass the kept values to the history."""
        kept = self._file.read()
        if isinstance(kept, dict):
            history.take_up(str(kept["id"]), int(kept["epoch"]), float(kept["written_at"]))

    def keep(self, pulse: Pulse) -> None:
        """Write a new store or epoch at once, and the time every few seconds."""
        state, now = (pulse.id, pulse.epoch), self._timer()
        if state == self._state and now - self._at < KEEP_PULSE_SECONDS:
            return
        self._state, self._at = state, now
        self._file.write({"id": pulse.id, "epoch": pulse.epoch, "written_at": pulse.written_at})


class StoreWatch:
    """Compares the store with earlier readings, once a second.

    Args:
        vitals: Reads what the store says about itself.
        history: Remembers what was seen of the store.
        health: Hears whether the store accepts writes.
        breaker: Hears when it does.
        kept: Remembers on disk which store this is; None to keep nothing.
        timer: Monotonic seconds.
        layout: Brings the data of earlier versions up to date; None to leave them as they are.

    Attributes:
        server: What is known about the server; nothing before its first answer.
        layout: The layout that the store's data had at the last look; None before the first answer.
        replicas: How many replicas the server with the fewest has; None if they confirm nothing.
    """

    def __init__(
        self,
        vitals: StoreVitals,
        history: StoreHistory,
        health: StoreHealth,
        breaker: StoreBreaker,
        kept: KeptFile | None = None,
        timer: Callable[[], float] = time.monotonic,
        layout: LayoutKeeper | None = None,
    ) -> None:
        self.history = history
        self.server = ServerSettings(None, None)
        self.layout: int | None = None
        self.replicas: int | None = None
        self._layout_keeper = layout
        self._vitals = vitals
        self._health = health
        self._breaker = breaker
        self._kept = None if kept is None else KeptPulse(kept, timer)
        self._timer = timer
        self._looking = asyncio.Lock()
        self._looked_at = -SETTINGS_SECONDS
        self._said: ServerSettings | None = None
        self._key: WatchedKey | None = None
        self._snapshots: SnapshotHolder | None = None
        self._follower: Follower | None = None

    def look_after(
        self, follower: Follower, snapshots: SnapshotHolder, keys: SealingKeyHolder | None
    ) -> None:
        """Set what else to compare, and what has to follow a new epoch.

        Args:
            follower: Hears of a new epoch.
            snapshots: Hold the present experiments.
            keys: The sealing keys; None if an operator's secret is the key.
        """
        self._follower, self._snapshots = follower, snapshots
        self._key = None if keys is None else WatchedKey(self._vitals, keys)

    def start(self) -> None:
        """Read what this replica saw of the store before its restart."""
        if self._kept is not None:
            self._kept.take_up(self.history)

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            await asyncio.sleep(PULSE_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Compare once; a fault is reported to the health."""
        async with self._looking:  # an earlier pulse must not be compared with the values of a later one
            await self._look()

    async def _look(self) -> None:
        began = self._timer()
        try:
            pulse = await self._vitals.pulse(may_begin=not self.history.id)
        except StoreError as error:
            self._health.failed_to_write(error)
            return
        self._breaker.answered()
        self._breaker.took(self._timer() - began)
        await self._look_at_replicas()
        try:
            await self._look_at_layout(pulse.layout)
            await self._compare(pulse)
            await self._look_at_server()
        except StoreError:
            return  # the next pulse reports it if it persists

    async def accept(self, by: str) -> int:
        """Accept the store as it is, here and on all replicas; returns the number of the new epoch.

        Args:
            by: Name of the admin's key.

        Raises:
            StoreUnavailableError: It is not known whether the store was accepted; accepting again is safe.
        """
        async with self._looking:
            if self._key is not None:
                await self._key.put()
            epoch = await self._vitals.accept(self.history.epoch, by)
            await self._look()
        return epoch

    async def _look_at_replicas(self) -> None:
        """Have a write confirmed, if the replicas of the store are to confirm writes."""
        try:
            self.replicas = await self._vitals.confirm()
        except StoreError as error:
            self.replicas = None
            self._health.failed_to_write(error)
        else:
            self._health.wrote()

    async def _look_at_layout(self, layout: int) -> None:
        """Bring an older layout up to date. One that becomes newer while this replica runs can be used."""
        if layout < LAYOUT and self._layout_keeper is not None:
            had = await self._layout_keeper.bring_up_to_date()
            _log.info("store_brought_up_to_date", before=had, layout=LAYOUT)
        elif layout > LAYOUT and self.layout is not None and self.layout <= LAYOUT:
            _log.warning("store_layout_is_newer", layout=layout, known=LAYOUT, remedy="upgrade this gateway")
        self.layout = layout

    async def _compare(self, pulse: Pulse) -> None:
        history = self.history
        loss = history.is_ahead_of(pulse)
        if loss is None:
            await self._follow(pulse)
            loss = None if self._key is None else await self._key.loss()
            loss = loss or await self._loss_of_comparisons()
        if loss is not None:
            history.hold(loss, epoch=history.epoch)
        elif pulse.held:
            history.hold(Loss(pulse.held), epoch=history.epoch)
        if history.held is not None and not pulse.held:
            await self._vitals.hold(history.held.value, history.epoch)

    async def _follow(self, pulse: Pulse) -> None:
        is_accepted = 0 < self.history.epoch < pulse.epoch
        self.history.saw(pulse)
        if is_accepted and self._follower is not None:
            self._follower.forget()
        if self._kept is not None:
            self._kept.keep(pulse)
        if is_accepted:
            _log.warning("store_accepted", epoch=pulse.epoch)
            if self._key is not None:
                await self._key.adopt()
            if self._follower is not None:
                await self._follower.refresh()

    async def _loss_of_comparisons(self) -> Loss | None:
        experiments = self._snapshots.current.experiments.values() if self._snapshots else ()
        runs = [(live.name, live.generation) for live in experiments if live.generation]
        before = [self.history.comparisons(*run) for run in runs]
        found = await self._vitals.comparisons_of_each(runs)
        for (name, generation), known, counted in zip(runs, before, found, strict=True):
            if counted < known:
                return Loss.OLDER if counted else Loss.KEYS_GONE
            self.history.saw_comparisons(name, generation, counted)
        return None

    async def _look_at_server(self) -> None:
        if self._timer() - self._looked_at < SETTINGS_SECONDS:
            return
        self.server = await self._vitals.server_settings()
        self._looked_at = self._timer()
        if self.server == self._said:
            return
        self._said = self.server
        if self.server.evicts:
            _log.warning("store_may_evict", remedy="set maxmemory-policy to noeviction")
        if self.server.persists is False:
            _log.warning("store_keeps_nothing", remedy="set appendonly to yes")
        unknown = [name for name in ("evicts", "persists") if getattr(self.server, name) is None]
        if unknown:
            _log.warning("store_settings_unknown", unknown=unknown, remedy="allow CONFIG GET or INFO")
