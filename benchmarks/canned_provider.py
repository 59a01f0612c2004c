"""An OpenAI-format provider that costs as little as Python can: canned bytes over a bare protocol.

    .venv/bin/python -m benchmarks.canned_provider PORT

A request that asks for a stream gets 32 events, each written on its own. Any other request gets a whole
answer of about 600 bytes. Both have the form of `gateway.demo.chat_format`. `gateway_cost` asks this provider
through the gateway and through its peers. It is not a full HTTP server, because its cost would look like the
gateway's.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import cast

import uvloop

from gateway.demo.chat_format import STREAM_DONE, ChatOrigin, event, usage

CHUNKS = 32
_ORIGIN = ChatOrigin(
    "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT", 1741569952, "gpt-4o-mini-2024-07-18", "fp_44709d6fcb"
)
_TEXT = "The quick brown fox jumps over the lazy dog and runs away. " * 4


def _whole() -> bytes:
    body = json.dumps(_ORIGIN.whole(_TEXT, usage(19, 52))).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _events() -> list[bytes]:
    first = event(_ORIGIN.chunk({"role": "assistant", "content": ""}))
    words = [event(_ORIGIN.chunk({"content": " token"})) for _ in range(CHUNKS - 2)]
    events = [first, *words, event(_ORIGIN.chunk({}, "stop")) + STREAM_DONE]
    return [b"%x\r\n%b\r\n" % (len(data), data) for data in events]


WHOLE = _whole()
EVENTS = _events()
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class CannedProvider(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer as soon as a request is complete."""
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
        if len(body) < length:
            return
        self._received = b""
        assert self._transport is not None
        if b'"stream":true' in body.replace(b" ", b""):
            self._transport.write(HEAD)
            self._write_from(0)
        else:
            self._transport.write(WHOLE)

    def _write_from(self, position: int) -> None:
        """One event per turn of the loop, so that each is a write of its own."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if position == len(EVENTS):
            transport.write(b"0\r\n\r\n")
            return
        transport.write(EVENTS[position])
        asyncio.get_running_loop().call_soon(self._write_from, position + 1)


async def serve(port: int) -> None:
    """Serve until the process is killed."""
    server = await asyncio.get_running_loop().create_server(CannedProvider, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
