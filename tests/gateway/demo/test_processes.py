"""Parts of the demo end with it, and say why when they end before."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.demo.processes import ChildDiedError, child, clean_environment, free_port
from tests.pace import PATIENCE_SECONDS


async def test_a_child_that_dies_says_its_last_words(tmp_path: Path) -> None:
    """The error names the part, its status and what it logged last."""
    environment = clean_environment(tmp_path / "data")
    missing = tmp_path / "missing.yaml"
    serve = ["serve", "--config", str(missing)]
    async with child("gateway", serve, directory=tmp_path, environment=environment) as part:
        with pytest.raises(ChildDiedError, match=r"The gateway ended with status [12]") as death:
            await part.watch()
    assert "missing.yaml" in str(death.value)


async def test_a_child_is_gone_after_its_block(tmp_path: Path) -> None:
    """Leaving the block ends the process, even when an error does the leaving."""
    arguments = ["demo", "provider", "--port", str(free_port())]
    with pytest.raises(ZeroDivisionError):
        async with child("provider", arguments, directory=tmp_path, environment={}) as part:
            raise ZeroDivisionError
    assert part.process.returncode is not None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
async def test_a_child_dies_with_a_killed_parent(tmp_path: Path) -> None:
    """Even kill -9 of the demo leaves no process behind."""
    port = free_port()
    program = f"""
import asyncio, os, pathlib, signal
from gateway.demo.processes import child
from gateway.demo.users import answers_ok
import aiohttp
async def main():
    arguments = ["demo", "provider", "--port", "{port}"]
    async with (
        child("provider", arguments, directory=pathlib.Path({str(tmp_path)!r}), environment=os.environ),
        aiohttp.ClientSession() as session,
    ):
        while not await answers_ok(session, "http://127.0.0.1:{port}/healthz"):
            await asyncio.sleep(0.05)
        os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    parent = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", program], check=False)
    assert parent.returncode == -9
    async with asyncio.timeout(PATIENCE_SECONDS):
        while _listens(port):
            await asyncio.sleep(0.05)


def test_the_operators_own_settings_do_not_reach_the_demo(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A demo never touches the Redis or the data directory a real gateway uses."""
    monkeypatch.setenv("LLMPO_REDIS_URL", "redis://production:6379")
    environment = clean_environment(tmp_path)
    assert {name for name in environment if name.startswith("LLMPO_")} == {"LLMPO_DATA_DIR"}


def test_a_taken_port_is_replaced_by_a_free_one() -> None:
    """The usual port may be in use."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        taken = listener.getsockname()[1]
        assert free_port(taken) != taken


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
