"""A real browser that a test can tell what to do, over Chromium's DevTools protocol."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.gateway.whole import eventually

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--remote-debugging-port=0",
)


class Page:
    """A page of the browser."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)

    async def open(self, url: str) -> None:
        """Go to an address, and return once the page and its script are there."""
        await self._command("Page.navigate", url=url)
        await self.until(f"location.href.startsWith({url!r}) && document.readyState === 'complete'")

    async def run(self, script: str) -> Any:
        """The value of an expression, awaited where it is a promise."""
        answer = await self._command(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def until(self, condition: str) -> None:
        """Return once an expression is true."""

        async def is_true() -> bool:
            return bool(await self.run(condition))

        await eventually(is_true, condition)

    async def _command(self, method: str, **parameters: Any) -> Any:
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            message = await self._socket.receive_json()
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]


@asynccontextmanager
async def browser_page(folder: Path, session: aiohttp.ClientSession) -> AsyncIterator[Page]:
    """An empty page of a browser that keeps its profile in `folder`."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs chromium")
    port_file = folder / "DevToolsActivePort"
    process = subprocess.Popen(  # noqa: ASYNC220 - takes milliseconds, and outlives the loop
        [chromium, *_FLAGS, f"--user-data-dir={folder}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    async def listens() -> bool:
        assert process.poll() is None
        return port_file.exists() and "\n" in port_file.read_text()

    try:
        await eventually(listens, "the browser listening")
        port = port_file.read_text().splitlines()[0]
        async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
            address = next(
                page["webSocketDebuggerUrl"] for page in await answer.json() if page["type"] == "page"
            )
        async with session.ws_connect(address, max_msg_size=0) as socket:
            yield Page(socket)
    finally:
        process.kill()
        await asyncio.to_thread(process.wait, 30)
