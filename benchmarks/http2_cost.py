"""What asking a provider costs over HTTP/1.1 and over HTTP/2: milliseconds of CPU of the relay alone.

    .venv/bin/python -m benchmarks.http2_cost [--requests N] [--rounds N]

The relay asks a provider in another process, several requests at once. The two versions take turns within
each round, and the best round counts, so other work on the machine matters little. The provider's own CPU
does not count. Writes benchmarks/results/http2_cost.md.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import uvloop

from benchmarks.pages import save_page
from gateway.upstream.base import ModelTarget, Timeouts, UpstreamRequest
from gateway.upstream.relay import Relay
from gateway.upstream.retry_budget import RetryBudget
from tests.gateway.fake_http2 import FakeHttp2Upstream
from tests.gateway.fake_upstream import FakeUpstream, answer

RESULTS = Path(__file__).parent / "results" / "http2_cost.md"
VERSIONS: Final = ("HTTP/1.1", "HTTP/2")
KINDS: Final = ("whole", "stream")
AT_ONCE: Final = (1, 16, 64)
WORDS: Final = 30  # events of a stream, besides the first and the last


async def provide() -> None:
    """Serve both providers until killed, and print their addresses."""
    async with FakeUpstream() as old, FakeHttp2Upstream() as new:
        for provider in (old, new):
            provider.on("small", answer(" ".join(["token"] * WORDS)))
        print(old.api_base, new.api_base, flush=True)
        await asyncio.Event().wait()


async def ask(relay: Relay, target: ModelTarget, kind: str) -> None:
    """One request, answered to its end."""
    question = {"messages": [{"role": "user", "content": "Hello?"}]}
    if kind == "whole":
        await relay.complete(UpstreamRequest(target, question))
        return
    stream = await relay.stream(UpstreamRequest(target, {**question, "stream": True}))
    while await stream.read():
        pass
    await stream.aclose()


async def milliseconds(relay: Relay, target: ModelTarget, kind: str, requests: int, at_once: int) -> float:
    """CPU of one request."""
    waiting = iter(range(requests))

    async def asker() -> None:
        for _ in waiting:
            await ask(relay, target, kind)

    await asyncio.gather(*(ask(relay, target, kind) for _ in range(at_once)))  # connections are made
    started = time.process_time()
    await asyncio.gather(*(asker() for _ in range(at_once)))
    return 1e3 * (time.process_time() - started) / requests


async def measure(bases: list[str], requests: int, rounds: int) -> dict[tuple[str, int, str], float]:
    """The best of all rounds, by kind, requests at once and version."""
    best: dict[tuple[str, int, str], float] = {}
    relay = Relay(Timeouts(), RetryBudget())
    targets = {
        version: ModelTarget(version, "openai", "openai", "small", base, http2=version == "HTTP/2")
        for version, base in zip(VERSIONS, bases, strict=True)
    }
    for _ in range(rounds):
        for kind in KINDS:
            for at_once in AT_ONCE:
                for version in VERSIONS:
                    cost = await milliseconds(relay, targets[version], kind, requests, at_once)
                    key = (kind, at_once, version)
                    best[key] = min(cost, best.get(key, cost))
    await relay.aclose()
    return best


def report(best: dict[tuple[str, int, str], float], requests: int, rounds: int) -> str:
    """As Markdown."""
    rows = []
    for kind in KINDS:
        for at_once in AT_ONCE:
            old, new = (best[kind, at_once, version] for version in VERSIONS)
            rows.append(f"| {kind} | {at_once} | {old:.2f} | {new:.2f} | {new / old:.1f} |")
    return f"""# What asking a provider costs over HTTP/1.1 and over HTTP/2

{dt.datetime.now(dt.UTC).date()}, `python -m benchmarks.http2_cost --requests {requests} --rounds {rounds}`,
Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} with other work.
CPU of the relay alone, best round. A stream has {WORDS + 2} events. Without TLS.

| answer | at once | HTTP/1.1, ms | HTTP/2, ms | ratio |
|---|---|---|---|---|
{chr(10).join(rows)}
"""


def main() -> None:
    """Measure and write down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--provide", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.provide:
        uvloop.run(provide())
        return
    command = [sys.executable, "-m", "benchmarks.http2_cost", "--provide"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as provider:
        try:
            assert provider.stdout is not None
            bases = provider.stdout.readline().split()
            best = uvloop.run(measure(bases, options.requests, options.rounds))
        finally:
            provider.kill()
    text = report(best, options.requests, options.rounds)
    save_page(RESULTS, text)
    print(text)


if __name__ == "__main__":
    main()
