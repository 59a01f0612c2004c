"""HTTP/1.1 with connections kept open; used for every model that does not ask for HTTP/2."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from copy import copy
from io import BytesIO
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import StreamWriter
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


class _Request(aiohttp.ClientRequest):
    """A request. One with a small body is copied from another one, and sent without a task of its own.

    aiohttp starts a task for every body. From Python 3.12 on, such a task ends before anything waits for it;
    in earlier versions it takes a turn of the loop.

    Attributes:
        is_first: Whether a new connection was made for it. Tracing would cost far more.
        small_body: Its body, if it is a small one.
    """

    is_first = False
    small_body = b""

    def with_body(self, headers: CIMultiDict[str] | None, body: bytes) -> _Request:
        """The same request with a small body and further headers; only what differs is made anew."""
        request = copy(self)
        request.headers = self.headers.copy()
        if headers is not None:
            request.headers.update(headers)
        request.headers["Content-Length"] = str(len(body))
        request.small_body = body
        return request

    @override
    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        protocol = conn.protocol
        if not self.small_body or protocol is None:
            return await super().send(conn)
        writer = StreamWriter(protocol, self.loop)
        await writer.write_headers(f"{self.method} {self.url.raw_path_qs} HTTP/1.1", self.headers)
        await writer.write(self.small_body, drain=False)
        return aiohttp.ClientResponse(
            self.method,
            self.original_url,
            writer=None,
            continue100=None,
            timer=self._timer,
            request_info=self.request_info,
            traces=[],
            loop=self.loop,
            session=self._session,
            stream_writer=writer,
        )


class _Connector(aiohttp.TCPConnector):
    """Notes that a new connection was made for a request."""

    async def _create_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Any],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - the signature is aiohttp's
    ) -> Any:
        if isinstance(req, _Request):
            req.is_first = True
        return await super()._create_connection(req, traces, timeout)


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
        self._connector = _Connector(limit=max_connections, ttl_dns_cache=60, keepalive_timeout=KEEP_SECONDS)
        self._timeout = aiohttp.ClientTimeout(sock_connect=connect_seconds)
        # Requests without a body; each is kept as long as its destination.
        self._prepared: WeakKeyDictionary[Destination, _Request] = WeakKeyDictionary()

    @override
    async def post(self, destination: Destination, headers: CIMultiDict[str], body: bytes) -> Http1Answer:
        request = self._request(destination, headers, body)
        try:
            return Http1Answer(await self._answered(request))
        except (aiohttp.ServerDisconnectedError, ConnectionResetError, BrokenPipeError) as error:
            if request.is_first:
                raise
            # The provider had closed the kept connection in the meantime.
            raise NeverSeenError from error

    @override
    async def aclose(self) -> None:
        await self._connector.close()

    def _request(self, destination: Destination, headers: CIMultiDict[str], body: bytes) -> _Request:
        if len(body) > _LARGE_BYTES or destination.proxy is not None:
            return self._new_request(destination, headers, body)
        prepared = self._prepared.get(destination)
        if prepared is None:
            prepared = self._new_request(destination, destination.headers, b"")
            self._prepared[destination] = prepared
        return prepared.with_body(None if headers is destination.headers else headers, body)

    def _new_request(self, destination: Destination, headers: CIMultiDict[str], body: bytes) -> _Request:
        return _Request(
            "POST",
            destination.url,
            headers=headers,
            data=aiohttp.BytesIOPayload(BytesIO(body)),  # sends a large body in pieces
            loop=self._loop,
            proxy=destination.proxy,
        )

    async def _answered(self, request: _Request) -> aiohttp.ClientResponse:
        """The answer to a request, once its headers have arrived."""
        connection = await self._connector.connect(request, [], self._timeout)
        try:
            protocol = cast("ResponseHandler", connection.protocol)  # there is one until it is closed
            protocol.set_response_params(
                read_until_eof=True,
                read_bufsize=_READ_BYTES,
                max_line_size=MAX_HEAD_BYTES,
                max_field_size=MAX_HEAD_BYTES,
                max_headers=_MAX_HEADERS,
            )
            response = await request.send(connection)
            try:
                return await response.start(connection)
            except BaseException:
                response.close()
                raise
        except BaseException:
            connection.close()
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
