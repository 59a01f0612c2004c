"""`llmpo serve` as a real process: started, killed and started again like an operator's.

Once it listens a test talks to it through `whole.Whole`, as to a gateway in its own process.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import aiohttp

from tests.gateway.whole import Condition, Whole, eventually
from tests.pace import PATIENCE_SECONDS

AUTHORITY: Final = Path(__file__).parents[1] / "data" / "authority.pem"
"""The only authority that processes of tests trust: reading a system's takes a tenth of their start."""

_ADDRESS = re.compile(r"http://[\w.\[\]:]+")


class Served:
    """A gateway process. Its log is in `folder`."""

    def __init__(self, folder: Path, config: Mapping[str, Any], session: aiohttp.ClientSession) -> None:
        self.folder = folder
        self._session = session
        self._file = folder / "gateway.yaml"
        self.write(config)
        self._log = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None

    def write(self, config: Mapping[str, Any]) -> None:
        """Put another configuration into its file."""
        self._file.write_text(json.dumps(config))  # JSON is YAML

    def hang_up(self) -> None:
        """Send the signal after which it reads its file anew."""
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)

    async def start(self, *options: str, port: int = 0, **settings: str) -> Whole:
        """Start it, and return once it listens."""
        self._log.write_bytes(b"")
        ours = {name: value for name, value in os.environ.items() if not name.startswith("LLMPO_")}
        environment = {
            **ours,
            "LLMPO_DATA_DIR": str(self.folder / "data"),
            "LLMPO_LOG_JSON": "true",
            "LLMPO_PLAN_INTERVAL_SECONDS": "0.05",
            "LLMPO_REFRESH_SECONDS": "0.05",
            "SSL_CERT_FILE": str(AUTHORITY),
            **settings,
        }
        command = [sys.executable, "-m", "gateway.cli", "serve", "--config", str(self._file)]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: ASYNC220 - takes milliseconds, and outlives the loop
                [*command, "--port", str(port), *options], env=environment, stdout=log, stderr=log
            )
        await self.eventually(lambda: self.has_told("listening"), "the gateway listening")
        return Whole(self.address, self._session, check=self.check)

    @property
    def address(self) -> str:
        """Where it listens."""
        lines = [line for line in self.events if line.get("event") == "listening"]
        return str(lines[0]["address"])

    @property
    def events(self) -> list[dict[str, Any]]:
        """Its log."""
        lines = self._log.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    @property
    def text(self) -> str:
        """Its log as text."""
        return self._log.read_text()

    def has_told(self, event: str, times: int = 1) -> bool:
        """Whether its log has so many lines of an event."""
        return sum(line.get("event") == event for line in self.events) >= times

    def check(self) -> None:
        """Fail with its log where it has ended."""
        assert self.process is not None
        status = self.process.poll()
        assert status is None, f"The gateway has ended with {status}:\n{self.text}"

    async def eventually(self, is_true: Condition, what: str) -> None:
        """Return as soon as the condition holds; fail at once where the gateway has ended meanwhile."""
        await eventually(is_true, what, check=self.check)

    async def kill(self) -> None:
        """End it as a crash would."""
        await self.end(signal.SIGKILL)

    async def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for its end; its status."""
        assert self.process is not None
        self.process.send_signal(number)
        return await asyncio.to_thread(self.process.wait, PATIENCE_SECONDS)

    def clean_up(self) -> None:
        """Leave nothing running."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
