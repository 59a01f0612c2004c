"""How long a backup and a restore of a large experiment take, and how long the server keeps others waiting.

    .venv/bin/python -m benchmarks.backup [--comparisons N]

An experiment on a real Redis with so many comparisons in its log, as many marks of units and two voters each.
While `llmpo backup` and `llmpo restore` run as processes of their own, a client asks the server all the time;
its longest wait is what a gateway's call would have waited. Writes benchmarks/results/backup.md.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import os
import platform
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.pages import save_page
from policy_store.clients import StoreClient
from policy_store.connect import connect
from policy_store.store import PolicyStore
from tests.policy_store.building import NAME, planned, prefer
from tests.servers import RedisServer

RESULTS: Final = Path(__file__).parent / "results" / "backup.md"
AT_ONCE: Final = 5000
# Writes what so many comparisons leave behind, in the form of the counting script.
FILL: Final = """
for number = tonumber(ARGV[1]), tonumber(ARGV[2]) do
  local name = string.format('%032x', number)
  redis.call('XADD', KEYS[1], '*', 'type', 'comparison', 'number', number, 'first', '0', 'second', '1',
    'result', 'win', 'forecast', '400000', 'version', '1', 'source', 'matched:thumb',
    'at', '1790000000000000', 'voters', name .. ',' .. name)
  redis.call('HSET', KEYS[2], 'compared:' .. name, '2', '0:1:voter:' .. name, '2')
  redis.call('SET', KEYS[3] .. name, '1.0', 'EX', 86400)
end
redis.call('HSET', KEYS[4], 'comparisons', ARGV[2], 'wins:0:1', ARGV[2])
"""


@dataclass(frozen=True)
class Run:
    """One command: how long it took, and the longest wait of another client meanwhile."""

    name: str
    seconds: float
    longest_wait_ms: float


async def filled(redis: StoreClient, comparisons: int) -> None:
    """An experiment with so many comparisons."""
    store = PolicyStore(redis, timeout_seconds=60)
    await planned(store)
    await prefer(store, "first")
    own = redis.names.experiment(NAME).generation(1)
    for start in range(2, comparisons + 1, AT_ONCE):
        upto = min(comparisons, start + AT_ONCE - 1)
        await redis.eval(FILL, 4, own.log, own.votes, own.unit(""), own.counts, start, upto)


async def run(name: str, redis: StoreClient, *words: str) -> Run:
    """Run a command beside a client that asks all the time."""
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway.cli", *words), env={**os.environ, "LLMPO_DATA_DIR": "."}
    )
    ended = asyncio.create_task(process.wait())
    longest = 0.0
    while not ended.done():
        asked = time.perf_counter()
        await redis.hget(redis.names.experiment(NAME).control, "revision")
        longest = max(longest, time.perf_counter() - asked)
        await asyncio.sleep(0.001)
    assert await ended == 0
    return Run(name, time.perf_counter() - began, 1000 * longest)


async def measured(comparisons: int) -> tuple[list[Run], float]:
    """Both commands, and the size of the file in megabytes."""
    with tempfile.TemporaryDirectory() as folder:
        one, other = RedisServer(Path(folder) / "one"), RedisServer(Path(folder) / "other")
        file = Path(folder) / "backup"
        one.start()
        other.start()
        try:
            here, there = connect(one.url, timeout_seconds=60), connect(other.url, timeout_seconds=60)
            await filled(here, comparisons)
            idle = await run("nothing (`llmpo --version`)", here, "--version")
            backup = await run("backup", here, "backup", str(file), "--redis-url", one.url)
            restore = await run("restore", there, "restore", str(file), "--redis-url", other.url)
            assert await there.xlen(there.names.experiment(NAME).generation(1).log) >= comparisons
            await here.aclose()
            await there.aclose()
            return [idle, backup, restore], file.stat().st_size / 1e6
        finally:
            one.stop()
            other.stop()


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--comparisons", type=int, default=1_000_000)
    wanted = parser.parse_args()
    runs, megabytes = asyncio.run(measured(wanted.comparisons))
    rows = "\n".join(f"| {one.name} | {one.seconds:.1f} | {one.longest_wait_ms:.0f} |" for one in runs)
    save_page(
        RESULTS,
        f"""# Backup and restore of a large experiment

`python -m benchmarks.backup --comparisons {wanted.comparisons}`, {dt.datetime.now(dt.UTC).date()}, Python
{platform.python_version()}, {platform.machine()}, a machine with other work on it; one run.
An experiment with {wanted.comparisons:,} comparisons, as many marks of units, and votes of as
many voters; the file has {megabytes:.0f} MB. *Longest wait*: of a client that asked the same server
for one field all the while.

| command | seconds | longest wait, ms |
|---|---|---|
{rows}
""",
    )


if __name__ == "__main__":
    main()
