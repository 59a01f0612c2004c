"""Minutes of mixed load on a real gateway, with failures and callers who hang up: does it stay flat?

    .venv/bin/python -m benchmarks.soak [--minutes M] [--callers N]

A plain model with a fallback, a matched experiment and a side-by-side one; streamed and not; feedback;
providers that refuse, break off, stall and send nonsense; a candidate that is down a quarter of the time, so
that it is ejected and comes back; two requests in five are abandoned. Every byte is checked for the caller's
own marker. Memory and descriptors of the gateway's process, and the memory of the one that plans, are read
from /proc, its tasks from /metrics.
Writes benchmarks/results/soak.md and ends with status 1 unless all stayed flat and every answer was true.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import json
import os
import platform
import random
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.pages import save_page
from benchmarks.processes import descendants, rss_mb
from tests.gateway.fake_upstream import (
    Behaviour,
    Exchange,
    FakeUpstream,
    cut,
    hang_up,
    malformed,
    stall,
    status,
)
from tests.gateway.serving.failures.crowd import MARKER, echo, is_complete
from tests.servers import free_port

RESULTS = Path(__file__).parent / "results" / "soak.md"
ROOT = Path(__file__).parent.parent
EVERY_SECONDS = 2.0
WARM_UP = 0.5  # share of the run that is not judged
OUTAGE_SECONDS, CYCLE_SECONDS = 5.0, 20.0
GROWTH_ALLOWED = 0.01  # of memory, from the first to the last third judged
TASKS = re.compile(rb"^llmpo_tasks (\d+)", re.MULTILINE)
SERIES = re.compile(
    rb"^(llmpo_(?:ejections|fallbacks|model_fallbacks|model_failures|retries_refused)_total\S*) (\S+)",
    re.MULTILINE,
)
CONFIG: dict[str, Any] = {
    "incumbent": "steady",
    "policies": {"steady": {"model": "small"}, "bold": {"model": "large"}},
    "promotion": {"min_comparisons": 10**9},
}


@dataclass(frozen=True)
class Sample:
    """The gateway's process at one moment."""

    seconds: float
    rss_mb: float
    planner_mb: float
    descriptors: int
    tasks: int


@dataclass
class Report:
    """What happened."""

    outcomes: Counter[str] = field(default_factory=Counter)
    untrue: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)


def shaky(number: int) -> Behaviour:
    """What a provider does with its n-th request: most are answered, and each kind of failure occurs."""
    faults = {0: status(500), 1: cut(after=2), 2: malformed(after=2), 3: stall(after=2), 4: hang_up()}
    return faults.get(number % 60, echo(0.002))


async def small(exchange: Exchange) -> None:
    """A provider that fails now and then."""
    await shaky(exchange.number)(exchange)


async def large(exchange: Exchange) -> None:
    """A provider with regular outages."""
    is_out = time.monotonic() % CYCLE_SECONDS < OUTAGE_SECONDS
    await (status(503) if is_out else echo(0.002))(exchange)


