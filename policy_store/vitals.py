"""Whether the store accepts writes, which store it is, and whether its server keeps its data.

A store has a permanent id and an epoch that only grows: the first epoch is 1, and a new one begins whenever
an operator accepts that the store lost something.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis.exceptions import ResponseError

from policy_store.errors import StoreUnavailableError, UnconfirmedError
from policy_store.layout import LAYOUT, UNSAID_LAYOUT
from policy_store.scripting import StorePart

_ID_BYTES: Final = 16
_NEVER_EVICTS: Final = "noeviction"


@dataclass(frozen=True, slots=True)
class Pulse:
    """What the store says about itself.

    Attributes:
        id: The store's id; empty if it was lost.
        epoch: The store's epoch; 0 if it was lost.
        written_at: When a replica last wrote before this reading, by the store's clock; Unix seconds.
        held: The loss that a replica reported; empty if there is none.
        layout: The layout of the store's data, see `layout.py`.
    """

    id: str
    epoch: int
    written_at: float
    held: str
    layout: int = LAYOUT


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What is known about the server; None if it does not say.

    Attributes:
        evicts: Whether it drops keys when memory is short.
        persists: Whether it keeps its data on disk.
    """

    evicts: bool | None
    persists: bool | None


class StoreVitals(StorePart):
    """Reads and writes the store's data about itself. Every call may be repeated."""

    async def pulse(self, *, may_begin: bool) -> Pulse:
        """Make test writes of the kinds that feedback and plans need on each server, and read the identity.

        Args:
            may_begin: Whether a store without an id may be taken for a new one.
        """
        fresh = secrets.token_hex(_ID_BYTES) if may_begin else ""
        tags = await self._answer(self._redis.other_tags(self._names.identity))
        await asyncio.gather(*(self._scripts.run("try_to_write", self._names.trial(tag)) for tag in tags))
        _, store_id, epoch, written_at, held, layout = await self._scripts.run(
            "pulse", (self._names.identity, *self._names.trial()), fresh, LAYOUT
        )
        return Pulse(store_id, int(epoch), int(written_at) / 1e6, held, int(layout))

    async def confirm(self) -> int | None:
        """Check on each server that replicas confirm writes, if that is asked for.

        Returns:
            How many replicas are connected to the server that has the fewest; None if it is not asked for, or
            no server says.

        Raises:
            UnconfirmedError: Too few replicas confirmed; it says how many are connected, if that is known.
        """
        if not self._redis.confirming_replicas:
            return None
        tags = ("store", *await self._answer(self._redis.other_tags(self._names.identity)))
        asked = (self._scripts.in_a_row(self._names.trial(tag)[0], [("INFO", "replication")]) for tag in tags)
        connected, faults = [], []
        for (said,), fault in await asyncio.gather(*asked):
            connected += [] if isinstance(said, Exception) else [int(said["connected_slaves"])]
            faults += [] if fault is None else [fault]
        fewest = min(connected, default=None)
        if faults:
            known = "" if fewest is None else f" Replicas connected: {fewest}."
            raise UnconfirmedError(f"{faults[0]}{known}")
        return fewest

    async def read(self) -> tuple[Pulse, float]:
        """What the store says about itself, and its time in Unix seconds; nothing is written."""
        _, at, ((_, _, flat),) = await self._scripts.run("read_parts", (self._names.identity,), "")
        said = dict(zip(flat[::2], flat[1::2], strict=True))
        pulse = Pulse(
            said.get("id", ""),
            int(said.get("epoch", 0)),
            int(said.get("written_at", 0)) / 1e6,
            said.get("held", ""),
            int(said.get("layout", UNSAID_LAYOUT)),
        )
        return pulse, int(at) / 1e6

    async def hold(self, reason: str, seen_epoch: int) -> None:
        """Tell all replicas that the store lost something; the first reason is kept.

        Args:
            reason: What was lost.
            seen_epoch: The highest epoch that the caller saw; accepting begins a higher one.
        """
        await self._scripts.run("hold_store", (self._names.identity,), reason, seen_epoch)

    async def accept(self, seen_epoch: int, by: str) -> int:
        """Begin a new epoch; returns its number, higher than any before it and than `seen_epoch`."""
        fresh = secrets.token_hex(_ID_BYTES)
        reply = await self._scripts.run("accept_store", (self._names.identity,), fresh, seen_epoch, by)
        return int(reply[1])

    async def sealing_key(self) -> bytes | None:
        """The key that seals response ids, if the store has one."""
        found = await self._answer(self._redis.get(self._names.token_key))
        return None if found is None else bytes.fromhex(found)

    async def put_sealing_key(self, key: bytes) -> None:
        """Set the sealing key of a store that has none."""
        await self._answer(self._redis.set(self._names.token_key, key.hex(), nx=True))

    async def comparisons_of_each(self, runs: Sequence[tuple[str, int]]) -> list[int]:
        """How many comparisons each of many generations has counted, including inherited ones.

        Args:
            runs: Experiments' names and the numbers of their generations.
        """
        counts = [(self._names.experiment(name).generation(number).counts,) for name, number in runs]
        found = await self._scripts.run_each("field_of_each", counts, "comparisons")
        return [int(counted or 0) for counted in found]

    async def server_settings(self) -> ServerSettings:
        """Whether its servers drop keys and keep data on disk, as far as this user may know.

        If there are several servers, the worst one counts.
        """
        servers = await self._answer(self._redis.servers())
        each = [await self._settings_of(server) for server in servers]
        evict, persist = {one.evicts for one in each}, {one.persists for one in each}
        return ServerSettings(
            True if True in evict else None if None in evict else False,
            False if False in persist else None if None in persist else True,
        )

    async def _settings_of(self, server: Mapping[str, Any]) -> ServerSettings:
        try:
            config: dict[str, str] = {}
            for name in ("maxmemory-policy", "appendonly", "save"):
                config |= await self._answer(self._redis.config_get(name, **server))
            policy, append_only, save = config["maxmemory-policy"], config["appendonly"], config["save"]
        except (StoreUnavailableError, KeyError) as error:
            _check_refused(error)
            return await self._from_info(server)
        return ServerSettings(policy != _NEVER_EVICTS, append_only == "yes" or bool(save))

    async def _from_info(self, server: Mapping[str, Any]) -> ServerSettings:
        try:
            info: dict[str, Any] = await self._answer(self._redis.info("memory", **server))
            info |= await self._answer(self._redis.info("persistence", **server))
        except StoreUnavailableError as error:
            _check_refused(error)
            return ServerSettings(None, None)
        policy = info.get("maxmemory_policy")
        evicts = None if policy is None else policy != _NEVER_EVICTS
        # The server does not say whether snapshots are made on a schedule.
        return ServerSettings(evicts, True if info.get("aof_enabled") else None)


def _check_refused(error: Exception) -> None:
    """Raise an error that is not a server's refusal of one command."""
    if isinstance(error, StoreUnavailableError) and not isinstance(error.__cause__, ResponseError):
        raise error
