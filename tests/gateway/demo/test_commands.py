"""Each simulated side runs alone, as containers run it: it waits, works, and stops when told to."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from asyncio.subprocess import PIPE, STDOUT, Process

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.cli import main
from gateway.demo.processes import free_port
from gateway.demo.users import wait_until_ready
from tests.pace import PATIENCE_SECONDS


async def _start(*arguments: str) -> Process:
    command = (sys.executable, "-m", "gateway.cli", "demo", *arguments)
    return await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=STDOUT)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_provider_stops_when_told_to(number: signal.Signals) -> None:
    """A container's stop and Ctrl-C both end it with status 0."""
    port = free_port()
    process = await _start("provider", "--port", str(port))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            await asyncio.sleep(0.05)
        process.send_signal(number)
        output = (await process.communicate())[0].decode()
    assert process.returncode == 0, output
    assert f"simulated provider on http://127.0.0.1:{port}/v1" in output


def test_a_taken_port_is_said_plainly(capsys: pytest.CaptureFixture[str]) -> None:
    """The provider names the address it could not have."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert main(["demo", "provider", "--port", str(port)]) == 1
        assert f"Cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err
        assert main(["demo", "--exit", "--port", str(port)]) == 2
        assert f"something listens on port {port} already" in capsys.readouterr().err


async def test_users_wait_for_a_gateway_then_ask_and_stop_when_told_to() -> None:
    """Started before the gateway, they begin once it is ready; SIGTERM ends them with status 0."""
    is_ready, asked = asyncio.Event(), asyncio.Event()

    async def ready(_: web.Request) -> web.Response:
        return web.Response(status=200 if is_ready.is_set() else 503)

    async def complete(_: web.Request) -> web.Response:
        assert is_ready.is_set()
        asked.set()
        return web.json_response({"id": "x", "choices": [{"message": {"content": "Hello."}}]})

    app = web.Application()
    app.router.add_get("/readyz", ready)
    app.router.add_post("/v1/chat/completions", complete)
    async with TestServer(app) as server, asyncio.timeout(PATIENCE_SECONDS):
        process = await _start("users", "--gateway", str(server.make_url("")), "--rate", "50")
        with pytest.raises(TimeoutError):
            await wait_until_ready(str(server.make_url("")).rstrip("/"), timeout_seconds=0.5)
        is_ready.set()
        await asked.wait()
        process.send_signal(signal.SIGTERM)
        output = (await process.communicate())[0].decode()
    assert process.returncode == 0, output
