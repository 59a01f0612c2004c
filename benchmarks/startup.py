"""Time from starting `llmpo serve` to its first answer, by an experiment on the embedded store.

    .venv/bin/python -m benchmarks.startup [--runs N]

Each run starts the command as an operator does, on an empty data directory, asks for a chat completion until
one is answered, and ends the process. The program is copied and compiled first, so that its bytecode exists
and this tree stays as it is. The start is also measured without bytecode of the program, but with that of its
libraries. CPU is user and system time of the process tree until the first answer: a busy machine changes it
less than the time.
Writes benchmarks/results/startup.{md,json}.
"""

from __future__ import annotations

import argparse
import compileall
import datetime as dt
import http.client
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.gateway_cost import CONFIG, KEY, cpu_seconds
from benchmarks.pages import save_page
from benchmarks.spreads import spread
from gateway.config.api_keys import hash_key
from tests.servers import free_port, wait_until

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
LIMIT_SECONDS = 1.5
QUESTION = json.dumps({"model": "support", "messages": [{"role": "user", "content": "Hello?"}]}).encode()
HEADERS = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
STARTED_LATE_SECONDS = 60.0


@contextmanager
def provider() -> Iterator[int]:
    """The port of a provider."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.canned_provider", str(port)], cwd=ROOT)
    try:
        wait_until(lambda: _answers(port, "/v1/chat/completions"), "the provider")
        yield port
    finally:
        process.kill()
        process.wait()


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=STARTED_LATE_SECONDS)
    try:
        connection.request("POST", path, QUESTION, HEADERS)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def copied(folder: Path, *, has_bytecode: bool) -> Path:
    """A copy of the program, with bytecode or without."""
    for package in ("gateway", "policy_store"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    if has_bytecode:
        compileall.compile_dir(folder, quiet=1)
    return folder


def first_answer(program: Path, folder: Path, provider_port: int) -> tuple[float, float]:
    """Seconds from starting the command to the first answer, and of CPU."""
    folder.mkdir()
    config = folder / "gateway.yaml"
    config.write_text(CONFIG.format(provider=provider_port, key=hash_key(KEY), admin=hash_key("admin")))
    port = free_port()
    environ = {name: value for name, value in os.environ.items() if not name.startswith("LLMPO_")}
    environ |= {
        "PYTHONPATH": str(program),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LLMPO_DATA_DIR": str(folder / "data"),
    }
    command = [sys.executable, "-m", "gateway.cli", "serve", "--config", str(config), "--port", str(port)]
    with (folder / "log").open("wb") as log:
        began = time.perf_counter()
        process = subprocess.Popen(command, cwd=program, env=environ, stdout=log, stderr=log)
        try:
            wait_until(
                lambda: _answers(port, "/v1/chat/completions"), "an answer", seconds=STARTED_LATE_SECONDS
            )
            seconds = time.perf_counter() - began
            return seconds, cpu_seconds(process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def report(result: dict[str, Any]) -> str:
    """The page for people."""
    origin = f"{result['date']}, `{result['command']}`, Python {result['python']}, {result['cores']} cores"
    rows = [
        " ".join(
            (
                "| yes |" if case["has_bytecode"] else "| no |",
                f"{spread(case['seconds'], 2)} | {spread(case['cpu_seconds'], 2)} |",
            )
        )
        for case in result["cases"]
    ]
    return f"""# From `llmpo serve` to the first answer

{origin} (load {result["load"]:.1f}, other work included).
Median (smallest to largest) of {result["runs"]} runs each: a process started, the embedded store on an empty
directory, an experiment with two policies, its first answer. The aim is {LIMIT_SECONDS:g} s with bytecode.

| bytecode of the program | seconds | CPU seconds |
|---|---|---|
{chr(10).join(rows)}
"""


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=10)
    runs = parser.parse_args().runs
    cases = []
    with tempfile.TemporaryDirectory() as made, provider() as provider_port:
        for has_bytecode in (True, False):
            program = copied(Path(made) / f"program-{has_bytecode}", has_bytecode=has_bytecode)
            measured = [
                first_answer(program, Path(made) / f"run-{has_bytecode}-{run}", provider_port)
                for run in range(runs)
            ]
            seconds, cpu = ([round(each, 4) for each in column] for column in zip(*measured, strict=True))
            cases.append({"has_bytecode": has_bytecode, "seconds": seconds, "cpu_seconds": cpu})
    result = {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "command": f"python -m benchmarks.startup --runs {runs}",
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "runs": runs,
        "cases": cases,
    }
    (RESULTS / "startup.json").write_text(json.dumps(result, indent=2) + "\n")
    save_page(RESULTS / "startup.md", report(result))
    print(report(result))


if __name__ == "__main__":
    main()
