"""How many reports a gateway acknowledges, and how much memory the store needs for what they come to.

    .venv/bin/python -m benchmarks.feedback [--rounds N] [--reports N] [--against PATH | --replica]

`llmpo serve` runs on one core with a redis-server that writes an append-only file. Clients on the other core
report thumbs on answers of an experiment, each of another unit and another user: one report a request, and a
hundred. CPU is user and system time; other work on the machine changes it less than reports per second.
Memory is what the server uses more after a round, by comparison, votes and units' memory included. Writes
benchmarks/results/feedback.md, or confirming.md with `--replica`, or the file named by `--output`.

`--against` runs the gateway of another checkout of this project beside this one, each with a server of its
own; which of them is asked first changes with every round. `--replica` runs two gateways of this checkout,
each with a primary and a replica of its own: one acknowledges a report once the replica has confirmed it.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import json
import os
import platform
import random
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.cost_report import OTHER
from benchmarks.pages import save_page
from benchmarks.processes import ROOT, cpu_seconds, running
from benchmarks.spreads import rounds_table
from gateway.experiments.coins import Coin
from gateway.experiments.response_ids import UNIT_BYTES, Assignment, ResponseIds
from gateway.experiments.sealing_key import SealingKeyHolder, SealingKeys, key_from_secret
from gateway.experiments.served import BUILD_BYTES
from policy_store.connect import connect
from policy_store.store import PolicyStore
from tests.servers import SERVERS, ReplicatedServer, ServerGroup, free_port, wait_until

SEALED_WITH: Final = "benchmark-secret-of-thirty-two-characters"
CONNECTIONS: Final = 32
BATCH: Final = 100
HEAD: Final = "POST /v1/feedback HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
RESULTS: Final = Path(__file__).parent / "results"
CONFIRMED: Final = " (confirmed by a replica)"
CONFIG: Final = """
model_list:
  - model_name: small
    litellm_params: {model: openai/gpt-4o-mini, api_base: "http://127.0.0.1:9/v1", api_key: sk-x}
experiments:
  support:
    incumbent: plain
    policies: {plain: {model: small}, warm: {model: small, system: "Be warm."}}
    promotion: {min_comparisons: 100000000}
"""
FIGURES: Final = {
    "rate": "reports acknowledged per second",
    "ms": "time of a request (ms, mean)",
    "cpu": "CPU of the gateway for a report (us)",
    "per_core": "reports per second of one core of the gateway",
    "store": "CPU of the server for a report (us)",
    "bytes": "memory of the server for a comparison (bytes)",
}


def sealed_ids(count: int, rng: random.Random) -> Iterator[str]:
    """Ids of answers to units of their own, as the gateway gives them."""
    keys = SealingKeyHolder(SealingKeys(key_from_secret(SEALED_WITH)))
    ids = ResponseIds(keys, lambda: ["support"])
    now = int(time.time())
    for number in range(count):
        assignment = Assignment(
            *("support", 1, 0, 1, "matched", number % 2, 1, rng.randbytes(UNIT_BYTES), now + 86_400, now),
            voter=rng.randbytes(8),
            served=b"\x01" * BUILD_BYTES + b"\x02" * BUILD_BYTES,
            coin=Coin.FAIR,
        )
        yield ids.seal(assignment)


def bodies(count: int, size: int, rng: random.Random) -> list[bytes]:
    """The requests for so many reports, so many in each."""
    said = [{"id": each, "signal": "thumb", "value": rng.random() < 0.5} for each in sealed_ids(count, rng)]
    if size == 1:
        return [json.dumps(each).encode() for each in said]
    return [json.dumps({"reports": said[at : at + size]}).encode() for at in range(0, count, size)]


async def report_all(port: int, requests: list[bytes], headers: str = "") -> list[Any]:
    """Send all of them over a few connections, with further header lines; the replies."""
    waiting, replies = iter(requests), list[Any]()

    async def work() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for body in waiting:
            head = f"{HEAD}{headers}content-length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            answer = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(answer.partition(b"content-length:")[2].partition(b"\r\n")[0])
            replies.append(json.loads(await reader.readexactly(length)))
        writer.close()

    await asyncio.gather(*(work() for _ in range(CONNECTIONS)))
    return replies


def check(replies: list[Any], count: int) -> None:
    """Every report was acknowledged as new."""
    results = [each for reply in replies for each in reply.get("results", [reply])]
    others = [each for each in results if each.get("status") not in ("counted", "pending")]
    taken = len(results) - len(others)
    if taken != count:
        raise AssertionError(f"{taken} of {count} reports were taken; the others: {others[:2]}")


async def stand(url: str) -> tuple[int, float, int]:
    """Bytes and CPU seconds that the server used so far, and comparisons counted."""
    redis = connect(url)
    memory, cpu = await redis.info("memory"), await redis.info("cpu")
    counts = await PolicyStore(redis).counts("support", 1)
    await redis.aclose()
    return memory["used_memory"], cpu["used_cpu_user"] + cpu["used_cpu_sys"], counts.comparisons


def measured(url: str, port: int, pid: int, requests: list[bytes], count: int) -> dict[str, float]:
    """The figures of one round."""
    memory, store_cpu, comparisons = asyncio.run(stand(url))
    cpu, began = cpu_seconds(pid), time.perf_counter()
    replies = asyncio.run(report_all(port, requests))
    seconds, used = time.perf_counter() - began, cpu_seconds(pid) - cpu
    check(replies, count)
    memory_after, store_cpu_after, comparisons_after = asyncio.run(stand(url))
    return {
        "rate": count / seconds,
        "ms": seconds / len(requests) * min(CONNECTIONS, len(requests)) * 1000,
        "cpu": used / count * 1e6,
        "per_core": count / used,
        "store": (store_cpu_after - store_cpu) / count * 1e6,
        "bytes": (memory_after - memory) / (comparisons_after - comparisons),
    }


def is_planned(url: str) -> bool:
    """Whether the experiment is registered and planned."""

    async def look() -> bool:
        redis = connect(url)
        try:
            return (await PolicyStore(redis).view("support")).plan is not None
        except Exception:  # noqa: BLE001 - not yet
            return False
        finally:
            await redis.aclose()

    return asyncio.run(look())


@dataclass(frozen=True)
class Contestant:
    """A gateway: what its name adds to a column, its server's address, its port and its process."""

    suffix: str
    url: str
    port: int
    pid: int


