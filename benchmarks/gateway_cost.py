"""What a request costs: CPU of the server's whole process tree, with an experiment running.

    .venv/bin/python -m benchmarks.gateway_cost [--rounds N] [--requests N] [--connections N ...] [--no-peers]
                                                [--against PATH] [--starts N]

Other gateways (`peers`) are installed into a throw-away folder and take part in the same rounds; one that
cannot be installed or does not answer is reported as absent. CPU per request is user and system time of the
server and all its descendants (planner and store included), divided by the requests served: other work on the
machine changes it less than requests per second. Servers take turns within each round. The gateway runs as
operators run it (`llmpo serve`: metrics, authentication, the embedded store, an experiment on all traffic) on
one core, as the others do; provider and load generator share the other. Writes
benchmarks/results/gateway_cost.md, or the file named by `--output`.

`--against` compares this checkout with another one of this project instead of with peers: both gateways run
side by side, and which of them is asked first changes with every round. Two processes of one program can
differ by more than a tenth as long as they run, so no number of rounds tells small differences from chance:
`--starts` starts all of them anew, and then every start counts as one round, the median of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import uvloop

from benchmarks.cost_report import (
    COMPARED_AT,
    FLOOR,
    GATEWAY,
    KINDS,
    OTHER,
    PLAIN,
    Measured,
    Samples,
    Started,
    medians_of,
    report,
    report_against,
)
from benchmarks.load import Request, load
from benchmarks.pages import save_page
from benchmarks.peers import MODEL, PEERS, Peer, PeerError
from benchmarks.processes import ROOT, cpu_seconds, descendants, rss_mb, running
from gateway.config.api_keys import hash_key
from tests.servers import free_port, wait_until

CONNECTIONS = (1, 16, 64)
KEY = "benchmark-key"
ADMIN_KEY = "benchmark-admin-key"
AUTHORIZATION = (("authorization", f"Bearer {KEY}"),)
RESULTS = Path(__file__).parent / "results" / "gateway_cost.md"
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
    """Something that answers: a server's process and how it is asked.

    `share` is the share of the requests that it gets; it is below 1 for servers that are much slower.
    """

    name: str
    pid: int
    port: int
    model: str
    headers: tuple[tuple[str, str], ...] = ()
    share: float = 1.0

    def count(self, kind: str, requests: int, connections: int) -> int:
        """How many requests it gets in a round, `requests` being the others' whole answers."""
        count = requests * self.share / (STREAM_SHARE if kind == "stream" else 1)
        return max(int(count), 2 * connections)

    def request(self, kind: str) -> Request:
        """One question for all servers, but for the model's name."""
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


