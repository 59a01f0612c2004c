"""uvicorn's HTTP protocol, with bounds on the size of a request and the time that it takes to arrive.

uvicorn limits the silence between requests, but neither the time that a request may take to arrive nor the
number of its header lines. An application cannot do that either, because it is called only once the headers
are complete.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from typing_extensions import override

from gateway.api.errors import error_body
from gateway.cli.declined_offers import TUNNEL, DecliningProtocol
from gateway.running.deadlines import Deadline, Deadlines
from gateway.running.logs import get_logger
from gateway.running.outbox import Outbox

_log = get_logger(__name__)

HEAD_BYTES: Final = 64 * 1024
"""Most bytes of a request's first line and headers."""
MOST_HEADERS: Final = 200
"""Most headers of a request."""
URL_BYTES: Final = 16 * 1024
"""Longest path and query of a request."""
FRAMING_BYTES: Final = 64 * 1024
"""Most bytes around a chunked body (sizes, extensions, trailers), besides 8 for each byte of the body."""
PIPELINED: Final = 32
"""Most requests on a connection that wait for the answer to an earlier one."""
UNFINISHED_HEAD_BYTES: Final = 64 * 1024 * 1024
"""Most bytes of unfinished headers, on all connections of a process together."""

_FRAMING_PER_BODY_BYTE: Final = 8  # a chunk of one byte has five more around it
_FAIR_HEAD_BYTES: Final = 4 * 1024  # every connection may have this much, however many there are
_SMALL_BYTES: Final = URL_BYTES  # anything shorter has neither a head nor a URL that is too long
_LOG_AGAIN_SECONDS: Final = 10.0


def _answer(status: HTTPStatus, message: str, code: str, *headers: bytes) -> bytes:
    """A whole answer in OpenAI's shape that also ends the connection."""
    is_ours = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    body = error_body(message, kind="server_error" if is_ours else "invalid_request_error", code=code)
    lines = (
        f"HTTP/1.1 {status.value} {status.phrase}".encode(),
        b"content-type: application/json",
        b"connection: close",
        b"content-length: %d" % len(body),
        *headers,
    )
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


_MALFORMED: Final = _answer(HTTPStatus.BAD_REQUEST, "The request is not valid HTTP.", "invalid_http")
_NO_PROXY: Final = _answer(
    HTTPStatus.METHOD_NOT_ALLOWED,
    "The gateway is no proxy: send requests to its own address, without CONNECT.",
    "no_proxy",
    b"allow: GET, HEAD, OPTIONS, POST, DELETE",
)
_UNFRAMED: Final = _answer(
    HTTPStatus.BAD_REQUEST,
    f"The body's chunks have more than {FRAMING_BYTES} bytes of sizes, extensions and trailers.",
    "chunks_too_wasteful",
)
_UNKNOWN_CODING: Final = _answer(
    HTTPStatus.BAD_REQUEST,
    "The only transfer coding that the gateway knows is chunked. Send the body without any other.",
    "unknown_transfer_coding",
)
_TOO_LATE: Final = _answer(
    HTTPStatus.REQUEST_TIMEOUT, "The request took too long to arrive.", "request_timeout"
)
_URL_TOO_LONG: Final = _answer(
    HTTPStatus.REQUEST_URI_TOO_LONG, f"The URL is longer than {URL_BYTES} bytes.", "url_too_long"
)
_HEAD_TOO_LARGE: Final = _answer(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    f"The request has more than {MOST_HEADERS} headers, or more than {HEAD_BYTES} bytes of them.",
    "headers_too_large",
)
_TOO_MANY_CONNECTIONS: Final = _answer(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "The gateway has reached its limit on open connections. Try again shortly.",
    "too_many_connections",
    b"retry-after: 1",
)


@dataclass(frozen=True, slots=True)
class ArrivalLimits:
    """The operator's limits on arriving requests.

    Attributes:
        seconds: How long a request may take to arrive, headers and body.
        connections: How many connections may be open at once.
    """

    seconds: float
    connections: int


