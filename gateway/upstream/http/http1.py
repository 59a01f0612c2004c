"""HTTP/1.1 with connections kept open; used for every model that does not ask for HTTP/2."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from io import BytesIO
from typing import Final, cast
from weakref import WeakKeyDictionary

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.helpers import TimerNoop
from aiohttp.http import StreamWriter
from aiohttp.http_writer import _serialize_headers
from multidict import CIMultiDict
from typing_extensions import override

from gateway.upstream.base import RawHeaders
from gateway.upstream.http.transport import Destination, Failure, HttpAnswer, HttpClient, NeverSeenError

KEEP_SECONDS: Final = 30
# The longest headers of an answer: at least as long as the official clients accept.
MAX_HEAD_BYTES: Final = 128 * 1024
_MAX_HEADERS: Final = 1024
_READ_BYTES: Final = 64 * 1024
_LARGE_BYTES: Final = 32 * 1024
# A kept connection that the provider closed in the meantime fails like this.
_CLOSED: Final = (aiohttp.ServerDisconnectedError, ConnectionResetError, BrokenPipeError)

Send = Callable[[Connection], Awaitable[aiohttp.ClientResponse]]


class _Protocol(ResponseHandler):
    """A connection.

    Attributes:
        is_used: Whether a request was sent on it. Tracing would cost far more.
    """

    is_used = False


class _Connector(aiohttp.TCPConnector):
    """Makes such connections."""

    def __init__(self, max_connections: int) -> None:
        super().__init__(limit=max_connections, ttl_dns_cache=60, keepalive_timeout=KEEP_SECONDS)
        self._factory = partial(_Protocol, loop=self._loop)  # type: ignore[assignment]


class _Prepared:
    """What is the same in all small requests to a destination. Only their bodies and further headers differ.

    aiohttp starts a task for every body. From Python 3.12 on, such a task ends before anything waits for it;
    in earlier versions it takes a turn of the loop. Here head and body are one write.

    Args:
        request: A request without a body.

    Attributes:
        request: The same; connections are chosen by it.
    """

    def __init__(self, request: aiohttp.ClientRequest) -> None:
        self.request = request
        self._headers = request.headers.copy()
        self._headers.popall("Content-Length", None)
        self._info = request.request_info
        self._timer = TimerNoop()
        self._head = self._head_with(CIMultiDict())
        # Answers ask a writer without a task for nothing but the number of bytes written.
        self._writer = StreamWriter(_Protocol(request.loop), request.loop)

    async def send(
        self, further: CIMultiDict[str] | None, body: bytes, connection: Connection
    ) -> aiohttp.ClientResponse:
        """Send a request with a body, and with further headers if there are any."""
        head = self._head if further is None else self._head_with(further)
        transport = connection.transport
        if transport is None or transport.is_closing():
            raise aiohttp.ClientConnectionResetError("Cannot write to closing transport")
        transport.write(b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body))
        request = self.request
        return aiohttp.ClientResponse(
            request.method,
            request.original_url,
            writer=None,
            continue100=None,
            timer=self._timer,
            request_info=self._info,
            traces=[],
            loop=request.loop,
            session=None,  # type: ignore[arg-type]  # as aiohttp's own tests do
            stream_writer=self._writer,
        )

    def _head_with(self, further: CIMultiDict[str]) -> bytes:
        """The head up to the length of the body."""
        headers = self._headers.copy()
        headers.update(further)
        line = f"{self.request.method} {self.request.url.raw_path_qs} HTTP/1.1"
        return _serialize_headers(line, headers).removesuffix(b"\r\n")


class Http1Client(HttpClient):
    """HTTP/1.1 by aiohttp. Create it inside the running event loop.

    Of aiohttp it uses the connections and what is sent and read on them. Its sessions would look for cookies,
    redirects, credentials and traces at every request, none of which there are here.

    Args:
        connect_seconds: How long a provider may take to accept a connection.
        max_connections: Most connections to all providers together; 0 for any number.
    """

    def __init__(self, *, connect_seconds: float, max_connections: int = 0) -> None:
        self._loop = asyncio.get_running_loop()
        self._connector = _Connector(max_connections)
        self._timeout = aiohttp.ClientTimeout(sock_connect=connect_seconds)
        # Each is kept as long as its destination.
        self._prepared: WeakKeyDictionary[Destination, _Prepared] = WeakKeyDictionary()

    @override
    async def post(self, destination: Destination, headers: CIMultiDict[str], body: bytes) -> Http1Answer:
        if len(body) > _LARGE_BYTES or destination.proxy is not None:
            request = self._request(destination, headers, body)
            return await self._answered(request, request.send)
        prepared = self._prepared.get(destination)
        if prepared is None:
            request = self._request(destination, destination.headers, b"")
            prepared = self._prepared[destination] = _Prepared(request)
        further = None if headers is destination.headers else headers
        return await self._answered(prepared.request, partial(prepared.send, further, body))

    @override
    async def aclose(self) -> None:
        await self._connector.close()

    def _request(
        self, destination: Destination, headers: CIMultiDict[str], body: bytes
    ) -> aiohttp.ClientRequest:
        return aiohttp.ClientRequest(
            "POST",
            destination.url,
            headers=headers,
            data=aiohttp.BytesIOPayload(BytesIO(body)),  # sends a large body in pieces
            loop=self._loop,
            proxy=destination.proxy,
        )

    async def _answered(self, request: aiohttp.ClientRequest, send: Send) -> Http1Answer:
        """The answer to a request, once its headers have arrived."""
        connection = await self._connector.connect(request, [], self._timeout)
        was_used = False
        try:
            protocol = cast("_Protocol", connection.protocol)  # there is one until it is closed
            was_used, protocol.is_used = protocol.is_used, True
            protocol.set_response_params(
                read_until_eof=True,
                read_bufsize=_READ_BYTES,
                max_line_size=MAX_HEAD_BYTES,
                max_field_size=MAX_HEAD_BYTES,
                max_headers=_MAX_HEADERS,
            )
            response = await send(connection)
            try:
                return Http1Answer(await response.start(connection))
            except BaseException:
                response.close()
                raise
        except BaseException as error:
            connection.close()
            if was_used and isinstance(error, _CLOSED):
                raise NeverSeenError from error
            raise


class Http1Answer(HttpAnswer):
    """An answer as aiohttp reads it."""

    __slots__ = ("_content", "_response", "status")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self._content = response.content
        self.status: int = response.status

    @property
    @override
    def content_type(self) -> str:
        return self._response.content_type

    @property
    @override
    def raw_headers(self) -> RawHeaders:
        return self._response.raw_headers

    @property
    @override
    def retry_after(self) -> str | None:
        return self._response.headers.get("Retry-After")

    @property
    @override
    def is_at_end(self) -> bool:
        return self._content.at_eof()

    @override
    def some(self) -> Awaitable[bytes]:
        return self._content.readany()

    @override
    def fail(self, failure: Failure) -> None:
        if not self._content.is_eof():
            self._content.set_exception(failure())

    @override
    def close(self) -> None:
        self._response.close()
