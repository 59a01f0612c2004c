"""What users notice of each fault of the store: success and latency before, when it begins, during and after.

    .venv/bin/python -m benchmarks.faults [--rounds N] [--requests N]

A gateway in this process serves an experiment whose unit is the session. Its provider is another process.
Every request begins a new session, so each has to ask the store unless the gateway knows better. Writes
benchmarks/results/faults.md.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import os
import platform
import signal
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from statistics import median
from typing import Final

import aiohttp
import uvloop

from benchmarks.pages import save_page
from benchmarks.processes import canned_provider
from benchmarks.spreads import quantile, spread
from gateway.config.gateway_file import GatewayConfig
from gateway.running.logs import configure_logging
from gateway.running.memory import settle_memory
from policy_store.names import Names
from tests.chaos.proxy import Link, Proxy
from tests.gateway.building import NAME, config_fields
from tests.gateway.whole import JSON, Whole, eventually, quick_settings, whole_gateway
from tests.servers import ClusterServer, Process, wait_until

RESULTS: Final = Path(__file__).parent / "results" / "faults.md"
AT_ONCE: Final = 8
ALLOWED_MS: Final = 10.0
RECOVERED_SECONDS: Final = 5.0
_NOTICED_SECONDS: Final = 3.0
_KEPT_SECONDS: Final = 1.0
Step = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class StoreFault:
    """A fault: how it begins and how it ends."""

    begin: Step
    end: Step


@dataclass
class Noticed:
    """What users noticed of a fault, in each round.

    Attributes:
        before: Latencies before it, in milliseconds, sorted.
        first: Those of the first requests after it began.
        during: Those once the gateway knows.
        failed: How many requests were not answered with 200.
        unready: How many times `/readyz` was not 200.
        recovery: Seconds from the end of the fault until feedback was counted again.
    """

    before: list[list[float]] = field(default_factory=list)
    first: list[list[float]] = field(default_factory=list)
    during: list[list[float]] = field(default_factory=list)
    failed: int = 0
    unready: int = 0
    recovery: list[float] = field(default_factory=list)


class Users:
    """Users of one gateway, each request of whom begins a session."""

    def __init__(self, gateway: Whole) -> None:
        self._gateway = gateway
        self._sessions = count()

    async def ask(self, requests: int, noticed: Noticed) -> list[float]:
        """Send requests, several at once; their latencies in milliseconds, sorted."""
        found: list[float] = []

        async def one_after_another() -> None:
            for _ in range(requests // AT_ONCE):
                began = time.perf_counter()
                reply = await self._gateway.ask(metadata={"session_id": f"s{next(self._sessions)}"})
                found.append(1000 * (time.perf_counter() - began))
                noticed.failed += reply.status != 200

        await asyncio.gather(*(one_after_another() for _ in range(AT_ONCE)))
        noticed.unready += (await self._gateway.get("/readyz")).status != 200
        return sorted(found)

    async def is_heard(self) -> bool:
        """Whether a report is counted, or waits for another."""
        answer = await self._gateway.ask(metadata={"session_id": f"s{next(self._sessions)}"})
        if answer.status != 200:
            return False
        reply = await self._gateway.feed(id=answer.json["id"], signal="thumb", value=True)
        return reply.status == 200 and reply.json["status"] in {"counted", "pending"}


async def noticed_of(gateway: Whole, fault: StoreFault, rounds: int, requests: int) -> Noticed:
    """Let a fault begin and end a number of times while users ask."""
    users, found = Users(gateway), Noticed()
    await users.ask(requests, Noticed())
    for _ in range(rounds):
        found.before.append(await users.ask(requests, found))
        await fault.begin()
        found.first.append(await users.ask(AT_ONCE, found))
        await asyncio.sleep(_NOTICED_SECONDS)
        found.during.append(await users.ask(requests, found))
        await fault.end()
        ended = time.perf_counter()
        await eventually(users.is_heard, "feedback counted again")
        found.recovery.append(time.perf_counter() - ended)
        await asyncio.sleep(1.5)  # sessions ask the store again
    return found


class OneServer:
    """One `redis-server` behind a proxy, and its faults."""

    def __init__(self, folder: Path) -> None:
        self._server = Process(folder, appendonly="yes", save="")
        self._proxy = Proxy(lambda: self._server.port)
        self.url = ""

    async def start(self) -> None:
        """Start both."""
        self._start_server()
        await self._proxy.start()
        self.url = f"redis://127.0.0.1:{self._proxy.port}"

    async def stop(self) -> None:
        """End both."""
        await self._proxy.stop()
        self._server.end()

    def faults(self) -> dict[str, StoreFault]:
        """Each by name."""
        server = self._server

        def told(*words: str) -> Step:
            async def tell() -> None:
                await asyncio.to_thread(server.ask, *words)

            return tell

        def sent(number: signal.Signals) -> Step:
            async def send() -> None:
                server.send(number)

            return send

        async def kill() -> None:
            server.end()

        async def restart() -> None:
            await asyncio.to_thread(self._start_server)

        return {
            "frozen": StoreFault(sent(signal.SIGSTOP), sent(signal.SIGCONT)),
            "killed, then started again": StoreFault(kill, restart),
            "slow: 0.3 s for each answer": StoreFault(
                lambda: self._proxy.set(Link.SLOW), lambda: self._proxy.set(Link.OPEN)
            ),
            "full": StoreFault(
                told("config", "set", "maxmemory", "1"), told("config", "set", "maxmemory", "0")
            ),
            "read-only": StoreFault(told("replicaof", "127.0.0.1", "9"), told("replicaof", "no", "one")),
        }

    def _start_server(self) -> None:
        self._server.start()
        wait_until(self._server.accepts, "the store")


def slots_down(group: ClusterServer) -> StoreFault:
    """The servers of the experiment's slots end, both of them, and start again."""

    def hit() -> list[Process]:
        slot = int(group.nodes[0].ask("cluster", "keyslot", Names().experiment(NAME).control))
        index = next(index for index in range(3) if slot < (5461, 10923, 16384)[index])
        return [group.nodes[index], group.nodes[index + 3]]

    nodes = hit()

    async def begin() -> None:
        for node in nodes:
            node.end()

    async def end() -> None:
        for node in nodes:
            node.start("cluster.conf")

    return StoreFault(begin, end)


