"""What a store that hangs costs sessions: latency with it, at the moment it hangs, and from then on.

    .venv/bin/python -m benchmarks.hung_store [--rounds N] [--requests N]

A gateway in this process serves an experiment whose unit is the session, to a key with limits; its provider
is another process, its store a server that is stopped with SIGSTOP. Every request begins a new session, so
each has to ask the store. Writes benchmarks/results/hung_store.md.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import platform
import tempfile
import time
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final

import uvloop

from benchmarks.pages import save_page
from benchmarks.processes import canned_provider
from benchmarks.spreads import quantile, spread
from gateway.config.api_keys import hash_key
from gateway.config.gateway_file import GatewayConfig
from gateway.running.logs import configure_logging
from gateway.running.memory import settle_memory
from tests.gateway.building import config_fields
from tests.gateway.whole import Whole, eventually, quick_settings, whole_gateway
from tests.servers import RedisServer

RESULTS: Final = Path(__file__).parent / "results" / "hung_store.md"
KEY: Final = "a key of the application of 32 characters"
STATES: Final = ("answers", "hangs, first eight", "hangs, after that", "answers again")
AT_ONCE: Final = 8


@dataclass
class Rounds:
    """Latencies of each round in milliseconds, by how the store was."""

    of: dict[str, list[list[float]]] = field(default_factory=lambda: {state: [] for state in STATES})
    _sessions: count[int] = field(default_factory=count)

    async def ask(self, gateway: Whole, state: str, requests: int) -> None:
        """Send this many requests, eight at once, each with its own session."""
        found: list[float] = []

        async def one_after_another(share: int) -> None:
            for _ in range(share):
                began = time.perf_counter()
                reply = await gateway.ask(metadata={"session_id": f"s{next(self._sessions)}"})
                found.append(1000 * (time.perf_counter() - began))
                assert reply.status == 200, reply.body

        await asyncio.gather(*(one_after_another(requests // AT_ONCE) for _ in range(AT_ONCE)))
        self.of[state].append(sorted(found))


async def measured(rounds: int, requests: int, api_base: str, store: RedisServer) -> Rounds:
    """Every state of the store, in every round."""
    fields = config_fields(api_base=api_base, traffic={"share": 1.0, "collect": "matched", "unit": "session"})
    keys = {"app": {"hash": hash_key(KEY), "limits": {"requests_per_minute": 10**6}}}
    config = GatewayConfig.model_validate({**fields, "auth": {"keys": keys}})
    settings = quick_settings(store.url, refresh_seconds=0.25, plan_interval_seconds=60)
    found = Rounds()
    async with whole_gateway(config, settings, key=KEY) as gateway:
        settle_memory()
        await found.ask(gateway, STATES[0], requests)
        found.of[STATES[0]].clear()
        for _ in range(rounds):
            await found.ask(gateway, STATES[0], requests)
            store.freeze()
            await found.ask(gateway, STATES[1], AT_ONCE)
            await found.ask(gateway, STATES[2], requests)
            store.thaw()

            async def is_back() -> bool:
                return bool((await gateway.get("/readyz")).json["store"] == "up")

            await eventually(is_back, "the store back")
            await found.ask(gateway, STATES[3], requests)
    return found


def page(found: Rounds, rounds: int, requests: int) -> str:
    """The results as a table."""
    about = (
        f"`python -m benchmarks.hung_store --rounds {rounds} --requests {requests}`, "
        f"{dt.datetime.now(dt.UTC):%Y-%m-%d}, Python {platform.python_version()}, {platform.machine()}, a "
        "machine with other work on it. Milliseconds from a client's request to the whole answer, provider "
        f"included, {AT_ONCE} requests at once: the median over {rounds} rounds, with the smallest and the "
        f"largest round. *The first eight* requests find out that the store is "
        "silent; `LLMPO_STORE_TIMEOUT_SECONDS` is 1 s."
    )
    lines = [
        "# What a store that hangs costs sessions",
        "",
        about,
        "",
        "| the store | requests a round | p50 | p99 |",
        "|---|---|---|---|",
    ]
    for state, samples in found.of.items():
        halves = [quantile(sample, 0.5) for sample in samples]
        tails = [quantile(sample, 0.99) for sample in samples]
        lines.append(f"| {state} | {len(samples[0])} | {spread(halves, 1)} | {spread(tails, 1)} |")
    return "\n".join(lines) + "\n"


async def main() -> None:
    """Measure, and keep the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=400)
    options = parser.parse_args()
    configure_logging("error", as_json=False)
    async with canned_provider() as api_base:
        with tempfile.TemporaryDirectory() as folder:
            store = RedisServer(Path(folder))
            store.start()
            try:
                found = await measured(options.rounds, options.requests, api_base, store)
            finally:
                store.stop()
    save_page(RESULTS, page(found, options.rounds, options.requests))


if __name__ == "__main__":
    uvloop.run(main())