@contextmanager
def serving(
    root: Path, suffix: str, folder: Path, server: ServerGroup, confirming: int = 0
) -> Iterator[Contestant]:
    """The gateway of a checkout with a server of its own, once its experiment is planned."""
    port, config = free_port(), folder / "gateway.yaml"
    config.write_text(CONFIG)
    serve = [sys.executable, "-m", "gateway.cli", "serve", "--config", str(config), "--port", str(port)]
    environ = {
        "LLMPO_REDIS_URL": server.url,
        "LLMPO_TOKEN_SECRET": SEALED_WITH,
        "LLMPO_LOG_LEVEL": "warning",
        **({"LLMPO_STORE_CONFIRMING_REPLICAS": str(confirming)} if confirming else {}),
    }
    server.start()
    try:
        with running(serve, 1, environ, root) as pid:
            wait_until(lambda: is_planned(server.url), "a plan", seconds=120)
            yield Contestant(suffix, server.url, port, pid)
    finally:
        server.stop()


@contextmanager
def contestants_of(folder: Path, against: Path | None, *, has_replica: bool) -> Iterator[list[Contestant]]:
    """The gateways that are compared, or the one that is measured alone."""
    with ExitStack() as resources:

        def enter(number: int, root: Path, suffix: str, confirming: int = 0) -> Contestant:
            own = folder / str(number)
            own.mkdir()
            store = own / "store"
            server = ReplicatedServer(store) if has_replica else SERVERS["redis"](store)
            return resources.enter_context(serving(root, suffix, own, server, confirming))

        found = [enter(0, ROOT, "")]
        if has_replica:
            found.append(enter(1, ROOT, CONFIRMED, 1))
        elif against is not None:
            found.append(enter(1, against.resolve(), OTHER))
        yield found


def run(
    rounds: int, count: int, against: Path | None, *, has_replica: bool
) -> dict[str, list[dict[str, float]]]:
    """All rounds, one report a request and many in turn; the first round only warms up."""
    rng, found = random.Random(1), dict[str, list[dict[str, float]]]()
    with ExitStack() as resources:
        folder = Path(resources.enter_context(tempfile.TemporaryDirectory()))
        contestants = resources.enter_context(contestants_of(folder, against, has_replica=has_replica))
        for number in range(rounds + 1):
            for name, size in (("one a request", 1), (f"{BATCH} a request", BATCH)):
                for each in contestants[:: 1 if number % 2 else -1]:
                    requests = bodies(count, size, rng)
                    try:
                        figures = measured(each.url, each.port, each.pid, requests, count)
                    except AssertionError as error:
                        error.add_note(f"{name}{each.suffix}, round {number}")
                        raise
                    if number:
                        found.setdefault(name + each.suffix, []).append(figures)
    return dict(sorted(found.items(), key=lambda item: item[0].endswith((OTHER, CONFIRMED))))


def main() -> None:
    """Measure, print, and keep the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--reports", type=int, default=10_000)
    parser.add_argument("--against", type=Path, metavar="PATH", help="another checkout of this project")
    parser.add_argument("--replica", action="store_true", help="with and without a replica's confirmation")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    output = options.output or RESULTS / ("confirming.md" if options.replica else "feedback.md")
    os.sched_setaffinity(0, {0})
    found = run(options.rounds, options.reports, options.against, has_replica=options.replica)
    ours = [rounds for name, rounds in found.items() if OTHER not in name]
    million = statistics.median(each["bytes"] for rounds in ours for each in rounds) / 1e3
    figures = rounds_table(FIGURES, found)
    given = ["PATH" if each == str(options.against) else each for each in sys.argv[1:]]
    command = shlex.join(["python", "-m", "benchmarks.feedback", *given])
    save_page(
        output,
        f"# What reports cost\n\n"
        f"{dt.datetime.now(dt.UTC):%Y-%m-%d}, `{command}`, Python {platform.python_version()}, "
        f"{os.cpu_count()} cores shared by gateway, server, clients and other work (load "
        f"{os.getloadavg()[0]:.1f}). Median (smallest to largest) of {options.rounds} rounds of "
        f"{options.reports:,} reports, {CONNECTIONS} connections.\n\n"
        f"{figures}\n\n"
        f"A million comparisons of outcomes, each of two units and two users, take {million:,.1f} GB while "
        "their units are remembered (`feedback.window` and an hour). Afterwards the log and the votes of "
        "each user remain.\n",
    )
    print(figures)


if __name__ == "__main__":
    main()
