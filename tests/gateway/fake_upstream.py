"""A small real OpenAI-format server on loopback that does what a test tells it to.

    async with FakeUpstream() as upstream:
        upstream.on("good", answer("Hello."))
        upstream.on("bad", status(500), answer())      # fails once, then answers
        ...  # call upstream.api_base
        assert upstream.seen[0].body["model"] == "good"

A behaviour is picked by the `model` of the request; a model without a script answers `I am MODEL.`. It is
the provider of the tests because it can break off, stall and send any bytes, below what an HTTP framework
allows; the demo's (`gateway.demo.provider`) always answers well. All say answers in one form,
`gateway.demo.chat_format`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Self

from gateway.demo.chat_format import STREAM_DONE, ChatOrigin, event, usage

CREATED: Final = 1_700_000_000
USAGE: Final = usage(prompt_tokens=5, completion_tokens=7)


@dataclass(frozen=True)
class Seen:
    """A request that arrived."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class Hangup(Exception):  # noqa: N818 - not an error
    """The behaviour is over and the connection is to be closed."""


@dataclass
class Exchange:
    """One request, and the means to answer it in any way."""

    seen: Seen
    number: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    chunked: bool = field(default=False, init=False)

    @property
    def model(self) -> str:
        """Which model was asked for."""
        return str(self.seen.body.get("model"))

    @property
    def is_stream(self) -> bool:
        """Whether a stream was asked for."""
        return bool(self.seen.body.get("stream"))

    async def whole(
        self, body: bytes, *, code: int = 200, content_type: str = "application/json", **headers: str
    ) -> None:
        """Send a complete answer."""
        extra = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        head = (
            f"HTTP/1.1 {code} X\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n{extra}\r\n"
        )
        self.writer.write(head.encode() + body)
        await self.writer.drain()

    async def begin(self, content_type: str = "text/event-stream") -> None:
        """Send the head of a chunked answer."""
        self.chunked = True
        self.writer.write(
            f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
        )
        await self.writer.drain()

    async def send(self, data: bytes) -> None:
        """Send one chunk."""
        self.writer.write(b"%x\r\n%b\r\n" % (len(data), data))
        await self.writer.drain()

    async def end(self) -> None:
        """Finish a chunked answer properly."""
        self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()

    async def half(self) -> None:
        """Send the head of a complete answer and little of its body."""
        self.writer.write(
            b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{"id"'
        )
        await self.writer.drain()

    @property
    def is_left(self) -> bool:
        """Whether the client has hung up."""
        return self.reader.at_eof()

    async def until_left(self) -> None:
        """Do nothing until the client hangs up."""
        while await self.reader.read(1024):
            pass
        raise Hangup


Behaviour = Callable[[Exchange], Awaitable[None]]


def chunk(exchange: Exchange, delta: dict[str, Any] | None, **extra: Any) -> bytes:
    """One event of a stream."""
    return event({**_origin(exchange).chunk(delta), **extra})


def body(exchange: Exchange, text: str, **extra: Any) -> bytes:
    """A whole answer."""
    return json.dumps({**_origin(exchange).whole(text, USAGE), **extra}).encode()


def _origin(exchange: Exchange) -> ChatOrigin:
    return ChatOrigin(f"chatcmpl-{exchange.model}-{exchange.number}", CREATED, exchange.model, "fp_fake")


def answer(
    text: str | None = None, *, pause_seconds: float = 0.0, always_usage: bool = False, **extra: Any
) -> Behaviour:
    """A good answer, whole or streamed word by word, with `pause_seconds` before each part.

    A stream ends with its usage where that was asked for; with `always_usage`, unasked as well.
    """

    async def behave(exchange: Exchange) -> None:
        said = f"I am {exchange.model}." if text is None else text
        if not exchange.is_stream:
            await asyncio.sleep(pause_seconds)
            await exchange.whole(body(exchange, said, **extra))
            return
        await exchange.begin()
        wants_usage = (exchange.seen.body.get("stream_options") or {}).get("include_usage")
        async for part in _events(exchange, said, extra, shows_usage=always_usage or bool(wants_usage)):
            await asyncio.sleep(pause_seconds)
            await exchange.send(part)
        await exchange.end()

    return behave


async def _events(
    exchange: Exchange, text: str, extra: dict[str, Any], *, shows_usage: bool
) -> AsyncIterator[bytes]:
    yield chunk(exchange, {"role": "assistant", "content": ""}, **extra)
    for word in text.split(" "):
        yield chunk(exchange, {"content": f"{word} "}, **extra)
    if shows_usage:
        yield chunk(exchange, None, usage=USAGE, **extra)
    yield STREAM_DONE


def status(code: int, message: str = "No.", **headers: str) -> Behaviour:
    """Refuse with an OpenAI-shaped error; `retry_after="3"` becomes a header."""

    async def behave(exchange: Exchange) -> None:
        error = {"error": {"message": message, "type": "fake", "param": None, "code": "fake"}}
        await exchange.whole(json.dumps(error).encode(), code=code, **headers)

    return behave


def raw(data: bytes, *, code: int = 200, content_type: str = "application/json") -> Behaviour:
    """Answer with exactly these bytes."""

    async def behave(exchange: Exchange) -> None:
        await exchange.whole(data, code=code, content_type=content_type)

    return behave


def raw_stream(*parts: bytes, content_type: str = "text/event-stream") -> Behaviour:
    """Stream exactly these bytes, one chunk each, and end properly."""

    async def behave(exchange: Exchange) -> None:
        await exchange.begin(content_type)
        for part in parts:
            await exchange.send(part)
        await exchange.end()

    return behave


def hang_up() -> Behaviour:
    """Close the connection without a word."""

    async def behave(_exchange: Exchange) -> None:
        raise Hangup

    return behave


def stall(after: int = 0) -> Behaviour:
    """Go silent: at once, or in a stream after so many events. Lasts until the client leaves."""

    async def behave(exchange: Exchange) -> None:
        if exchange.is_stream and after:
            await exchange.begin()
            for _ in range(after):
                await exchange.send(chunk(exchange, {"content": "word "}))
        await exchange.until_left()

    return behave


def cut(after: int = 1) -> Behaviour:
    """Break off: in a stream after so many events, else in the middle of the body."""

    async def behave(exchange: Exchange) -> None:
        if exchange.is_stream:
            await exchange.begin()
            for _ in range(after):
                await exchange.send(chunk(exchange, {"content": "word "}))
        else:
            await exchange.half()
        raise Hangup

    return behave


def without_done(after: int = 1) -> Behaviour:
    """End a stream properly, but without its last event."""

    async def behave(exchange: Exchange) -> None:
        await exchange.begin()
        for _ in range(after):
            await exchange.send(chunk(exchange, {"content": "word "}))
        await exchange.end()

    return behave


def malformed(after: int = 0) -> Behaviour:
    """Send what is not JSON: as the body, or in a stream after so many good events."""

    async def behave(exchange: Exchange) -> None:
        if not exchange.is_stream:
            await exchange.whole(b'{"id": "x", "choices": [')
            return
        await exchange.begin()
        for _ in range(after):
            await exchange.send(chunk(exchange, {"content": "word "}))
        await asyncio.sleep(0.02 if after else 0)  # so that the good events are read on their own
        await exchange.send(b'data: {"id": "x", "choices": [\n\n')
        await exchange.send(STREAM_DONE)
        await exchange.end()

    return behave


def stream_error(after: int = 0, code: int = 500) -> Behaviour:
    """Report an error inside the stream, as several servers do, after so many good events."""

    async def behave(exchange: Exchange) -> None:
        await exchange.begin()
        for _ in range(after):
            await exchange.send(chunk(exchange, {"content": "word "}))
        error = {"error": {"message": "engine on fire", "type": "fake", "code": code}}
        await exchange.send(b"data: " + json.dumps(error).encode() + b"\n\n")
        await exchange.send(STREAM_DONE)
        await exchange.end()

    return behave


class FakeUpstream:
    """The server. `seen` lists the requests; `abandoned` counts those whose client left before the end."""

    is_http2 = False

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.tls = tls
        self.seen: list[Seen] = []
        self.abandoned = 0
        self.in_flight = 0
        self.connections = 0
        self._scripts: dict[str, list[Behaviour]] = {}
        self.numbers = itertools.count(1)
        self._server: asyncio.Server | None = None
        self.serving: set[asyncio.Task[None]] = set()
        self.port = 0
        self.is_refusing = False

    @property
    def api_base(self) -> str:
        """What goes into a model's `api_base`."""
        scheme = "http" if self.tls is None else "https"
        return f"{scheme}://127.0.0.1:{self.port}/v1"

    def on(self, model: str, *behaviours: Behaviour) -> None:
        """What requests for `model` get, in turn; the last one from then on."""
        self._scripts[model] = list(behaviours)

    def calls_of(self, model: str) -> int:
        """How many requests for `model` arrived."""
        return sum(seen.body.get("model") == model for seen in self.seen)

    async def refuse(self) -> None:
        """Close every connection and refuse new ones."""
        self.is_refusing = True
        await self._close()

    async def accept(self) -> None:
        """Accept connections again, at the same address."""
        if self.is_refusing:
            self.is_refusing = False
            await self._listen()

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._close()

    async def _listen(self) -> None:
        self._server = await self._start_server(self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _start_server(self, port: int) -> asyncio.Server:
        return await asyncio.start_server(self._accept, "127.0.0.1", port, ssl=self.tls)

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self.serving:
            task.cancel()
        await asyncio.gather(*self.serving, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.serving.add(task)
        self.connections += 1
        try:
            with suppress(Hangup, ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while True:
                    await self._exchange(reader, writer)
        finally:
            self.serving.discard(task)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen = await _read_request(reader)
        await self.carry_out(Exchange(seen, next(self.numbers), reader, writer))

    async def carry_out(self, exchange: Exchange) -> None:
        """Do what the exchange's model is to do."""
        self.seen.append(exchange.seen)
        self.in_flight += 1
        try:
            await self._behaviour(exchange.model)(exchange)
        except (ConnectionError, asyncio.CancelledError):
            self.abandoned += 1
            raise
        except Hangup:
            self.abandoned += exchange.is_left
            raise
        finally:
            self.in_flight -= 1

    def _behaviour(self, model: str) -> Behaviour:
        script = self._scripts.get(model)
        if not script:
            return answer()
        return script.pop(0) if len(script) > 1 else script[0]


async def _read_request(reader: asyncio.StreamReader) -> Seen:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    content = await reader.readexactly(int(headers.get("content-length", "0")))
    return Seen(first.split(" ")[1], headers, json.loads(content or b"{}"))