class Callers:
    """Callers who ask, leave early or stay, check every byte, and give feedback."""

    def __init__(self, url: str, report: Report, seed: int) -> None:
        self._url = url
        self._report = report
        self._rng = random.Random(seed)
        self._number = 0
        self._seed = seed

    async def run(self, until: float) -> None:
        """Ask until the given time."""
        async with aiohttp.ClientSession() as session:
            while time.monotonic() < until:
                await self._ask(session)

    async def _ask(self, session: aiohttp.ClientSession) -> None:
        self._number += 1
        marker = f"<marker-{self._seed}{self._number:09}>"
        is_stream = self._rng.random() < 0.6
        question = {
            "model": self._rng.choice(["small", "matched", "sides"]),
            "stream": is_stream,
            "messages": [{"role": "user", "content": marker}],
        }
        if question["model"] == "sides":
            question["n"] = 2
        leaves = self._rng.random() < 0.4
        patience = self._rng.uniform(0.0, 0.03) if leaves else 60.0
        received = bytearray()
        reading = asyncio.create_task(self._read(session, question, received))
        done, _ = await asyncio.wait([reading], timeout=patience)
        if not done:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            outcome = "left" if leaves else "unanswered after a minute"
        else:
            outcome = self._judged(reading.result(), bytes(received), is_stream=is_stream)
        if not set(MARKER.findall(bytes(received))) <= {marker.encode()}:
            outcome = "somebody else's bytes"
        self._note(outcome, bytes(received))
        if outcome == "complete" and not is_stream and question["model"] != "small":
            await self._rate(session, json.loads(received)["id"], str(question["model"]))

    async def _read(
        self, session: aiohttp.ClientSession, question: dict[str, Any], received: bytearray
    ) -> int:
        try:
            async with session.post(f"{self._url}/v1/chat/completions", json=question) as response:
                async for piece in response.content.iter_any():
                    received += piece
                return response.status
        except aiohttp.ClientError:
            return 0

    def _judged(self, code: int, received: bytes, *, is_stream: bool) -> str:
        if code == 200 and is_complete(received, is_stream=is_stream):
            return "complete"
        if code == 200 and is_stream and b'data: {"error"' in received and b"[DONE]" not in received:
            return "broke off and said so"
        if code in {429, 502, 503, 504} and b'"error"' in received:
            return f"error {code}"
        return f"untrue: status {code}"

    def _note(self, outcome: str, received: bytes) -> None:
        self._report.outcomes[outcome] += 1
        if outcome.startswith(("untrue", "somebody", "unanswered")):
            self._report.untrue.append(f"{outcome}: {received[-300:]!r}")

    async def _rate(self, session: aiohttp.ClientSession, response_id: str, model: str) -> None:
        said = (
            {"preferred": 0} if model == "sides" else {"signal": "thumb", "value": self._rng.random() < 0.5}
        )
        async with session.post(f"{self._url}/v1/feedback", json={"id": response_id, **said}) as answer:
            code = (await answer.json()).get("error", {}).get("code")
            self._report.outcomes[f"feedback {answer.status}"] += 1
            # A 503 is honest: on a starved machine the store may be late, and nothing was recorded.
            if answer.status != 200 and code != "store_unavailable":
                self._report.untrue.append(f"feedback: {answer.status} {code}")


@asynccontextmanager
async def gateway(upstream: FakeUpstream) -> AsyncIterator[tuple[int, str]]:
    """`llmpo serve`; its pid and address."""

    def model(name: str, **more: Any) -> dict[str, Any]:
        params = {"model": f"openai/{name}", "api_base": upstream.api_base, "api_key": "k"}
        return {"model_name": name, "litellm_params": params, **more}

    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "gateway.yaml"
        experiments = {
            "matched": {**CONFIG, "traffic": {"share": 1.0}},
            "sides": {**CONFIG, "traffic": {"share": 1.0, "collect": "side_by_side"}},
        }
        models = [model("small", fallbacks=["spare"]), model("large"), model("spare")]
        config.write_text(json.dumps({"model_list": models, "experiments": experiments}))
        environ = {
            **os.environ,
            "LLMPO_DATA_DIR": f"{folder}/data",
            "LLMPO_LOG_LEVEL": "error",
            "LLMPO_FIRST_BYTE_TIMEOUT_SECONDS": "1",
            "LLMPO_STALL_TIMEOUT_SECONDS": "1",
            "LLMPO_UPSTREAM_TIMEOUT_SECONDS": "2",
        }
        command = [sys.executable, "-m", "gateway.cli", "serve", "--config", str(config), "--port", str(port)]
        process = subprocess.Popen(command, cwd=ROOT, env=environ)  # noqa: ASYNC220 - outlives the loop's work
        try:
            url = f"http://127.0.0.1:{port}"
            await _until_ready(url)
            yield process.pid, url
        finally:
            process.terminate()
            await asyncio.to_thread(process.wait, 60)


async def _until_ready(url: str) -> None:
    async with aiohttp.ClientSession() as session, asyncio.timeout(60):
        while True:
            try:
                async with session.get(f"{url}/readyz") as reply:
                    if reply.status == 200:
                        return
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)


async def sample(pid: int, url: str, session: aiohttp.ClientSession, since: float) -> tuple[Sample, bytes]:
    """Look at the gateway's process."""
    async with session.get(f"{url}/metrics") as reply:
        text = await reply.read()
    found = TASKS.search(text)
    assert found is not None
    seconds = time.monotonic() - since
    return Sample(seconds, rss_mb(pid), planner_mb(pid), descriptors(pid), int(found[1])), text


def planner_mb(pid: int) -> float:
    """Resident memory of the gateway's process for plans; 0 before it is there."""
    return sum(
        rss_mb(each)
        for each in descendants(pid)
        if b"spawn_main" in Path(f"/proc/{each}/cmdline").read_bytes()
    )


