"""The fake provider over HTTP/2: the same behaviours, each request a stream of one connection.

Over TLS it takes HTTP/2 only from who offers it; without, it speaks nothing else.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from typing import cast

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import H2Error
from h2.settings import SettingCodes, Settings

from tests.gateway.fake_upstream import Behaviour, Exchange, FakeUpstream, Hangup, Seen


class FakeHttp2Upstream(FakeUpstream):
    """The server.

    Attributes:
        resets: Code of each stream the client gave up.
        is_rash: Whether it answers as soon as a head has arrived and takes none of the body.
        live: Connections that are open.
    """

    is_http2 = True

    def __init__(self, tls: ssl.SSLContext | None = None, *, max_streams: int = 100) -> None:
        super().__init__(tls)
        self.max_streams = max_streams
        self.resets: list[int] = []
        self.is_rash = False
        self.live: list[Http2Service] = []

    async def _start_server(self, port: int) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        return await loop.create_server(lambda: Http2Service(self), "127.0.0.1", port, ssl=self.tls)

    async def _close(self) -> None:
        await super()._close()
        for service in list(self.live):
            service.hang_up()


class Http2Service(asyncio.Protocol):
    """One connection. No task serves it, only the requests on it have one each."""

    def __init__(self, provider: FakeHttp2Upstream) -> None:
        self.provider = provider
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        limits = {SettingCodes.MAX_CONCURRENT_STREAMS: provider.max_streams}
        self.h2.local_settings = Settings(client=False, initial_values=limits)
        self.received: dict[int, tuple[dict[str, str], bytearray]] = {}
        self.left: dict[int, asyncio.Event] = {}
        self.waiting: set[asyncio.Event] = set()  # who waits for room to send
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.provider.connections += 1
        self.provider.live.append(self)
        self.h2.initiate_connection()
        self.flush()

    def connection_lost(self, _error: Exception | None) -> None:
        self.transport = None
        with suppress(ValueError):
            self.provider.live.remove(self)
        for left in self.left.values():
            left.set()
        self._move()

    def hang_up(self) -> None:
        """Close the connection without an answer, after everything sent so far has left."""
        if self.transport is not None:
            self.transport.close()

    def go_away(self, last_stream: int | None = None) -> None:
        """Announce that no new requests are taken; h2 would not let those under way go on."""
        highest = max(self.left, default=0) if last_stream is None else last_stream
        assert self.transport is not None
        self.transport.write(b"\0\0\x08\x07\0\0\0\0\0" + highest.to_bytes(4, "big") + bytes(4))

    def reset(self, stream: int, code: ErrorCodes) -> None:
        """Give one stream up."""
        self.h2.reset_stream(stream, code)
        self.flush()

    def flush(self) -> None:
        """Send what there is to say."""
        if self.transport is not None:
            self.transport.write(self.h2.data_to_send())

    def data_received(self, data: bytes) -> None:
        try:
            events = self.h2.receive_data(data)
        except H2Error:
            self.flush()
            self.hang_up()
            return
        for event in events:
            self._take(event)
        self.flush()

    def _take(self, event: Event) -> None:
        match event:
            case RequestReceived(stream_id=stream, headers=headers):
                named = {cast("str", name): cast("str", value) for name, value in headers or ()}
                self.received[stream or 0] = (named, bytearray())
                if self.provider.is_rash:
                    self._start(stream or 0)
            case DataReceived() | StreamEnded() if self.provider.is_rash:
                pass
            case DataReceived(stream_id=stream, data=data, flow_controlled_length=size):
                self.received[stream or 0][1].extend(data or b"")
                self.h2.acknowledge_received_data(size or 0, stream or 0)
            case StreamEnded(stream_id=stream):
                self._start(stream or 0)
            case StreamReset(stream_id=stream, error_code=code):
                self.provider.resets.append(int(code or 0))
                if stream in self.left:
                    self.left[stream].set()
                self._move()
            case WindowUpdated() | RemoteSettingsChanged():
                self._move()

    def _move(self) -> None:
        """Let those look again who wait for room to send."""
        for one in self.waiting:
            one.set()
        self.waiting.clear()

    def _start(self, stream: int) -> None:
        named, content = self.received.pop(stream)
        self.left[stream] = asyncio.Event()
        seen = Seen(named[":path"], named, json.loads(bytes(content) or b"{}"))
        exchange = Http2Exchange(
            seen,
            next(self.provider.numbers),
            cast("asyncio.StreamReader", None),
            cast("asyncio.StreamWriter", None),
            service=self,
            stream=stream,
        )
        task = asyncio.get_running_loop().create_task(self._carry_out(exchange))
        self.provider.serving.add(task)
        task.add_done_callback(self.provider.serving.discard)

    async def _carry_out(self, exchange: Http2Exchange) -> None:
        try:
            with suppress(ConnectionError, asyncio.CancelledError):
                await self.provider.carry_out(exchange)
        except Hangup:
            if not exchange.is_left:
                self.hang_up()
        finally:
            self.left.pop(exchange.stream, None)


@dataclass
class Http2Exchange(Exchange):
    """One request, answered over a stream."""

    service: Http2Service = field(kw_only=True)
    stream: int = field(kw_only=True)

    async def whole(
        self, body: bytes, *, code: int = 200, content_type: str = "application/json", **headers: str
    ) -> None:
        extra = [(name.replace("_", "-"), value) for name, value in headers.items()]
        self._head(code, content_type, ("content-length", str(len(body))), *extra)
        await self._send(body, ends=True)

    async def begin(self, content_type: str = "text/event-stream") -> None:
        self._head(200, content_type)

    async def half(self) -> None:
        self._head(200, "application/json", ("content-length", "500"))
        await self._send(b'{"id"', ends=False)

    async def send(self, data: bytes) -> None:
        await self._send(data, ends=False)

    async def end(self) -> None:
        await self._send(b"", ends=True)

    @property
    def is_left(self) -> bool:
        return self.service.transport is None or self.service.left[self.stream].is_set()

    async def until_left(self) -> None:
        await self.service.left[self.stream].wait()
        raise Hangup

    def _head(self, code: int, content_type: str, *more: tuple[str, str]) -> None:
        if self.is_left:
            raise ConnectionResetError
        head = [(":status", str(code)), ("content-type", content_type), *more]
        self.service.h2.send_headers(self.stream, head)
        self.service.flush()

    async def _send(self, data: bytes, *, ends: bool) -> None:
        h2 = self.service.h2
        while not self.is_left:
            room = min(h2.local_flow_control_window(self.stream), h2.max_outbound_frame_size)
            if room >= len(data) or room > 0:
                part, data = data[:room], data[room:]
                h2.send_data(self.stream, part, end_stream=ends and not data)
                self.service.flush()
                if not data:
                    await asyncio.sleep(0)
                    return
                continue
            moved = asyncio.Event()
            self.service.waiting.add(moved)
            await moved.wait()
        raise ConnectionResetError


def give_up(code: ErrorCodes, after: int = 0) -> Behaviour:
    """Reset the stream: at once, or after so many bytes of a body."""

    async def behave(exchange: Exchange) -> None:
        assert isinstance(exchange, Http2Exchange)
        if after:
            await exchange.begin("text/event-stream" if exchange.is_stream else "application/json")
            await exchange.send(b" " * after)
        exchange.service.reset(exchange.stream, code)

    return behave
