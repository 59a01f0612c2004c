"""What a request costs: CPU of the server's whole process tree, with an experiment running.

    .venv/bin/python -m benchmarks.gateway_cost [--rounds N] [--requests N]

CPU per request is user and system time of the server and all its descendants (planner and store included),
divided by the requests served: unlike requests per second it survives a busy machine. Servers take turns
within each round. The gateway runs as operators run it (`llmpo serve`: metrics, authentication, the embedded
store, an experiment on all traffic) on one core; provider and load generator share the other. Writes
benchmarks/results/gateway_cost.md.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from benchmarks.load import Load, Request, load
from gateway.config.keys import hash_key
from tests.servers import free_port, wait_until

CONNECTIONS = (1, 16, 64)
KINDS = ("whole", "stream")
KEY = "benchmark-key"
ADMIN_KEY = "benchmark-admin-key"
AUTHORIZATION = (("authorization", f"Bearer {KEY}"),)
RESULTS = Path(__file__).parent / "results" / "gateway_cost.md"
ROOT = Path(__file__).parent.parent
STREAM_SHARE = 4  # a stream costs about as much as so many whole answers
CONFIG = """
model_list:
  - model_name: small
    litellm_params: {{model: openai/gpt-4o-mini, api_base: "http://127.0.0.1:{provider}/v1", api_key: sk-x}}
experiments:
  support:
    incumbent: plain
    policies:
      plain: {{model: small, system: "You answer questions about our product.", params: {{temperature: 0.2}}}}
      warm: {{model: small, system: "You answer questions about our product, warmly."}}
    traffic: {{share: 1.0, collect: matched}}
auth: {{client_keys: ["{key}"], admin_keys: ["{admin}"]}}
"""


@dataclass(frozen=True)
class Contestant:
    """Something that answers: a server's process and how it is asked."""

    name: str
    pid: int
    port: int
    model: str
    headers: tuple[tuple[str, str], ...] = ()

    def request(self, kind: str) -> Request:
        """The same question for all, but for the model's name."""
        question = {
            "model": self.model,
            "messages": [
                {"role": "system", "content": "You are a helpful assistant."},
                {"role": "user", "content": "What is the capital of France? Answer in one word, please."},
            ],
            "temperature": 0.7,
            "max_tokens": 64,
        }
        if kind == "stream":
            question["stream"] = True
        return Request(self.port, json.dumps(question).encode(), self.headers, kind == "stream")


@dataclass
class Samples:
    """What one contestant needed in each round, for one kind of request and number of connections."""

    cpu_ms: list[float] = field(default_factory=list)
    per_second: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)

    def add(self, cpu_seconds: float, done: Load) -> None:
        """One more round."""
        count = len(done.latencies)
        self.cpu_ms.append(1000 * cpu_seconds / count)
        self.per_second.append(count / done.seconds)
        self.p50_ms.append(1000 * done.latency(0.5))
        self.p99_ms.append(1000 * done.latency(0.99))


