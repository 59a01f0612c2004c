"""Child processes that cannot outlive the demo; if one dies early, its last log lines are shown."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.errors import GatewayError

LAST_WORDS_LINES: Final = 15
STOP_SECONDS: Final = 10.0
PR_SET_PDEATHSIG: Final = 1
LOOPBACK: Final = "127.0.0.1"


class ChildDiedError(GatewayError):
    """A process of the demo ended by itself; the message carries its last log lines."""


@dataclass(frozen=True, slots=True)
class Child:
    """A running part of the demo."""

    name: str
    process: asyncio.subprocess.Process
    log: Path

    async def watch(self) -> None:
        """Wait until the process ends, which should not happen before it is stopped.

        Raises:
            ChildDiedError: When it ends.
        """
        status = await self.process.wait()
        raise ChildDiedError(
            f"The {self.name} ended with status {status}. Its last log lines:\n{self.last_words()}"
        )

    def last_words(self) -> str:
        """The end of its log, indented."""
        lines = self.log.read_text(errors="replace").splitlines()[-LAST_WORDS_LINES:]
        return "\n".join(f"  {line}" for line in lines) or "  (none)"


@asynccontextmanager
async def child(
    name: str, arguments: Sequence[str], *, directory: Path, environment: Mapping[str, str]
) -> AsyncIterator[Child]:
    """Run `llmpo ARGUMENTS` for the length of a `with` block; logs go to a file in `directory`."""
    log = directory / f"{name}.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "gateway.cli",
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=dict(environment),
            start_new_session=True,  # the demo itself handles Ctrl-C and stops the children in order
            preexec_fn=_die_with_parent,
        )
    try:
        yield Child(name, process, log)
    finally:
        await asyncio.shield(_stop(process))


def clean_environment(data_directory: Path) -> dict[str, str]:
    """This process's environment without the operator's own gateway settings, which the demo must not use."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("LLMPO_")}
    return {**ours, "LLMPO_DATA_DIR": str(data_directory)}


def free_port(wanted: int | None = None) -> int:
    """`wanted` if nothing listens there, otherwise a port that the system picks."""
    for port in (wanted, 0):
        if port is None:
            continue
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((LOOPBACK, port))
            return int(probe.getsockname()[1])
    raise OSError(f"no free port on {LOOPBACK}")


async def _stop(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        pass
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # it leads a session with all its own children
    await process.wait()


def _die_with_parent() -> None:
    """Make Linux end the child with its parent, however that ends. Elsewhere only a clean exit does so."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
