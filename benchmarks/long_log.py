"""What a decision costs whose log is long: reading it for what the certificate says of its votes.

    .venv/bin/python -m benchmarks.long_log [--comparisons N ...]

Each log is made in a `redis-server` of its own: four policies, a plan for every hundred comparisons, two
voters for each comparison, all different. Every size is read in a process of its own, whose memory is
measured. Writes benchmarks/results/long_log.md.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import uvloop

from benchmarks.pages import save_page
from gateway.experiments.plan_values import Decision
from gateway.learning.vouching import integrity_of
from policy_store.connect import connect
from policy_store.counts import Counts
from policy_store.store import PolicyStore
from tests.gateway.building import NAME, definition
from tests.servers import RedisServer

RESULTS: Final = Path(__file__).parent / "results" / "long_log.md"
POLICIES: Final = ("plain", "warm", "xenial", "young")
CHAMPION: Final = 1
PLANNED_EVERY: Final = 100
_AT_ONCE: Final = 10_000

# As `comparisons.lua` and `publish_plan.lua` write them; policy 1 wins three of four of its comparisons.
_FILL: Final = """
local first, last = tonumber(ARGV[1]), tonumber(ARGV[2])
local policies, every = tonumber(ARGV[3]), tonumber(ARGV[4])
for number = first, last do
  local version = math.floor((number - 1) / every) + 1
  local forecast = 300000 + (version * 7919) % 400000
  if (number - 1) % every == 0 then
    local forecasts = {}
    for i = 0, policies - 2 do
      for j = i + 1, policies - 1 do
        forecasts[#forecasts + 1] = i .. ':' .. j .. ':' .. forecast
      end
    end
    redis.call('XADD', KEYS[1], '*', 'type', 'plan', 'version', version, 'fence', 1,
      'comparisons', number - 1, 'forecasts', table.concat(forecasts, ' '), 'at', '1790000000000000')
  end
  local one = number % policies
  local other = (one + 1 + math.floor(number / policies) % (policies - 1)) % policies
  local low, high = math.min(one, other), math.max(one, other)
  local wins = low == 1 or (high ~= 1 and number % 2 == 0)
  if number % 4 == 0 then wins = not wins end
  redis.call('XADD', KEYS[1], '*', 'type', 'comparison', 'number', number, 'first', low, 'second', high,
    'result', wins and 'win' or 'loss', 'forecast', forecast, 'version', version, 'source', 'matched:thumb',
    'at', '1790000000000000', 'voters', string.format('%024x,%024x', 2 * number, 2 * number + 1))
end
return 'OK'
"""


async def fill(url: str, comparisons: int) -> None:
    """Make a log."""
    redis = connect(url, timeout_seconds=120)
    about = definition(policies=POLICIES)
    store = PolicyStore(redis, timeout_seconds=120)
    await store.register(about.experiment, about.elimination_nano_nats)
    log = redis.names.experiment(NAME).generation(1).log
    for start in range(1, comparisons + 1, _AT_ONCE):
        last = min(comparisons, start + _AT_ONCE - 1)
        await redis.eval(_FILL, 1, log, start, last, len(POLICIES), PLANNED_EVERY)
    await redis.aclose()


async def read(url: str, comparisons: int) -> dict[str, float]:
    """Seconds, the longest time for which nothing else could run, and megabytes."""
    store = PolicyStore(connect(url, timeout_seconds=5), timeout_seconds=5)
    view, k = await store.view(NAME), len(POLICIES)
    share = comparisons // (k * (k - 1))
    wins = [[0 if i == j else share * (3 if i == CHAMPION else 1) for j in range(k)] for i in range(k)]
    rows = [[0 if i == j else 10**9 * comparisons // 100 for j in range(k)] for i in range(k)]
    certificate: dict[str, Any] = {
        "champion": CHAMPION,
        "outcome": "winner",
        "comparisons": comparisons,
        "wins": wins,
        "evidence_nano_nats": rows,
        "epsilon": 0.0,
        "delta": 0.05,
        "stopping": "e-process",
    }
    nothing = ((0,) * k,) * k
    counts = Counts(comparisons, nothing, nothing, nothing, (None,) * k, 0.0, 0.0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    longest, done = 0.0, asyncio.Event()

    async def tick() -> None:
        nonlocal longest
        while not done.is_set():
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            longest = max(longest, time.perf_counter() - began - 0.001)

    ticking = asyncio.create_task(tick())
    began = time.perf_counter()
    found = await integrity_of(store, view, Decision("winner", CHAMPION, certificate), counts)
    took = time.perf_counter() - began
    done.set()
    await ticking
    assert found is not None, "The log lacks comparisons."
    await store.aclose()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": took, "held_ms": 1000 * longest, "megabytes": (after - before) / 1024}


def measured(comparisons: int) -> dict[str, float]:
    """The same, of a log that is made for it, in a process that reads nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(Path(folder))
        server.start()
        try:
            uvloop.run(fill(server.url, comparisons))
            command = [sys.executable, "-m", "benchmarks.long_log", "--read", server.url, str(comparisons)]
            told = subprocess.run(command, check=True, capture_output=True, text=True)
            return dict(json.loads(told.stdout))
        finally:
            server.stop()


def page(found: dict[int, dict[str, float]]) -> str:
    """The results as a table."""
    rows = "\n".join(
        f"| {n:,} | {each['seconds']:.1f} | {each['held_ms']:.0f} | {each['megabytes']:.0f} |"
        for n, each in found.items()
    )
    sizes = " ".join(map(str, found))
    about = (
        f"`python -m benchmarks.long_log --comparisons {sizes}`, {dt.datetime.now(dt.UTC):%Y-%m-%d}, Python "
        f"{platform.python_version()}, {platform.machine()}, two cores with other work on them, one run. "
        "Before a decision the planner reads the log of the generation for what the certificate says of its "
        "votes (`integrity`). Four policies, two voters for each comparison, all different. *Held up* is the "
        "longest time for which the process did nothing else; *memory* is what it took in addition, at most."
    )
    head = "| comparisons | time, s | held up, ms | memory, MB |\n|---|---|---|---|"
    return f"# Decisions over long logs\n\n{about}\n\n{head}\n{rows}\n"


def main() -> None:
    """Measure, and keep the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--comparisons", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--read", nargs=2, metavar=("URL", "N"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        print(json.dumps(uvloop.run(read(options.read[0], int(options.read[1])))))
        return
    found = {}
    for comparisons in options.comparisons:
        found[comparisons] = measured(comparisons)
        print(comparisons, found[comparisons], flush=True)
    save_page(RESULTS, page(found))


if __name__ == "__main__":
    main()
