"""Real servers for tests: each can be killed, frozen and started again on the data it left."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from policy_store.connect import EmbeddedValkey
from tests.pace import PATIENCE_SECONDS


def free_port() -> int:
    """A loopback TCP port nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(is_true: Callable[[], bool], what: str, *, seconds: float = PATIENCE_SECONDS) -> None:
    """Return as soon as the condition holds; fail saying what never happened."""
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, f"still waiting after {seconds} s: {what}"
        time.sleep(0.005)


class StoreServer(Protocol):
    """What the tests do with a server, whichever it is."""

    url: str

    def start(self) -> None:
        """Start, or start again after `kill`, and return once it accepts connections."""

    def kill(self) -> None:
        """End it as a crash would."""

    def freeze(self) -> None:
        """Stop it without closing anything."""

    def thaw(self) -> None:
        """Let a frozen one go on."""

    def stop(self) -> None:
        """End it."""


class RedisServer:
    """`redis-server` on a free loopback port, with an append-only file."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("redis-server") is None:
            raise RuntimeError("redis-server is missing; `make setup` installs it.")
        self._folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, or start again on the data that is there."""
        self._folder.mkdir(parents=True, exist_ok=True)
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder)]
        options += ["--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--loglevel", "warning"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(["redis-server", *options], stdout=log, stderr=log)
        wait_until(self._accepts, f"redis-server on port {self.port}")

    def kill(self) -> None:
        """End it as a crash would."""
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """Stop it without closing anything."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen one go on."""
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it."""
        self.thaw()
        self._process.terminate()
        self._process.wait()

    def _accepts(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0


class EmbeddedServer:
    """The embedded Valkey; started again after `kill` by its own supervision."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._valkey = EmbeddedValkey()
        self._killed: int | None = None
        self.url = ""

    def start(self) -> None:
        """Start, or start again on the data that is there."""
        if self._killed is None:
            self.url = self._valkey.start(self._folder)
        wait_until(lambda: self._valkey.pid not in {None, self._killed}, "the embedded server to be back")

    def kill(self) -> None:
        """End it as a crash would."""
        self._killed = self._valkey.pid
        os.kill(self._killed, signal.SIGKILL)

    def freeze(self) -> None:
        """Stop it without closing anything."""
        os.kill(self._valkey.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen one go on."""
        os.kill(self._valkey.pid, signal.SIGCONT)

    def stop(self) -> None:
        """End it."""
        self._valkey.stop()


SERVERS: dict[str, Callable[[Path], StoreServer]] = {"embedded": EmbeddedServer, "redis": RedisServer}
