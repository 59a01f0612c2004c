"""Requests that arrive too slowly, over real sockets: headers or body, on new connections and used ones."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route
from typing_extensions import override
from uvicorn.server import ServerState

from gateway.cli import http_protocol
from gateway.cli.http_protocol import ArrivalLimits, bounded_protocol
from tests.gateway.whole import listening
from tests.pace import PATIENCE_SECONDS, impatient

SECONDS = impatient(0.25)
CONNECTIONS = 8
WHOLE = b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello"


async def echo(request: Request) -> PlainTextResponse:
    """What was sent."""
    return PlainTextResponse(await request.body())


async def slow(_request: Request) -> StreamingResponse:
    """An answer that takes longer than a request may."""

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(4):
            await asyncio.sleep(SECONDS / 2)
            yield b"part"

    return StreamingResponse(parts())


async def unread(_request: Request) -> PlainTextResponse:
    """An answer that does not wait for the body."""
    return PlainTextResponse("early")


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Where a server listens that gives requests a quarter of a second on an idle machine."""
    routes = [Route("/" + one.__name__, one, methods=["POST"]) for one in (echo, slow, unread)]
    config = uvicorn.Config(
        Starlette(routes=routes),
        port=0,
        lifespan="off",
        log_config=None,
        http=bounded_protocol(ArrivalLimits(SECONDS, CONNECTIONS)),
        timeout_keep_alive=math.ceil(4 * SECONDS),
    )
    async with listening(config) as port:
        yield port


async def dribbled(port: int, text: bytes, *, first: bytes = b"") -> tuple[bytes, float]:
    """What comes back for `first` at once, then `text` byte by byte, until the server hangs up; and when."""
    loop = asyncio.get_running_loop()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def dribble() -> None:
        with suppress(OSError):
            for number in range(len(text)):
                writer.write(text[number : number + 1])
                await writer.drain()
                await asyncio.sleep(SECONDS / 10)

    began = loop.time()
    writer.write(first)
    writing = asyncio.create_task(dribble())
    answer = b""
    async with asyncio.timeout(PATIENCE_SECONDS):
        with suppress(ConnectionResetError):  # what was dribbled after the end may reset the connection
            while part := await reader.read(65536):
                answer += part
    writing.cancel()
    writer.close()
    return answer, loop.time() - began


async def answered(port: int, text: bytes, pause_at: int) -> bytes:
    """What comes back for `text` with a pause within the deadline."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(text[:pause_at])
    await asyncio.sleep(SECONDS / 2)
    writer.write(text[pause_at:])
    async with asyncio.timeout(PATIENCE_SECONDS):
        answer = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    return answer


@pytest.mark.parametrize(
    "begin",
    [b"", b"POST /echo HTTP/1.1\r\n", b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 500\r\n\r\n"],
    ids=["nothing", "headers", "body"],
)
async def test_a_request_that_dribbles_in_is_ended(port: int, begin: bytes) -> None:
    """A request that takes too long gets a 408 in OpenAI's shape, and its connection is closed."""
    answer, seconds = await dribbled(port, b"x-a: " + b"b" * 400 if begin else b"", first=begin)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"code":"request_timeout"' in answer
    assert SECONDS * 0.9 < seconds < PATIENCE_SECONDS


async def test_a_used_connection_gives_no_more_time(port: int) -> None:
    """The second request's time runs from its first byte."""
    answer, _ = await dribbled(port, b"POST /echo HTTP/1.1\r\nx-a: " + b"b" * 400, first=WHOLE)
    first, _, second = answer.partition(b"hello")
    assert first.startswith(b"HTTP/1.1 200")
    assert second.startswith(b"HTTP/1.1 408")


async def test_a_pause_within_the_time_is_fine(port: int) -> None:
    """A short pause in the headers or in the body does not end a request."""
    for pause_at in (10, len(WHOLE) - 2):
        assert (await answered(port, WHOLE, pause_at)).startswith(b"HTTP/1.1 200")


