"""The least a Python gateway can do: read a request, pass it on, pass the answer back. A floor.

    python -m benchmarks.bare_relay PORT PROVIDER_PORT

It uses the same server and client libraries as the gateway and nothing else of the gateway: no checks, no
experiment and no metrics. It does not notice callers who leave.
"""

from __future__ import annotations

import socket
import sys

import aiohttp
import uvicorn
import uvloop
from starlette.types import Receive, Scope, Send

from gateway.running.memory import settle_memory


class BareRelay:
    """An ASGI application."""

    def __init__(self, provider_port: int) -> None:
        self._url = f"http://127.0.0.1:{provider_port}/v1/chat/completions"
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Relay one request."""
        body = (await receive())["body"]
        async with self._session.post(
            self._url, data=body, headers={"content-type": "application/json"}
        ) as response:
            kind = response.headers["content-type"].encode()
            headers = [(b"content-type", kind)]
            if kind == b"application/json":
                answer = await response.read()
                headers.append((b"content-length", str(len(answer)).encode()))
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                await send({"type": "http.response.body", "body": answer})
                return
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            while chunk := await response.content.readany():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})


async def serve(port: int, provider_port: int) -> None:
    """Serve until a signal stops the process."""
    listener = socket.create_server(("127.0.0.1", port), backlog=1024)
    config = uvicorn.Config(
        BareRelay(provider_port),
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
    )
    settle_memory()
    await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2])))
