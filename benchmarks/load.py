"""A load generator that costs less than the server it loads: it repeats one request on N connections."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import cast


@dataclass(frozen=True)
class Request:
    """What is sent. `is_stream` tells how the end of the answer is recognised."""

    port: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    is_stream: bool = False
    path: str = "/v1/chat/completions"

    def encoded(self) -> bytes:
        """The bytes on the wire."""
        extra = "".join(f"{name}: {value}\r\n" for name, value in self.headers)
        head = (
            f"POST {self.path} HTTP/1.1\r\nhost: 127.0.0.1:{self.port}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(self.body)}\r\n{extra}\r\n"
        )
        return head.encode() + self.body


@dataclass(frozen=True)
class Load:
    """What came back. Latencies in seconds, sorted."""

    seconds: float
    latencies: list[float]

    def latency(self, quantile: float) -> float:
        """A quantile of the latencies, in seconds."""
        return self.latencies[min(len(self.latencies) - 1, int(quantile * len(self.latencies)))]


class _Connection(asyncio.Protocol):
    def __init__(self, request: Request, budget: list[int], done: asyncio.Future[None]) -> None:
        self._request = request
        self._bytes = request.encoded()
        self._budget = budget
        self._done = done
        self._received = b""
        self._length = -1
        self._sent_at = 0.0
        self.latencies: list[float] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._next()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._is_complete():
            return
        self.latencies.append(time.perf_counter() - self._sent_at)
        if not self._received.startswith(b"HTTP/1.1 200"):
            self._fail(f"answered {self._received[:300]!r}")
            return
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._fail(f"connection lost: {exc}")

    def _is_complete(self) -> bool:
        if self._request.is_stream and self._received.startswith(b"HTTP/1.1 200"):
            return self._received.endswith(b"0\r\n\r\n")
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator:
            return False
        head = head.lower()
        if b"\ntransfer-encoding: chunked" in head:
            return body.endswith(b"0\r\n\r\n")
        return len(body) >= int(head.partition(b"\ncontent-length:")[2].partition(b"\r\n")[0])

    def _next(self) -> None:
        self._received = b""
        if self._budget[0] <= 0:
            if not self._done.done():
                self._done.set_result(None)
            self._transport.close()
            return
        self._budget[0] -= 1
        self._sent_at = time.perf_counter()
        self._transport.write(self._bytes)

    def _fail(self, why: str) -> None:
        if not self._done.done():
            self._done.set_exception(RuntimeError(why))
        self._transport.close()


async def load(request: Request, *, connections: int, requests: int) -> Load:
    """Send `requests` in all over `connections`. Raises RuntimeError at an answer that is not a 200."""
    loop = asyncio.get_running_loop()
    budget = [requests]
    protocols: list[_Connection] = []
    finished: list[asyncio.Future[None]] = []
    started = time.perf_counter()
    for _ in range(connections):
        done = loop.create_future()
        _, protocol = await loop.create_connection(
            lambda done=done: _Connection(request, budget, done),  # type: ignore[misc]
            "127.0.0.1",
            request.port,
        )
        protocols.append(protocol)
        finished.append(done)
    await asyncio.gather(*finished)
    seconds = time.perf_counter() - started
    return Load(seconds, sorted(latency for protocol in protocols for latency in protocol.latencies))