def descendants(pid: int) -> list[int]:
    """A process and all below it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of a process tree so far, those it has already waited for included."""
    ticks = 0
    for one in descendants(pid):
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        ticks += sum(int(value) for value in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def rss_mb(pid: int) -> float:
    """Resident memory of one process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextmanager
def running(arguments: list[str], core: int, environ: dict[str, str] | None = None) -> Iterator[int]:
    """A server pinned to one core; its pid."""
    process = subprocess.Popen(
        ["taskset", "-c", str(core), *arguments], cwd=ROOT, env={**os.environ, **(environ or {})}
    )
    try:
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def is_answering(port: int, model: str) -> bool:
    """Whether a request gets an answer."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions",
        json.dumps({"model": model, "messages": [{"role": "user", "content": "x"}]}).encode(),
        {"authorization": f"Bearer {KEY}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as reply:  # noqa: S310 - loopback
            return bool(reply.status == 200)
    except OSError:
        return False


def has_plan(port: int) -> bool:
    """Whether the experiment draws comparisons: until then only the incumbent answers."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/experiments/support", headers={"authorization": f"Bearer {ADMIN_KEY}"}
    )
    with urllib.request.urlopen(request, timeout=5) as reply:  # noqa: S310 - loopback
        return json.loads(reply.read())["plan"] is not None


def measure(contestants: list[Contestant], rounds: int, requests: int) -> dict[tuple[str, str, int], Samples]:
    """All contestants in turn, `rounds` times; the first round only warms up."""
    samples: dict[tuple[str, str, int], Samples] = {}
    for number in range(rounds + 1):
        for kind in KINDS:
            count = requests if kind == "whole" else requests // STREAM_SHARE
            for connections in CONNECTIONS:
                for contestant in contestants:
                    before = cpu_seconds(contestant.pid)
                    done = uvloop.run(load(contestant.request(kind), connections=connections, requests=count))
                    used = cpu_seconds(contestant.pid) - before
                    if number:
                        samples.setdefault((contestant.name, kind, connections), Samples()).add(used, done)
        print(f"round {number} of {rounds}", flush=True)
    return samples


def shown(values: list[float], digits: int) -> str:
    """Median and range."""
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def report(
    samples: dict[tuple[str, str, int], Samples],
    started: dict[str, tuple[float, float]],
    command: str,
    load1: float,
) -> str:
    """The results as Markdown."""
    lines = [
        "# What a request costs",
        "",
        f"{dt.datetime.now(dt.UTC).date()}, `{command}`, Python {platform.python_version()},",
        f"{os.cpu_count()} cores (load {load1:.1f}, other work included).",
        "Median (smallest to largest) over the rounds. CPU is user and system time of the server's process",
        "tree per request; streams have 32 events. The bare relay (same libraries, nothing but relaying)",
        "shows what the machine made of the least such a program can do in the same minutes.",
    ]
    for kind in KINDS:
        lines += [
            "",
            f"## {'Whole answers' if kind == 'whole' else 'Streams'}",
            "",
            "| server | connections | CPU ms a request | requests/s | p50 ms | p99 ms |",
            "|---|---|---|---|---|---|",
        ]
        for (name, of_kind, connections), sample in samples.items():
            if of_kind == kind:
                lines.append(
                    f"| {name} | {connections} | {shown(sample.cpu_ms, 3)} | {shown(sample.per_second, 0)} "
                    f"| {shown(sample.p50_ms, 2)} | {shown(sample.p99_ms, 2)} |"
                )
    lines += ["", "| server | first answer after s | RSS MB after the run |", "|---|---|---|"]
    lines += [f"| {name} | {seconds:.2f} | {rss:.0f} |" for name, (seconds, rss) in started.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Start the servers, let them take turns, write the figures down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=2000, help="whole answers per measurement")
    options = parser.parse_args()
    os.sched_setaffinity(0, {0})
    provider_port, gateway_port, relay_port = free_port(), free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "gateway.yaml"
        config.write_text(CONFIG.format(provider=provider_port, key=hash_key(KEY), admin=hash_key(ADMIN_KEY)))
        serve = [
            sys.executable,
            "-m",
            "gateway.cli",
            "serve",
            "--config",
            str(config),
            "--port",
            str(gateway_port),
        ]
        provide = [sys.executable, "-m", "benchmarks.canned_provider", str(provider_port)]
        bare = [sys.executable, "-m", "benchmarks.bare_relay", str(relay_port), str(provider_port)]
        environ = {"LLMPO_DATA_DIR": f"{folder}/data", "LLMPO_LOG_LEVEL": "warning"}
        with running(provide, 0) as provider:
            wait_until(lambda: is_answering(provider_port, "x"), "the provider", seconds=20)
            begun = time.perf_counter()
            with running(serve, 1, environ) as gateway, running(bare, 1) as relay:
                wait_until(lambda: is_answering(gateway_port, "support"), "the gateway", seconds=60)
                first_answer = time.perf_counter() - begun
                wait_until(lambda: has_plan(gateway_port), "a plan", seconds=60)
                wait_until(lambda: is_answering(relay_port, "x"), "the bare relay", seconds=20)
                contestants = [
                    Contestant("provider, asked directly", provider, provider_port, "x"),
                    Contestant("bare Python relay", relay, relay_port, "x"),
                    Contestant("gateway, plain model", gateway, gateway_port, "small", AUTHORIZATION),
                    Contestant("gateway, active experiment", gateway, gateway_port, "support", AUTHORIZATION),
                ]
                samples = measure(contestants, options.rounds, options.requests)
                started = {"gateway": (first_answer, rss_mb(gateway))}
    command = "python -m " + shlex.join(["benchmarks.gateway_cost", *sys.argv[1:]])
    text = report(samples, started, command, os.getloadavg()[0])
    RESULTS.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
