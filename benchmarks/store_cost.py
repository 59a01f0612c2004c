"""What counting one outcome costs: the embedded Valkey and redis-server, alternated in one run.

    .venv/bin/python -m benchmarks.store_cost [--rounds N] [--calls N]

Both write an append-only file, synced every second. The embedded server is reached by unix socket and
redis-server by loopback TCP, as they are deployed. Writes benchmarks/results/store_cost.md.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import os
import platform
import shlex
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from benchmarks.pages import save_page
from benchmarks.spreads import rounds_table
from policy_store.connect import connect
from policy_store.experiment import Experiment
from policy_store.log_records import Result
from policy_store.names import Names
from policy_store.plan_records import Forecast, PlannedPair, ProposedPlan
from policy_store.report_records import Report
from policy_store.store import PolicyStore
from tests.servers import SERVERS

POLICIES = 16
IN_FLIGHT = 32
DUE_PER_STEP = 100  # as planners do
KEEP_SECONDS = 86_400
RESULTS = Path(__file__).parent / "results" / "store_cost.md"
PAIRS = [(first, second) for second in range(POLICIES) for first in range(second)]
FIGURES = {
    "ping": "PING, one at a time (us)",
    "preference": "preference counted, one at a time (us)",
    "outcome": "matched outcome, one at a time (us)",
    "server": "of a preference: inside the server (us)",
    "rate": f"preferences counted per second, {IN_FLIGHT} in flight",
    "hold": "outcome held, one at a time (us)",
    "due": f"held outcomes counted per second, {DUE_PER_STEP} a step, one step at a time",
    "publish": f"plan of {POLICIES} policies ({len(PAIRS)} forecasts) published (us)",
}


async def prepare(store: PolicyStore) -> int:
    """An experiment with a plan; the planner's fence."""
    experiment = Experiment(
        name="cost",
        policies=tuple(f"p{index}" for index in range(POLICIES)),
        policy_fingerprints=tuple(f"hash{index}" for index in range(POLICIES)),
        costs=(0.0,) * POLICIES,
        incumbent=0,
        delta=0.05,
        epsilon=0.02,
        max_comparisons=None,
        min_comparisons=0,
        min_duration_seconds=0.0,
        collect="matched",
        outcome_rules="{}",
    )
    await store.register(experiment, 3_000_000_000)
    fence = await store.acquire_lease("cost", "benchmark", 3600)
    assert fence is not None
    await publish(store, fence, 0)
    return fence


async def publish(store: PolicyStore, fence: int, number: int) -> None:
    """Publish a plan that differs from the last one."""
    plan = ProposedPlan(
        comparisons=number,
        pairs=tuple(PlannedPair(*pair, 1 / len(PAIRS)) for pair in PAIRS),
        leader=0,
        evidence_nats=(0.123456789,) * POLICIES,
        needed_nats=(3.0,) * POLICIES,
        expected_remaining=1234.5,
        duration_seconds=0.01,
    )
    forecasts = [
        Forecast(*pair, 400_000 + number, (-1_000_000, 2_000_000, 30_000, -40_000)) for pair in PAIRS
    ]
    await store.publish_plan("cost", 1, plan, forecasts, fence)


def prefer(store: PolicyStore, number: int) -> Awaitable[object]:
    """Count a preference of a new unit."""
    pair = PAIRS[number % len(PAIRS)]
    return store.record_preference(
        Report("cost", 1, f"unit-{number}", *pair, "side_by_side", "fingerprint", KEEP_SECONDS),
        Result.WIN if number % 2 else Result.LOSS,
    )


def report(store: PolicyStore, number: int, due_at: float | None = None) -> Awaitable[object]:
    """Report an outcome of a new unit; every other one completes a comparison."""
    pair = PAIRS[number // 2 % len(PAIRS)]
    return store.record_outcome(
        Report(
            "cost", 1, f"unit-{number}", *pair, "matched:thumb", "fingerprint", KEEP_SECONDS, due_at=due_at
        ),
        side=0 if number % 2 else 1,
        value=float(number % 3),
        tie_margin=0.0,
        wait_seconds=KEEP_SECONDS,
    )


async def one_at_a_time(call: Callable[[int], Awaitable[object]], calls: int) -> float:
    """Microseconds of one call."""
    began = time.perf_counter()
    for number in range(calls):
        await call(number)
    return (time.perf_counter() - began) / calls * 1e6


async def in_flight(call: Callable[[int], Awaitable[object]], calls: int) -> float:
    """Calls per second with IN_FLIGHT of them under way."""
    numbers = iter(range(calls))

    async def work() -> None:
        for number in numbers:
            await call(number)

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
    return calls / (time.perf_counter() - began)


async def measure(url: str, calls: int) -> dict[str, float]:
    """All figures once, on an emptied server."""
    redis = connect(url, timeout_seconds=10, max_connections=IN_FLIGHT)
    store = PolicyStore(redis, timeout_seconds=10)
    await redis.flushall()
    fence = await prepare(store)
    figures = {"ping": await one_at_a_time(lambda _: redis.ping(), calls)}
    await redis.config_resetstat()
    figures["preference"] = await one_at_a_time(lambda number: prefer(store, number), calls)
    figures["server"] = (await redis.info("commandstats"))["cmdstat_evalsha"]["usec_per_call"]
    figures["outcome"] = await one_at_a_time(lambda number: report(store, calls + number), calls)
    figures["rate"] = await in_flight(lambda number: prefer(store, 2 * calls + number), calls)
    later = time.time() + 3600
    figures["hold"] = await one_at_a_time(
        lambda number: report(store, 3 * calls + number, later + number), calls
    )
    held = Names().experiment("cost").generation(1).held
    await redis.zunionstore(held, {held: 0.5})  # all are due
    began = time.perf_counter()
    while (await store.count_due("cost", 1, DUE_PER_STEP)).total():
        pass
    figures["due"] = calls / (time.perf_counter() - began)
    figures["publish"] = await one_at_a_time(lambda number: publish(store, fence, number + 1), calls // 10)
    await store.aclose()
    return figures


def main() -> None:
    """Measure, print, and keep the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=3000)
    options = parser.parse_args()
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in SERVERS}
    with tempfile.TemporaryDirectory() as folder:
        servers = {name: make(Path(folder) / name) for name, make in SERVERS.items()}
        for server in servers.values():
            server.start()
        for _ in range(options.rounds):
            for name, server in servers.items():
                rounds[name].append(asyncio.run(measure(server.url, options.calls)))
        for server in servers.values():
            server.stop()
    figures = rounds_table(FIGURES, rounds)
    command = shlex.join(["python", "-m", "benchmarks.store_cost", *sys.argv[1:]])
    RESULTS.parent.mkdir(exist_ok=True)
    save_page(
        RESULTS,
        f"# What counting one outcome costs\n\n"
        f"{dt.datetime.now(dt.UTC):%Y-%m-%d}, `{command}`, Python {platform.python_version()}, "
        f"{os.cpu_count()} cores shared by client, server and other work (load {os.getloadavg()[0]:.1f}).\n"
        f"Median (smallest to largest) of {options.rounds} rounds of {options.calls} calls, alternated.\n\n"
        f"{figures}\n",
    )
    print(figures)


if __name__ == "__main__":
    main()