def descriptors(pid: int) -> int:
    """Open files and sockets of a process."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def watch(pid: int, url: str, upstream: FakeUpstream, report: Report, until: float) -> None:
    """Take samples until the given time."""
    started = time.monotonic()
    async with aiohttp.ClientSession() as session:
        while time.monotonic() < until:
            report.samples.append((await sample(pid, url, session, started))[0])
            upstream.seen.clear()
            await asyncio.sleep(EVERY_SECONDS)


async def soak(minutes: float, callers: int) -> tuple[Report, Sample, Sample, bytes]:
    """Run the load. Gives what happened, the process at rest before and after, and its last metrics."""
    report = Report()
    async with FakeUpstream() as upstream:
        upstream.on("small", small)
        upstream.on("large", large)
        upstream.on("spare", echo(0.002))
        async with gateway(upstream) as (pid, url), aiohttp.ClientSession() as session:
            before, _ = await sample(pid, url, session, time.monotonic())
            until = time.monotonic() + 60 * minutes
            crowd = [Callers(url, report, seed) for seed in range(callers)]
            await asyncio.gather(watch(pid, url, upstream, report, until), *(one.run(until) for one in crowd))
            after, text = await sample(pid, url, session, time.monotonic())
            patience = time.monotonic() + 10
            while (upstream.in_flight or after.tasks > before.tasks) and time.monotonic() < patience:
                await asyncio.sleep(0.1)
                after, text = await sample(pid, url, session, time.monotonic())
    return report, before, after, text


def verdict(report: Report, before: Sample, after: Sample, callers: int) -> list[str]:
    """Everything that shows that a run was not flat or not truthful."""
    judged = report.samples[int(WARM_UP * len(report.samples)) :]
    third = max(1, len(judged) // 3)
    faults = [f"{len(report.untrue)} untrue answers, such as {report.untrue[0]}"] if report.untrue else []
    for name in ("rss_mb", "planner_mb", "descriptors", "tasks"):
        early = statistics.median(getattr(one, name) for one in judged[:third])
        late = statistics.median(getattr(one, name) for one in judged[-third:])
        room = early * GROWTH_ALLOWED if name.endswith("_mb") else callers
        if late - early > room:
            faults.append(f"{name} grew from {early:.1f} to {late:.1f} (medians of the first and last third)")
    if after.tasks > before.tasks:
        faults.append(f"{after.tasks - before.tasks} tasks left at rest")
    if after.descriptors > before.descriptors + 3 * callers:
        faults.append(f"{after.descriptors - before.descriptors} descriptors left at rest")
    return faults


def shown(report: Report, before: Sample, after: Sample, text: bytes, faults: list[str], command: str) -> str:
    """The results as Markdown."""
    lines = [
        "# Soak",
        "",
        f"{dt.datetime.now(dt.UTC).date()}, `{command}`, Python {platform.python_version()},",
        f"{os.cpu_count()} cores (load {os.getloadavg()[0]:.1f}, other work included).",
        "",
        f"**{'Flat and truthful.' if not faults else 'NOT flat or not truthful: ' + '; '.join(faults)}**",
        f"Judged after the first {WARM_UP:.0%}; memory may grow by {GROWTH_ALLOWED:.0%} from the first to",
        "the last third of the rest.",
        "",
        "| moment | RSS MB | planner's | descriptors | tasks |",
        "|---|---|---|---|---|",
    ]
    steps = max(1, len(report.samples) // 12)
    moments = [
        ("at rest, before", before),
        *((f"{one.seconds:.0f} s", one) for one in report.samples[::steps]),
    ]
    lines += [
        f"| {name} | {one.rss_mb:.1f} | {one.planner_mb:.1f} | {one.descriptors} | {one.tasks} |"
        for name, one in [*moments, ("at rest, after", after)]
    ]
    lines += ["", "| requests and feedback | count |", "|---|---|"]
    lines += [f"| {name} | {count:,} |" for name, count in sorted(report.outcomes.items())]
    lines += ["", "| series of the gateway | value |", "|---|---|"]
    lines += [f"| `{name.decode()}` | {float(value):,.0f} |" for name, value in SERIES.findall(text)]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run, write the figures down, and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--callers", type=int, default=16)
    options = parser.parse_args()
    report, before, after, text = asyncio.run(soak(options.minutes, options.callers))
    faults = verdict(report, before, after, options.callers)
    command = "python -m " + shlex.join(["benchmarks.soak", *sys.argv[1:]])
    result = shown(report, before, after, text, faults, command)
    save_page(RESULTS, result)
    print(result)
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