async def test_answers_and_idle_connections_have_all_their_time(port: int) -> None:
    """The deadline is for requests: an answer may take longer, and so may the next request to begin."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(PATIENCE_SECONDS):
        writer.write(WHOLE.replace(b"/echo", b"/slow"))
        answer = await reader.readuntil(b"0\r\n\r\n")
        await asyncio.sleep(SECONDS * 1.5)
        writer.write(WHOLE)
        again = await reader.readuntil(b"hello")
    writer.close()
    assert answer.count(b"part") == 4
    assert again.startswith(b"HTTP/1.1 200")


async def test_nobody_is_answered_twice(port: int) -> None:
    """A body that goes on arriving after its answer ends the connection, without another answer."""
    head = b"POST /unread HTTP/1.1\r\nhost: x\r\ncontent-length: 500\r\n\r\n"
    answer, _ = await dribbled(port, b"b" * 400, first=head)
    assert answer.endswith(b"early")
    assert answer.count(b"HTTP/1.1") == 1


async def test_connections_beyond_the_limit_are_told_so(port: int) -> None:
    """503 for one too many; those that are open go on, and one that ends makes room for another."""
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS)]
    async with asyncio.timeout(PATIENCE_SECONDS):
        for reader, writer in opened:
            writer.write(WHOLE)
            await reader.readuntil(b"hello")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        refused = await reader.read()
        writer.close()
        opened[0][1].close()
        answer = b""
        while not answer.startswith(b"HTTP/1.1 200"):
            with suppress(OSError):
                answer = await answered(port, WHOLE, len(WHOLE))
    for _, writer in opened:
        writer.close()
    assert refused.startswith(b"HTTP/1.1 503")
    assert b"retry-after: 1\r\n" in refused
    assert b'"code":"too_many_connections"' in refused


@pytest.mark.parametrize("rest", [b"\r\n", b"hello"], ids=["an empty line", "a body nobody waited for"])
async def test_a_used_connection_does_not_idle_for_ever(port: int, rest: bytes) -> None:
    """What arrives on it and begins no request changes nothing: it ends as silence does."""
    first = WHOLE if rest.isspace() else WHOLE.replace(b"/echo", b"/unread").removesuffix(b"hello")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(PATIENCE_SECONDS):
        writer.write(first)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(rest)
        answer = await reader.read()
    writer.close()
    assert b"HTTP/1.1" not in answer


async def test_headers_of_all_connections_together_are_bounded(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that asks for more than its fair share is refused; one with small headers is not."""
    monkeypatch.setattr(http_protocol, "UNFINISHED_HEAD_BYTES", 20_000)
    start = b"POST /echo HTTP/1.1\r\nhost: x\r\nx-a: " + b"a" * 15_000
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(start)
    await writer.drain()
    refused, _ = await dribbled(port, b"", first=start)
    answer = await answered(port, WHOLE, 10)
    writer.close()
    assert refused.startswith(b"HTTP/1.1 503")
    assert answer.startswith(b"HTTP/1.1 200")
    assert reader.at_eof() is False


OFFERS = {
    "a Java client": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n",
    "another order": b"upgrade: h2c\r\nHTTP2-Settings:\r\nconnection: HTTP2-Settings, upgrade\r\n",
    "a web socket": b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
    "what does not exist": b"Connection: upgrade\r\nUpgrade: smoke-signals/2, h2c\r\n",
}
BODIES = {
    "length": b"content-length: 5\r\n\r\nhello",
    "chunks": b"transfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
    "length, asking first": b"expect: 100-continue\r\ncontent-length: 5\r\n\r\nhello",
}


