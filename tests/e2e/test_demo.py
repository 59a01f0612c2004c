"""`llmpo demo` as a newcomer runs it: everything starts, a promotion is proved, everything stops."""

from __future__ import annotations

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.pace import PATIENCE_SECONDS

COMMAND = (sys.executable, "-m", "gateway.cli", "demo")


@asynccontextmanager
async def _demo(*arguments: str) -> AsyncIterator[Process]:
    """A demo that is over after the block, whatever happened in it."""
    process = await asyncio.create_subprocess_exec(*COMMAND, *arguments, stdout=PIPE, stderr=STDOUT)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            await process.communicate()


def _descendants(pid: int) -> set[int]:
    children = {
        int(child)
        for task in Path(f"/proc/{pid}/task").glob("*/children")
        for child in task.read_text().split()
    }
    return children.union(*map(_descendants, children))


def _alive(pids: set[int]) -> set[int]:
    return {pid for pid in pids if Path(f"/proc/{pid}").exists()}


async def _output_until(process: Process, sign: str) -> str:
    assert process.stdout is not None
    output = ""
    while sign not in output:
        line = await process.stdout.readline()
        assert line, f"ended before saying {sign!r}:\n{output}"
        output += line.decode()
    return output


async def test_the_demo_ends_with_a_verified_promotion_of_the_best_policy() -> None:
    """`--exit` gives status 0; the output says what was promoted, verified, and true."""
    async with _demo("--exit", "--limit", "500") as process, asyncio.timeout(PATIENCE_SECONDS):
        output = (await process.communicate())[0].decode()
    assert process.returncode == 0, output
    assert "stepwise was promoted" in output
    assert "ok  llmpo verify: confirmed" in output
    assert "The simulation agrees: stepwise truly is the best" in output


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_ctrl_c_stops_every_process() -> None:
    """An interrupted demo ends with status 130 and leaves nothing running."""
    async with _demo() as process, asyncio.timeout(PATIENCE_SECONDS):
        await _output_until(process, "comparisons")
        started = _descendants(process.pid)
        process.send_signal(signal.SIGINT)
        await process.communicate()
    assert process.returncode == 130
    assert len(started) >= 2
    async with asyncio.timeout(PATIENCE_SECONDS):  # killed processes take a moment to leave the table
        while _alive(started):
            await asyncio.sleep(0.05)


async def test_a_limit_that_is_too_short_is_a_failure() -> None:
    """`--exit` fails with a message if no promotion is verified in time."""
    async with _demo("--exit", "--limit", "1") as process, asyncio.timeout(PATIENCE_SECONDS):
        output = (await process.communicate())[0].decode()
    assert process.returncode == 1
    assert "error: No verified promotion after 1 s." in output.splitlines()
    assert "The last log lines of the gateway:" in output.splitlines()