def is_answering(port: int, model: str, headers: tuple[tuple[str, str], ...] = AUTHORIZATION) -> bool:
    """Whether a request gets an answer."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions",
        json.dumps({"model": model, "messages": [{"role": "user", "content": "x"}]}).encode(),
        {"content-type": "application/json", **dict(headers)},
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


def measure(contestants: list[Contestant], rounds: int, requests: int, connections: list[int]) -> Measured:
    """All contestants in turn, `rounds` times, every other time in reverse; the first round only warms up."""
    samples: Measured = {}
    for number in range(rounds + 1):
        for kind in KINDS:
            for each in connections:
                for contestant in contestants[:: 1 if number % 2 else -1]:
                    count = contestant.count(kind, requests, each)
                    before = cpu_seconds(contestant.pid)
                    done = uvloop.run(load(contestant.request(kind), connections=each, requests=count))
                    used = cpu_seconds(contestant.pid) - before
                    if number:
                        samples.setdefault((contestant.name, kind, each), Samples()).add(used, done)
        print(f"round {number} of {rounds}", flush=True)
    return samples


class Arena:
    """All servers of a run, in one folder that goes away with them."""

    def __init__(self, resources: ExitStack) -> None:
        self._resources = resources
        self._folder = Path(resources.enter_context(tempfile.TemporaryDirectory()))
        self._provider_port = free_port()
        self._pids: dict[str, int] = {}
        self._seconds: dict[str, float] = {}
        self.contestants: list[Contestant] = []
        self.absent: dict[str, str] = {}

    def open(self) -> None:
        """Start the provider, the bare relay and the gateway, and wait until its experiment draws."""
        python, provider = sys.executable, str(self._provider_port)
        self._enter("provider, asked directly", [python, "-m", "benchmarks.canned_provider", provider], "x")
        port = free_port()
        self._enter(FLOOR, [python, "-m", "benchmarks.bare_relay", str(port), provider], "x", port)
        self.open_gateway(ROOT)

    def open_gateway(self, root: Path, suffix: str = "") -> None:
        """Start the gateway of a checkout, and let its plain model and its experiment take part."""
        config, port = self._folder / "gateway.yaml", free_port()
        provider, key, admin = self._provider_port, hash_key(KEY), hash_key(ADMIN_KEY)
        config.write_text(CONFIG.format(provider=provider, key=key, admin=admin))
        serve = [sys.executable, "-m", "gateway.cli", "serve", "--config", str(config), "--port", str(port)]
        environ = {"LLMPO_DATA_DIR": f"{self._folder}/data{suffix}", "LLMPO_LOG_LEVEL": "warning"}
        pid = self._enter(PLAIN + suffix, serve, "small", port, environ, AUTHORIZATION, root=root)
        wait_until(lambda: has_plan(port), "a plan", seconds=60)
        self.contestants.append(Contestant(GATEWAY + suffix, pid, port, "support", AUTHORIZATION))

    def invite(self) -> None:
        """Install, start and warm up all peers that can be installed."""
        for name, install in PEERS.items():
            port = free_port()
            try:
                peer = install(self._folder / name.partition(" ")[0].lower(), port, self._provider_port)
                self._warm_up(peer, port)
            except (PeerError, AssertionError, RuntimeError) as error:
                self.absent[name] = str(error)

    def started(self) -> dict[str, Started]:
        """Start-up times and memory, now."""
        return {
            name: Started(self._seconds[name], rss_mb(pid), sum(rss_mb(one) for one in descendants(pid)))
            for name, pid in self._pids.items()
        }

    def _warm_up(self, peer: Peer, port: int) -> None:
        self._enter(peer.name, peer.arguments, MODEL, port, peer.environ, peer.headers, peer.share)
        for kind in KINDS:
            request = self.contestants[-1].request(kind)
            uvloop.run(load(request, connections=COMPARED_AT, requests=peer.warm_up))

    def _enter(
        self,
        name: str,
        arguments: list[str],
        model: str,
        port: int | None = None,
        environ: dict[str, str] | None = None,
        headers: tuple[tuple[str, str], ...] = (),
        share: float = 1.0,
        root: Path = ROOT,
    ) -> int:
        """Start a server, wait for its first answer and let it take part."""
        port = port or self._provider_port
        core = 0 if port == self._provider_port else 1
        begun = time.perf_counter()
        pid = self._resources.enter_context(running(arguments, core, environ, root))
        wait_until(lambda: is_answering(port, model, headers), name, seconds=60)
        self._pids[name], self._seconds[name] = pid, time.perf_counter() - begun
        self.contestants.append(Contestant(name, pid, port, model, headers, share))
        return pid


def _one_start(options: argparse.Namespace) -> tuple[Measured, dict[str, Started], dict[str, str]]:
    with ExitStack() as resources:
        arena = Arena(resources)
        arena.open()
        if options.against is not None:
            arena.open_gateway(options.against.resolve(), OTHER)
        elif not options.no_peers:
            arena.invite()
        contestants = arena.contestants
        if options.against is not None:
            contestants = [each for each in contestants if each.headers == AUTHORIZATION]
        samples = measure(contestants, options.rounds, options.requests, options.connections)
        return samples, arena.started(), arena.absent


def main() -> None:
    """Start the servers, let them take turns, write the figures down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=2000, help="whole answers per measurement")
    parser.add_argument("--connections", type=int, nargs="+", default=list(CONNECTIONS))
    parser.add_argument("--no-peers", action="store_true", help="only this gateway")
    parser.add_argument("--against", type=Path, metavar="PATH", help="another checkout of this project")
    parser.add_argument("--starts", type=int, default=1, help="how often all servers are started")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    os.sched_setaffinity(0, {0})
    starts = [_one_start(options) for _ in range(options.starts)]
    samples, started, absent = starts[0]
    if options.starts > 1:
        samples = medians_of([each for each, *_ in starts])
    given = ["PATH" if each == str(options.against) else each for each in sys.argv[1:]]
    command, load1 = "python -m " + shlex.join(["benchmarks.gateway_cost", *given]), os.getloadavg()[0]
    if options.against is None:
        text = report(samples, started, absent, command, load1)
    else:
        text = report_against(samples, command, load1)
    save_page(options.output, text)
    print(text)


if __name__ == "__main__":
    main()