@pytest.mark.parametrize("size", [1, 7, 10_000], ids="in pieces of {}".format)
@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("offer", OFFERS)
async def test_an_offer_of_another_protocol_is_declined(port: int, offer: str, body: str, size: int) -> None:
    """The request is answered as it stands, body and all, and so are those before and after it."""
    offering = b"POST /echo?a=b HTTP/1.1\r\nhost: x\r\n" + OFFERS[offer] + BODIES[body]
    text = WHOLE + offering + offering + WHOLE
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for start in range(0, len(text), size):
        writer.write(text[start : start + size])
        if size < len(WHOLE):
            await asyncio.sleep(0)
    received = b""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while received.count(b"hello") < 4 and (part := await reader.read(65536)):
            received += part
    writer.close()
    assert received.count(b"200 OK") == received.count(b"hello") == 4, received
    assert b"101" not in received


async def test_an_offer_with_too_many_headers_is_refused_like_any_request(port: int) -> None:
    """Being given to a parser once more widens no bound."""
    many = b"".join(b"x-%d: y\r\n" % number for number in range(http_protocol.MOST_HEADERS + 9))
    request = b"POST /echo HTTP/1.1\r\n" + OFFERS["a Java client"] + many + b"content-length: 0\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert b" 431 " in await reader.read()
    writer.close()


@pytest.mark.parametrize("offer", [b"", OFFERS["a Java client"]], ids=["nothing else", "an offer as well"])
@pytest.mark.parametrize("rest", [b"", WHOLE], ids=["alone", "followed by a request"])
async def test_a_tunnel_is_refused(port: int, offer: bytes, rest: bytes) -> None:
    """CONNECT gets one answer in OpenAI's shape, its connection is closed, and others are answered."""
    ask = b"CONNECT internal:80 HTTP/1.1\r\nhost: x\r\n" + offer + b"\r\n" + rest
    answer, _ = await dribbled(port, b"", first=ask)
    assert answer.startswith(b"HTTP/1.1 405")
    assert answer.count(b"HTTP/1.1") == 1
    assert b'"code":"no_proxy"' in answer
    assert (await answered(port, WHOLE, len(WHOLE))).startswith(b"HTTP/1.1 200")


async def test_what_waits_is_sent_before_the_loop_closes_a_connection() -> None:
    """If the caller ends its side in the turn of the answer, the answer still leaves."""
    sent: list[bytes] = []

    class Wire(asyncio.Transport):
        """Keeps what is written to it."""

        @override
        def write(self, data: bytes | bytearray | memoryview) -> None:
            sent.append(bytes(data))

        @override
        def is_closing(self) -> bool:
            return False

    config = uvicorn.Config(Starlette(), lifespan="off", log_config=None)
    kind = bounded_protocol(ArrivalLimits(SECONDS, CONNECTIONS))
    protocol = kind(config=config, server_state=ServerState(), app_state={})
    protocol.connection_made(Wire())
    protocol.transport.write(b"HTTP/1.1 200 OK")
    assert sent == []
    protocol.eof_received()
    assert sent == [b"HTTP/1.1 200 OK"]
    protocol.connection_lost(ConnectionResetError())


@pytest.mark.parametrize(
    ("coding", "status"),
    [
        (b"transfer-encoding: chunked", b"200"),
        (b"Transfer-Encoding:  Chunked ", b"200"),
        (b"transfer-encoding: gzip, chunked", b"400"),
        (b"transfer-encoding: gzip\r\ntransfer-encoding: chunked", b"400"),
        (b"transfer-encoding: ,chunked", b"400"),
        (b"upgrade: h2c\r\nconnection: upgrade\r\ntransfer-encoding: gzip, chunked", b"400"),
    ],
)
async def test_no_transfer_coding_is_left_out(port: int, coding: bytes, status: bytes) -> None:
    """A body that was coded otherwise than in chunks is refused, and not read as if it were plain."""
    head = b"POST /echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\n" + coding
    answer, _ = await dribbled(port, b"", first=head + b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert answer.count(b"HTTP/1.1") == 1
    assert answer.endswith(b"hello") or b'"code":"unknown_transfer_coding"' in answer