async def measured(rounds: int, requests: int, api_base: str) -> dict[str, Noticed]:
    """Every fault, each on a gateway and a store of its own."""
    found: dict[str, Noticed] = {}
    for name in (*OneServer(Path(tempfile.mkdtemp())).faults(), "a slot of a cluster down"):
        async with AsyncExitStack() as parts:
            folder = Path(parts.enter_context(tempfile.TemporaryDirectory()))
            if name.startswith("a slot"):
                group = ClusterServer(folder)
                parts.callback(group.stop)
                await asyncio.to_thread(group.start)
                url, fault = group.url, slots_down(group)
            else:
                server = OneServer(folder)
                await server.start()
                parts.push_async_callback(server.stop)
                url, fault = server.url, server.faults()[name]
            gateway = await parts.enter_async_context(_gateway(url, api_base))
            # A gateway closes connections that nobody used for five seconds.
            connector = aiohttp.TCPConnector(keepalive_timeout=_KEPT_SECONDS)
            gateway.session = await parts.enter_async_context(
                aiohttp.ClientSession(connector=connector, headers=JSON)
            )
            await gateway.planned()
            settle_memory()
            found[name] = await noticed_of(gateway, fault, rounds, requests)
            print(name, _row(name, found[name]), flush=True)
    return found


def _gateway(url: str, api_base: str) -> AsyncExitStack:
    fields = config_fields(api_base=api_base, traffic={"share": 1.0, "collect": "matched", "unit": "session"})
    config = GatewayConfig.model_validate(fields)
    settings = quick_settings(url, refresh_seconds=0.25, plan_interval_seconds=1, store_timeout_seconds=1.0)
    return whole_gateway(config, settings)


def page(found: dict[str, Noticed], rounds: int, requests: int) -> str:
    """The results as a table."""
    about = (
        f"`python -m benchmarks.faults --rounds {rounds} --requests {requests}`, "
        f"{dt.datetime.now(dt.UTC):%Y-%m-%d}, Python {platform.python_version()}, {platform.machine()}, two "
        f"cores with other work on them (load average {os.getloadavg()[0]:.0f}). Milliseconds from a "
        f"client's request to the whole answer, provider included, {AT_ONCE} requests at once: the median "
        f"over {rounds} rounds of each round's percentile, for the 99th with the smallest and largest. Every "
        f"request begins a session, so it asks the store until the gateway knows that the store is no good. "
        f"*First* are the {AT_ONCE} requests right after the fault began, *during* those after "
        f"{_NOTICED_SECONDS:g} s. *Back* is the longest time from the end of the fault until feedback was "
        f"counted again. The bars: every request answered with 200, `/readyz` 200, during at most "
        f"{ALLOWED_MS:g} ms above before, back within {RECOVERED_SECONDS:g} s."
    )
    lines = [
        "# What users notice of each fault of the store",
        "",
        about,
        "",
        "| the store is | answered | ready | p50 | p50 during | p99 | p99 first | p99 during | back, s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [_row(name, each) for name, each in found.items()]
    return "\n".join(lines) + "\n"


def _row(name: str, noticed: Noticed) -> str:
    before, first, during = (
        [quantile(sample, 0.99) for sample in samples]
        for samples in (noticed.before, noticed.first, noticed.during)
    )
    asked = sum(len(each) for samples in (noticed.before, noticed.first, noticed.during) for each in samples)
    answered = f"{100 * (asked - noticed.failed) / asked:.0f} % of {asked}"
    ready = "yes" if not noticed.unready else f"no, {noticed.unready} times"
    halves = [median(map(median, samples)) for samples in (noticed.before, noticed.during)]
    return (
        f"| {name} | {answered} | {ready} | {halves[0]:.1f} | {halves[1]:.1f} | {spread(before, 1)} | "
        f"{spread(first, 1)} | {spread(during, 1)} | {max(noticed.recovery):.1f} |"
    )


async def main() -> None:
    """Measure, and keep the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=400)
    options = parser.parse_args()
    configure_logging("error", as_json=False)
    async with canned_provider() as api_base:
        found = await measured(options.rounds, options.requests, api_base)
    save_page(RESULTS, page(found, options.rounds, options.requests))


if __name__ == "__main__":
    uvloop.run(main())
