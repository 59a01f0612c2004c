"""What a request costs in instructions: those of the server's main process in user space, by callgrind.

    .venv/bin/python -m benchmarks.instructions [--against PATH] [--requests N] [--rounds N] [--output FILE]

Other work on the machine changes the CPU time of a request by more than a change of the code does, but hardly
the number of instructions. The gateway runs as operators run it (`llmpo serve`, an experiment on all traffic,
requests over a socket), but under Valgrind, which counts. An idle server works too, for instance on its
snapshots; what it needs in the time of the requests is subtracted. That differs from one time to the next, so
the more requests, the smaller the differences that can be told from chance: the range shows it.

Left out are the kernel's work (sockets: about a third of a request's CPU time), the processes of the planner
and of the store, and what cannot be seen in a count, such as misses of caches. Requests for models come one
after the other, so the steps of several are never served in one turn of the loop; reports come over 32
connections. `gateway_cost` and `feedback` measure all of that.

Needs the program `valgrind`. Writes benchmarks/results/instructions.md.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import uvloop

from benchmarks.cost_report import GATEWAY, KINDS, PLAIN, heading
from benchmarks.feedback import SEALED_WITH, bodies, check, report_all
from benchmarks.gateway_cost import (
    ADMIN_KEY,
    AUTHORIZATION,
    CONFIG,
    KEY,
    Contestant,
    has_plan,
    is_answering,
)
from benchmarks.load import Request, load
from benchmarks.pages import save_page
from benchmarks.processes import ROOT, running
from benchmarks.spreads import spread
from gateway.config.api_keys import hash_key
from tests.servers import free_port, wait_until

RESULTS: Final = Path(__file__).parent / "results" / "instructions.md"
MODELS: Final = {PLAIN: "small", GATEWAY: "support"}
REPORTS: Final = "feedback", "one a request"
WARM_UP: Final = 40
PATIENCE_SECONDS: Final = 600.0
# A server under Valgrind is slower by a factor of fifty, so what happens by the clock happens less often.
SLOW: Final = {
    "PYTHONHASHSEED": "0",
    "LLMPO_LOG_LEVEL": "warning",
    "LLMPO_STORE_TIMEOUT_SECONDS": "60",
    "LLMPO_REFRESH_SECONDS": "5",
    "LLMPO_PLAN_INTERVAL_SECONDS": "5",
    "LLMPO_LEASE_SECONDS": "600",
    "LLMPO_TOKEN_SECRET": SEALED_WITH,
}
_TOTALS: Final = re.compile(r"^totals: (\d+)$", re.MULTILINE)

# Thousands of instructions a request, by model and kind, one figure for each round.
Counts = dict[tuple[str, str], list[float]]
Work = Callable[[int], Coroutine[Any, Any, object]]
"""Has so many requests answered."""


class Counter:
    """Counts what one process under callgrind executes.

    Args:
        pid: The process.
        folder: Where it writes its counts.
    """

    def __init__(self, pid: int, folder: Path) -> None:
        self._pid = pid
        self._folder = folder

    def begin(self) -> None:
        """Begin to count; until then the process is faster."""
        self._control("--instr=on")

    def since(self) -> int:
        """The instructions since the last call."""
        self._control("--dump")
        newest = max(self._folder.glob(f"counts.{self._pid}.*"), key=lambda path: int(path.suffix[1:]))
        found = _TOTALS.search(newest.read_text())
        assert found is not None
        return int(found[1])

    def _control(self, option: str) -> None:
        command = ["callgrind_control", option, str(self._pid)]
        subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE_SECONDS)


@contextmanager
def counted(root: Path, provider: int) -> Iterator[tuple[int, Counter]]:
    """The gateway of a checkout whose experiment draws: its port, and the counter of its instructions."""
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        config = folder / "gateway.yaml"
        config.write_text(
            CONFIG.format(provider=provider, key=hash_key(KEY), admin=hash_key(ADMIN_KEY)), encoding="utf-8"
        )
        counting = ("--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={folder}/counts.%p")
        serve = ("-m", "gateway.cli", "serve", "--config", str(config), "--port", str(port))
        command = ["valgrind", "-q", *counting, sys.executable, *serve]
        environ = {**SLOW, "LLMPO_DATA_DIR": str(folder / "data")}
        with running(command, 1, environ, root) as pid:
            wait_until(lambda: is_answering(port, "small"), "an answer", seconds=PATIENCE_SECONDS)
            wait_until(lambda: has_plan(port), "a plan", seconds=PATIENCE_SECONDS)
            yield port, Counter(pid, folder)


def works(port: int) -> Iterator[tuple[tuple[str, str], Work]]:
    """What the gateway is asked, by its row of the table."""
    for name, model in MODELS.items():
        contestant = Contestant(name, 0, port, model, AUTHORIZATION)
        for kind in KINDS:
            yield (name, kind), partial(_ask, contestant.request(kind))
    yield REPORTS, partial(_report, port, random.Random(1))


async def _ask(request: Request, count: int) -> None:
    await load(request, connections=1, requests=count)


async def _report(port: int, rng: random.Random, count: int) -> None:
    headers = "".join(f"{name}: {value}\r\n" for name, value in AUTHORIZATION)
    check(await report_all(port, bodies(count, 1, rng), headers), count)


def measure(root: Path, provider: int, requests: int, rounds: int) -> Counts:
    """What requests cost in a checkout."""
    counts: Counts = {}
    with counted(root, provider) as (port, counter):
        counter.begin()
        asked = dict(works(port))
        for number in range(rounds + 1):  # the first one only warms up
            for row, work in asked.items():
                count = requests if number else WARM_UP
                counter.since()
                begun = time.perf_counter()
                uvloop.run(work(count))
                seconds, busy = time.perf_counter() - begun, counter.since()
                if number:
                    time.sleep(seconds)
                    each = (busy - counter.since()) / count / 1000
                    counts.setdefault(row, []).append(each)
                    print(f"{', '.join(row)}: {each:.0f}", flush=True)
    return counts


def report(ours: Counts, others: Counts | None, command: str) -> str:
    """The figures as Markdown."""
    lines = [
        *heading("What a request costs in instructions", command, os.getloadavg()[0]),
        "Thousands of instructions that the gateway's main process executes in user space for one request,",
        "median (smallest to largest) over the rounds; streams have 32 events. A ratio is one of medians.",
        "The module's docstring says what is left out.",
        "",
        "| asked | answer | this checkout | the other one | ratio |",
        "|---|---|---|---|---|",
    ]
    for (name, kind), mine in ours.items():
        theirs = None if others is None else others[name, kind]
        ratio = "" if theirs is None else f"{statistics.median(mine) / statistics.median(theirs):.3f}"
        cells = (name, kind, spread(mine, 0), "" if theirs is None else spread(theirs, 0), ratio)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Count in one checkout or in two, and write the figures down."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=100, help="in each round, of each kind")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against", type=Path, metavar="PATH", help="another checkout of this project")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    provider = free_port()
    with running([sys.executable, "-m", "benchmarks.canned_provider", str(provider)], 0):
        wait_until(lambda: is_answering(provider, "x"), "the provider", seconds=60)
        ours = measure(ROOT, provider, options.requests, options.rounds)
        others = None
        if options.against is not None:
            print("the other checkout:", flush=True)
            others = measure(options.against.resolve(), provider, options.requests, options.rounds)
    given = ["PATH" if each == str(options.against) else each for each in sys.argv[1:]]
    text = report(ours, others, "python -m " + shlex.join(["benchmarks.instructions", *given]))
    save_page(options.output, text)
    print(text)


if __name__ == "__main__":
    main()