@dataclass(slots=True)
class _Process:
    """State that all connections of a process share.

    Attributes:
        unfinished: Bytes of headers that are not complete yet.
        last_log: When a log line last said that there are too many connections.
        outbox: What they send at the end of a turn of the loop.
        deadlines: When they are closed if nothing comes.
    """

    unfinished: int = 0
    last_log: float = -_LOG_AGAIN_SECONDS
    outbox: Outbox = field(default_factory=Outbox)
    deadlines: Deadlines = field(default_factory=Deadlines)


class _Writer:
    """The part of a transport that answers are written to; what is written leaves at the end of the turn."""

    __slots__ = ("_outbox", "_transport", "is_closing")

    def __init__(self, transport: asyncio.Transport, outbox: Outbox) -> None:
        self._transport = transport
        self._outbox = outbox
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        """Send bytes at the end of the turn."""
        self._outbox.put(self._transport, data)

    def flush(self) -> None:
        """Send what waits."""
        self._outbox.send(self._transport)

    def close(self) -> None:
        """Send what waits, and close."""
        self.flush()
        self._transport.close()


class _RefusedError(Exception):
    """Ends the parsing of a connection's bytes; the answer was decided before this was raised."""


class BoundedProtocol(DecliningProtocol):
    """Refuses requests whose headers are too large or that arrive too slowly, and closes the connection.

    The time runs from the first byte of a request; for a connection's first request, from the start of the
    connection. Most requests arrive in one piece and never start a timer. The parser reports a header only
    once the next one begins, so the bytes fed to the parser are counted instead.

    A refusal never cuts into the answer to an earlier request: that one ends first, and then the connection.

    Attributes:
        limits: The operator's limits.
        process: State that all connections share.
    """

    limits: ArrivalLimits
    process: _Process

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.url = b""
        self.headers = []
        self._is_arriving = False
        self._has_headers = False
        self._is_deaf = False
        self._begun = 0
        self._fed = 0
        self._body = 0
        self._piece = 0
        self._begins_in_piece = False
        self._unfinished = 0
        self._refusal: bytes | None = _MALFORMED
        self._deadline: Deadline | None = None

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.transport = _Writer(transport, self.process.outbox)  # type: ignore[assignment]
        if len(self.connections) > self.limits.connections:
            now = self.loop.time()
            if now - self.process.last_log >= _LOG_AGAIN_SECONDS:
                self.process.last_log = now
                _log.warning("too_many_connections", most=self.limits.connections)
            self._end(_TOO_MANY_CONNECTIONS)
        else:
            self._start_waiting()

    @override
    def eof_received(self) -> None:
        """Send what waits, since the loop closes the transport after this."""
        self.transport.flush()  # type: ignore[attr-defined]

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._forget_head()
        super().connection_lost(exc)

    @override
    def data_received(self, data: bytes) -> None:
        if self._is_deaf or self.transport.is_closing():
            return
        begun, was_arriving = self._begun, self._is_arriving
        self._piece, self._begins_in_piece = len(data), False
        super().data_received(data)
        if self._is_deaf or self.transport.is_closing():
            return
        # If a piece ends one request and begins another, the boundary is not known, so the piece is not
        # counted.
        is_of_one_request = self._begun == begun or (self._begun == begun + 1 and not was_arriving)
        if self._is_arriving:
            if is_of_one_request:
                self._fed += len(data)
            self._check_size(len(data))
        if self._is_arriving or self._begun == 0:
            if self._deadline is None:
                self._start_waiting()
        elif self.cycle.response_complete and self.timeout_keep_alive_task is None:
            # uvicorn takes any byte for the beginning of a request, and waits for the rest without a limit.
            self._keep_alive()

    @override
    def on_message_begin(self) -> None:
        if len(self.pipeline) >= PIPELINED:
            raise _RefusedError
        self._is_arriving = self._begins_in_piece = True
        self._has_headers = False
        self._begun += 1
        self._fed = self._body = 0
        super().on_message_begin()

    @override
    def on_headers_complete(self) -> None:
        # Nearly all headers arrive within one small piece; only the size of others is added up.
        is_small = self._begins_in_piece and self._piece <= _SMALL_BYTES
        if not is_small or len(self.headers) > MOST_HEADERS:
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if (fault := self._head_fault(size)) is not None:
                self._refusal = fault
                raise _RefusedError
        # Of several codings the parser undoes the last one only.
        for name, value in self.headers:
            if name == b"transfer-encoding" and value.strip().lower() != b"chunked":
                self._refusal = _UNKNOWN_CODING
                raise _RefusedError
        super().on_headers_complete()
        if self.is_declining:
            self._begun -= 1  # the same request begins a second time
            if self.parser.get_method() == TUNNEL:
                self._refusal = _NO_PROXY
            return
        self._has_headers = True
        if self._unfinished:
            self._forget_head()
        self.headers = []  # trailers arrive in the same callback but are no headers of this request

    @override
    def on_body(self, body: bytes) -> None:
        self._body += len(body)
        super().on_body(body)

    @override
    def on_message_complete(self) -> None:
        if self.is_declining:
            return
        self._is_arriving = False
        if self._deadline is not None:
            self._stop_waiting()
        super().on_message_complete()

    @override
    def on_response_complete(self) -> None:
        """As uvicorn does it, but for the timer of its own that each connection would start and stop."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._keep_alive()

    @override
    def send_400_response(self, msg: str) -> None:
        """Answer after the parser stopped, either by itself or because a callback above refused."""
        self._end(self._refusal)

    def _check_size(self, received: int) -> None:
        """Refuse a request that is not complete yet if it has become too large."""
        if self._has_headers:
            if self._fed - self._body > HEAD_BYTES + FRAMING_BYTES + _FRAMING_PER_BODY_BYTE * self._body:
                self._end(_UNFRAMED)
            return
        self._unfinished += received
        self.process.unfinished += received
        fault = self._head_fault(self._fed)
        if fault is None and self._unfinished > _FAIR_HEAD_BYTES:
            is_crowded = self.process.unfinished > UNFINISHED_HEAD_BYTES
            fault = _TOO_MANY_CONNECTIONS if is_crowded else None
        if fault is not None:
            self._end(fault)

    def _head_fault(self, size: int) -> bytes | None:
        if len(self.url) > URL_BYTES:
            return _URL_TOO_LONG
        return _HEAD_TOO_LARGE if size > HEAD_BYTES or len(self.headers) > MOST_HEADERS else None

    def _forget_head(self) -> None:
        self.process.unfinished -= self._unfinished
        self._unfinished = 0

    def _keep_alive(self) -> None:
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.process.deadlines.after(  # type: ignore[assignment]
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def _start_waiting(self) -> None:
        self._deadline = self.process.deadlines.after(self.limits.seconds, self._hang_up)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _hang_up(self) -> None:
        self._deadline = None
        if not self.transport.is_closing():
            self._end(_TOO_LATE)

    def _end(self, answer: bytes | None) -> None:
        """Close the connection, after sending the answer if it is the next one due; None sends no answer."""
        self._stop_waiting()
        is_next = self.cycle is None or self.cycle.response_complete
        if self._has_headers and self._is_arriving:
            is_next = not self.pipeline and not self.cycle.response_started
        elif not is_next:
            self._is_deaf = True
            self.cycle.keep_alive = False
            return
        if answer is not None and is_next:
            self.transport.write(answer)
        self.transport.close()


def bounded_protocol(limits: ArrivalLimits) -> type[BoundedProtocol]:
    """The protocol with these limits, for uvicorn, which makes one per connection."""
    return type("BoundedProtocol", (BoundedProtocol,), {"limits": limits, "process": _Process()})
