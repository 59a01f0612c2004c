"""The processes of a chaos test: a store, gateways that share it, and how each of them is harmed."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, Final, Protocol, Self

import aiohttp

from policy_store.connect import connect
from policy_store.store import PolicyStore
from tests.chaos.proxy import Link, Proxy
from tests.chaos.rounds import GATEWAYS, Fault
from tests.gateway.building import config_fields
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.process import Served
from tests.gateway.whole import Whole, eventually
from tests.servers import Process, SentinelServer, wait_until

ADMIN: Final = "the-key-of-the-operator-of-the-chaos-tests"
LEASE_SECONDS: Final = 1
STORE_TIMEOUT_SECONDS: Final = 0.5
_ANSWERED_WITHIN: Final = aiohttp.ClientTimeout(total=5)
_LINKS: Final = {
    Fault.LINK_SLOW: Link.SLOW,
    Fault.LINK_SILENT: Link.SILENT,
    Fault.LINK_DEAF: Link.DEAF,
    Fault.LINK_CUT: Link.CUT,
}


class ChaosStore(Protocol):
    """A store that can be harmed."""

    url: str
    confirming_replicas: int
    """How many replicas confirm what gateways acknowledge."""

    async def start(self) -> None:
        """Start it."""

    async def stop(self) -> None:
        """End it."""

    async def address(self, gateway: int) -> str:
        """The address that a gateway is given."""

    async def begin(self, fault: Fault, gateway: int) -> None:
        """Let a fault begin."""

    async def end(self, fault: Fault, gateway: int) -> None:
        """Let it end."""


class SingleStore:
    """One `redis-server` that syncs every write to disk, behind a proxy for each gateway."""

    confirming_replicas = 0

    def __init__(self, folder: Path) -> None:
        self._server = Process(folder, appendonly="yes", appendfsync="always", save="")
        self.url = f"redis://{self._server.place}"
        self._proxies = [Proxy(lambda: self._server.port) for _ in range(GATEWAYS)]

    async def start(self) -> None:
        self._start_server()
        for proxy in self._proxies:
            await proxy.start()

    async def stop(self) -> None:
        for proxy in self._proxies:
            await proxy.stop()
        self._server.end()

    async def address(self, gateway: int) -> str:
        return f"redis://127.0.0.1:{self._proxies[gateway].port}"

    async def begin(self, fault: Fault, gateway: int) -> None:
        if fault is Fault.STORE_KILLED:
            self._server.end()
        elif fault is Fault.STORE_FROZEN:
            self._server.send(signal.SIGSTOP)
        else:
            await self._proxies[gateway].set(_LINKS[fault])

    async def end(self, fault: Fault, gateway: int) -> None:
        if fault is Fault.STORE_KILLED:
            await asyncio.to_thread(self._start_server)
        elif fault is Fault.STORE_FROZEN:
            self._server.send(signal.SIGCONT)
        else:
            await self._proxies[gateway].set(Link.OPEN)

    def _start_server(self) -> None:
        self._server.start()
        wait_until(self._server.accepts, "the store")


class SentinelStore:
    """A primary and a replica under three Sentinels, with the settings that docs/operations.md advises."""

    confirming_replicas = 1

    def __init__(self, folder: Path) -> None:
        settings = {"min_replicas_to_write": 1, "min_replicas_max_lag": 2}
        self._group = SentinelServer(folder, **settings)
        self.url = self._group.url
        self._harmed: Process | None = None

    async def start(self) -> None:
        await asyncio.to_thread(self._group.start)
        for sentinel in self._group.sentinels:
            sentinel.ask("sentinel", "set", "main", "failover-timeout", "2000")

    async def stop(self) -> None:
        for server in self._group.servers:
            if server is self._harmed:
                server.send(signal.SIGCONT)
        self._group.stop()

    async def address(self, gateway: int) -> str:
        return self.url

    async def begin(self, fault: Fault, gateway: int) -> None:
        primary = await asyncio.to_thread(self._primary)
        self._harmed = primary
        if fault is Fault.PRIMARY_KILLED:
            primary.end()
        elif fault is Fault.PRIMARY_FROZEN:
            primary.send(signal.SIGSTOP)
        else:
            await asyncio.to_thread(self._group.sentinels[0].ask, "sentinel", "failover", "main")

    async def end(self, fault: Fault, gateway: int) -> None:
        old = self._harmed
        await asyncio.to_thread(wait_until, lambda: self._primary() is not old, "a failover")
        if fault is Fault.PRIMARY_KILLED:
            new = self._primary()
            old.options["replicaof"] = f"127.0.0.1 {new.port}"
            old.start("server.conf")
        elif fault is Fault.PRIMARY_FROZEN:
            old.send(signal.SIGCONT)
        await asyncio.to_thread(wait_until, lambda: self._follows(old), "a replica")
        self._harmed = None

    def _primary(self) -> Process:
        port = int(self._group.sentinels[0].ask("sentinel", "get-master-addr-by-name", "main").split()[1])
        return next(server for server in self._group.servers if server.port == port)

    def _follows(self, server: Process) -> bool:
        with suppress(subprocess.CalledProcessError):  # its connections are closed as it becomes a replica
            return server.accepts() and "master_link_status:up" in server.ask("info", "replication")
        return False


STORES: Final[Mapping[str, Any]] = {"redis": SingleStore, "sentinel": SentinelStore}


class Stage:
    """A store and gateways, each a process of its own, whose configuration has an experiment for each round.

    Attributes:
        gateways: Those that answer now, by number.
        store: A client of the store itself, past the proxies.
    """

    def __init__(self, folder: Path, kind: str, experiments: Sequence[str]) -> None:
        self._folder = folder
        self._kept = STORES[kind](folder / "store")
        self._experiments = experiments
        self._resources = AsyncExitStack()
        self._served: list[Served] = []
        self.gateways: dict[int, Whole] = {}
        self.store: PolicyStore

    async def __aenter__(self) -> Self:
        """Start everything."""
        try:
            await self._open()
        except BaseException:
            await self._resources.aclose()
            raise
        return self

    async def __aexit__(self, *_error: object) -> None:
        """End everything."""
        await self._resources.aclose()

    async def _open(self) -> None:
        upstream = await self._resources.enter_async_context(FakeUpstream())
        session = await self._resources.enter_async_context(
            aiohttp.ClientSession(headers={"content-type": "application/json"}, timeout=_ANSWERED_WITHIN)
        )
        self._resources.push_async_callback(self._kept.stop)
        await self._kept.start()
        redis = connect(self._kept.url, timeout_seconds=5)
        self.store = PolicyStore(redis, timeout_seconds=5)
        self._resources.push_async_callback(self.store.aclose)
        config = self._config(upstream.api_base)
        for number in range(GATEWAYS):
            folder = self._folder / f"gateway{number}"
            folder.mkdir()
            served = Served(folder, config, session)
            self._served.append(served)
            self._resources.callback(served.clean_up)
        await asyncio.gather(*map(self.start_gateway, range(GATEWAYS)))

    def _config(self, api_base: str) -> dict[str, Any]:
        terms = {"min_comparisons": 20, "min_duration": "0s", "min_voters": 0}
        fields = config_fields(
            api_base=api_base,
            traffic={"share": 1.0, "collect": "side_by_side"},
            promotion=terms,
            guardrails={"error_rate": {"worse_by": 0.5, "then": "ask"}},  # counts, and never finds anything
        )
        experiment = next(iter(fields["experiments"].values()))
        return {**fields, "experiments": dict.fromkeys(self._experiments, experiment)}

    async def start_gateway(self, number: int) -> None:
        """Start a gateway, or start it again after it was killed."""
        whole = await self._served[number].start(
            LLMPO_REDIS_URL=await self._kept.address(number),
            LLMPO_ADMIN_KEYS=ADMIN,
            LLMPO_STORE_TIMEOUT_SECONDS=str(STORE_TIMEOUT_SECONDS),
            LLMPO_STORE_CONFIRMING_REPLICAS=str(self._kept.confirming_replicas),
            LLMPO_LEASE_SECONDS=str(LEASE_SECONDS),
            LLMPO_PLAN_INTERVAL_SECONDS="0.2",
            LLMPO_REFRESH_SECONDS="0.25",
        )
        whole.key = ADMIN
        self.gateways[number] = whole

    async def planner_of(self, name: str, *, otherwise: int) -> int:
        """The gateway that plans an experiment now."""
        lease = await self.store._redis.get(self.store._names.experiment(name).lease)
        pids = {str(served.process.pid): number for number, served in enumerate(self._served)}
        return pids.get(str(lease).split(":")[-2] if lease else "", otherwise)

    async def begin(self, fault: Fault, gateway: int) -> None:
        """Let a fault begin; one of a planner hits the gateway that is named here."""
        if fault in (Fault.GATEWAY_KILLED, Fault.PLANNER_KILLED):
            self.gateways.pop(gateway, None)
            await self._served[gateway].kill()
        elif fault is Fault.PLANNER_FROZEN:
            self._served[gateway].process.send_signal(signal.SIGSTOP)
        else:
            await self._kept.begin(fault, gateway)

    async def end(self, fault: Fault, gateway: int) -> None:
        """Let it end."""
        if fault in (Fault.GATEWAY_KILLED, Fault.PLANNER_KILLED):
            await self.start_gateway(gateway)
        elif fault is Fault.PLANNER_FROZEN:
            self._served[gateway].process.send_signal(signal.SIGCONT)
        else:
            await self._kept.end(fault, gateway)

    async def recovered(self) -> tuple[float, int]:
        """Wait until every gateway says that its store is up, and accept what the store lost.

        Returns:
            After how many seconds the store was up for all of them, and how many times something was lost.
        """
        began, losses = time.monotonic(), 0
        for gateway in self.gateways.values():
            await eventually(lambda gateway=gateway: _knows_the_store(gateway), "the store seen")
        seconds = time.monotonic() - began
        if any([await _is_held(gateway) for gateway in self.gateways.values()]):
            losses = 1
            for gateway in self.gateways.values():
                await eventually(lambda gateway=gateway: _is_held(gateway), "all replicas holding")
            await self.gateways[0].call("POST", "/v1/store/accept", {})
            for gateway in self.gateways.values():
                await eventually(lambda gateway=gateway: _is_up(gateway), "the store accepted")
        return seconds, losses


async def _store_of(gateway: Whole) -> str:
    return str((await gateway.get("/readyz")).json["store"])


async def _knows_the_store(gateway: Whole) -> bool:
    return await _store_of(gateway) in {"up", "held"}


async def _is_held(gateway: Whole) -> bool:
    return await _store_of(gateway) == "held"


async def _is_up(gateway: Whole) -> bool:
    return await _store_of(gateway) == "up"
