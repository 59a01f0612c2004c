"""How the gateway grows: processes on one store, and experiments in one process.

    .venv/bin/python -m benchmarks.scale [--seconds N] [--experiments N ...]

Answers and feedback a second with 1, 2 and 4 gateway processes, on one Redis and on a cluster of six nodes;
then the start, the idle cost and the memory of one gateway by how many experiments its file has. Gateways are
`llmpo serve`, provider and users are processes of their own. Writes benchmarks/results/scale.md.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import os
import platform
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import uvloop
from yarl import URL

from benchmarks.pages import save_page
from benchmarks.processes import canned_provider
from policy_store.connect import connect
from tests.gateway.building import NAME, config_fields
from tests.gateway.process import Served
from tests.servers import ClusterServer, RedisServer, ServerGroup

RESULTS: Final = Path(__file__).parent / "results" / "scale.md"
STORES: Final = {"one Redis": RedisServer, "a cluster of six nodes": ClusterServer}
PROCESSES: Final = (1, 2, 4)
USERS: Final = 16
READINGS: Final = 5
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Throughput:
    """What a number of processes did in a second, and what CPU time of all of them it took.

    Attributes:
        answers: Answers a second.
        reports: Reports acknowledged a second.
        cpu: CPU seconds of the gateways a second.
    """

    answers: float
    reports: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Reading:
    """What it takes to read all experiments at once, several times.

    Attributes:
        seconds: From the question to the end of the answer, each time.
        held: The longest answer to another request meanwhile, in seconds, each time.
    """

    seconds: tuple[float, ...]
    held: tuple[float, ...]

    @property
    def shown(self) -> str:
        """Cells of a table, in milliseconds: the middle one of both, and their range."""
        return " | ".join(
            f"{1000 * statistics.median(found):.0f} ({1000 * min(found):.0f}-{1000 * max(found):.0f})"
            for found in (self.seconds, self.held)
        )


@dataclass(frozen=True, slots=True)
class IdleCost:
    """What a gateway costs that nobody asks.

    Attributes:
        listening: Seconds from its start until it listens.
        joined: Seconds from its start until it serves all experiments as the store has them.
        planned: Seconds from its start until all experiments have a plan.
        cpu: CPU seconds a second, of the gateway and its planner's process.
        store_cpu: CPU seconds a second, of the store.
        commands: Commands that the store got, a second.
        memory: Megabytes of the gateway.
        scrape: What `GET /metrics` takes.
        listing: What `GET /v1/experiments` takes.
    """

    listening: float
    joined: float
    planned: float
    cpu: float
    store_cpu: float
    commands: float
    memory: float
    scrape: Reading
    listing: Reading


def cpu_seconds(pids: Sequence[int]) -> float:
    """CPU time that processes and their children have taken so far."""
    total = 0.0
    for pid in pids:
        for each in (pid, *children_of(pid)):
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / _TICKS
    return total


def children_of(pid: int) -> list[int]:
    """The processes that a process has started, and theirs."""
    listings = [each.read_text().split() for each in Path(f"/proc/{pid}/task").glob("*/children")]
    own = [int(child) for listing in listings for child in listing]
    return own + [each for child in own for each in children_of(child)]


def megabytes(pid: int) -> float:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE / 2**20


@asynccontextmanager
async def gateways(
    count: int, store: ServerGroup, config: dict[str, Any], **settings: str
) -> AsyncIterator[tuple[list[str], list[Served]]]:
    """Gateways on a store: their addresses and processes."""
    async with AsyncExitStack() as parts:
        session = await parts.enter_async_context(aiohttp.ClientSession())
        served = []
        for _ in range(count):
            folder = Path(parts.enter_context(tempfile.TemporaryDirectory()))
            served.append(Served(folder, config, session))
            parts.callback(served[-1].clean_up)
        started = await asyncio.gather(
            *(
                each.start(
                    LLMPO_REDIS_URL=store.url,
                    LLMPO_REFRESH_SECONDS="0.25",
                    LLMPO_PLAN_INTERVAL_SECONDS="1",
                    **settings,
                )
                for each in served
            )
        )
        yield [whole.url for whole in started], served


async def throughput(urls: Sequence[str], served: Sequence[Served], seconds: float) -> Throughput:
    """Users who ask and rate without pause, spread over the gateways; each is asked once to warm up."""
    async with aiohttp.ClientSession() as session:
        for url in urls:
            await _use(session, url, time.perf_counter() + 1.0)
        pids = [each.process.pid for each in served]
        before, began = cpu_seconds(pids), time.perf_counter()
        done = await asyncio.gather(
            *(_use(session, urls[user % len(urls)], began + seconds) for user in range(USERS))
        )
        took, cpu = time.perf_counter() - began, cpu_seconds(pids) - before
    return Throughput(sum(a for a, _ in done) / took, sum(r for _, r in done) / took, cpu / took)


async def _use(session: aiohttp.ClientSession, url: str, until: float) -> tuple[int, int]:
    answers = reports = 0
    question = {"model": NAME, "messages": [{"role": "user", "content": "Hello?"}]}
    while time.perf_counter() < until:
        async with session.post(f"{url}/v1/chat/completions", json=question) as reply:
            said = await reply.json()
            assert reply.status == 200, said
        answers += 1
        rated = {"id": said["id"], "signal": "thumb", "value": answers % 2 == 0}
        async with session.post(f"{url}/v1/feedback", json=rated) as reply:
            reports += reply.status == 200
    return answers, reports


async def idle_cost(experiments: int, store: RedisServer, seconds: float) -> IdleCost:
    """One gateway with so many experiments, which nobody asks."""
    fields = config_fields(promotion={"min_comparisons": 100_000})
    experiment = fields["experiments"][NAME]
    names = [f"experiment-{number}" for number in range(experiments)]
    config = {**fields, "experiments": dict.fromkeys(names, experiment)}
    began = time.monotonic()
    async with gateways(1, store, config) as ((url,), (served,)):
        listening = time.monotonic() - began
        await served.eventually(lambda: served.has_told("experiment_joined", experiments), "all joined")
        joined = time.monotonic() - began
        redis = connect(store.url)
        last = redis.names.experiment(names[-1]).control
        await served.eventually(lambda: redis.hexists(last, "1:plan"), "all planned")
        planned = time.monotonic() - began
        await asyncio.sleep(3.0)
        pid, store_pid = served.process.pid, store.pid
        before, began = (cpu_seconds([pid]), cpu_seconds([store_pid])), time.monotonic()
        commands = (await redis.info("stats"))["total_commands_processed"]
        await asyncio.sleep(seconds)
        took = time.monotonic() - began
        commands = (await redis.info("stats"))["total_commands_processed"] - commands
        await redis.aclose()
        cpu, store_cpu = cpu_seconds([pid]) - before[0], cpu_seconds([store_pid]) - before[1]
        memory = megabytes(pid)
        scrape, listing = [await reading(url + path) for path in ("/metrics", "/v1/experiments")]
        return IdleCost(
            *(listening, joined, planned, cpu / took, store_cpu / took, commands / took, memory),
            scrape,
            listing,
        )


async def reading(address: str) -> Reading:
    """Ask so often, after a pause in which the last reading becomes old, and meanwhile for `/healthz`."""
    took, held = [], []
    async with aiohttp.ClientSession() as session:
        for _ in range(READINGS):
            await asyncio.sleep(2.0)
            asking = asyncio.create_task(_read(session, address))
            longest, health = 0.0, str(URL(address).with_path("/healthz"))
            while not asking.done():
                longest = max(longest, await _read(session, health))
                await asyncio.sleep(0.001)
            took.append(await asking)
            held.append(longest)
    return Reading(tuple(took), tuple(held))


async def _read(session: aiohttp.ClientSession, address: str) -> float:
    began = time.perf_counter()
    async with session.get(address) as reply:
        assert reply.status == 200, reply
        await reply.read()
    return time.perf_counter() - began


def page(
    by_store: dict[str, dict[int, Throughput]], idle: dict[int, IdleCost], seconds: float, slowed: float
) -> str:
    """The results as tables."""
    about = (
        f"`python -m benchmarks.scale --seconds {seconds:g}`, {dt.datetime.now(dt.UTC):%Y-%m-%d}, Python "
        f"{platform.python_version()}, {platform.machine()}, two cores with other work on them (load average "
        f"{slowed:.0f}), one run. Wall times and rates depend on that other work; CPU times do so much less."
    )
    lines = [
        "# How the gateway grows",
        "",
        about,
        "",
        "## Processes on one store",
        "",
        (
            f"{USERS} users ask and rate without pause, for {seconds:g} s. Gateways, store, provider and "
            "users share the two cores, so rates stop growing once the cores are busy; *CPU an answer* is "
            "what the gateways take for one answer and its report together, and is what a further process "
            "costs."
        ),
        "",
        "| store | gateways | answers/s | reports/s | CPU of the gateways, cores | CPU an answer, ms |",
        "|---|---|---|---|---|---|",
    ]
    for store, found in by_store.items():
        for count, each in found.items():
            lines.append(
                f"| {store} | {count} | {each.answers:.0f} | {each.reports:.0f} | {each.cpu:.2f} | "
                f"{1000 * each.cpu / each.answers:.2f} |"
            )
    lines += [
        "",
        "## Experiments in one process",
        "",
        (
            f"One gateway on one Redis, asked by nobody for {seconds:g} s, once everything is planned. "
            "Commands include those inside scripts."
        ),
        "",
        (
            "| experiments | listens after, s | all planned after, s | CPU, % of a core | store's CPU, % | "
            "commands/s | memory, MB |"
        ),
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {count} | {each.listening:.1f} | {each.planned:.1f} | {100 * each.cpu:.1f} | "
        f"{100 * each.store_cpu:.1f} | {each.commands:.0f} | {each.memory:.0f} |"
        for count, each in idle.items()
    ]
    lines += [
        "",
        (
            f"All experiments read at once, {READINGS} times: median and range of what that takes, and of "
            "the longest answer that `/healthz` had to wait for meanwhile, in milliseconds."
        ),
        "",
        "| experiments | `GET /metrics` | other requests | `GET /v1/experiments` | other requests |",
        "|---|---|---|---|---|",
    ]
    lines += [f"| {count} | {each.scrape.shown} | {each.listing.shown} |" for count, each in idle.items()]
    fewest, most = min(idle), max(idle)
    if most > fewest:
        extra = most - fewest
        cpu = 1e6 * (idle[most].cpu - idle[fewest].cpu) / extra
        asked = (idle[most].commands - idle[fewest].commands) / extra
        kept = 1024 * (idle[most].memory - idle[fewest].memory) / extra
        lines += [
            "",
            (
                f"A further experiment at rest costs {cpu:.0f} microseconds of CPU and {asked:.1f} commands "
                f"of the store a second, and {kept:.0f} kB."
            ),
        ]
    return "\n".join(lines) + "\n"


async def _throughputs(seconds: float, api_base: str) -> dict[str, dict[int, Throughput]]:
    found: dict[str, dict[int, Throughput]] = {}
    config = config_fields(api_base=api_base, promotion={"min_comparisons": 10**6})
    for name, kind in STORES.items():
        found[name] = {}
        for count in PROCESSES:
            with tempfile.TemporaryDirectory() as folder:
                store = kind(Path(folder))
                store.start()
                try:
                    async with gateways(count, store, config) as (urls, served):
                        found[name][count] = await throughput(urls, served, seconds)
                finally:
                    store.stop()
            print(name, count, found[name][count], flush=True)
    return found


async def _idle_costs(experiments: Sequence[int], seconds: float) -> dict[int, IdleCost]:
    found: dict[int, IdleCost] = {}
    for count in experiments:
        with tempfile.TemporaryDirectory() as folder:
            store = RedisServer(Path(folder))
            store.start()
            try:
                found[count] = await idle_cost(count, store, seconds)
            finally:
                store.stop()
        print(count, found[count], flush=True)
    return found


async def main() -> None:
    """Measure, and keep the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--experiments", type=int, nargs="+", default=[1, 100, 1000])
    options = parser.parse_args()
    async with canned_provider() as api_base:
        idle = await _idle_costs(options.experiments, options.seconds)
        by_store = await _throughputs(options.seconds, api_base)
    save_page(RESULTS, page(by_store, idle, options.seconds, os.getloadavg()[0]))


if __name__ == "__main__":
    uvloop.run(main())
