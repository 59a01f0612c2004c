"""HTTP/1.1 with connections kept open; used for every model that does not ask for HTTP/2."""

from __future__ import annotations

from collections.abc import Awaitable
from contextvars import ContextVar
from io import BytesIO
from typing import Any, Final

import aiohttp
from multidict import CIMultiDict
from typing_extensions import override

from gateway.upstream.base import RawHeaders
from gateway.upstream.http.transport import Destination, Failure, HttpAnswer, HttpClient, NeverSeenError

KEEP_SECONDS: Final = 30
# The longest headers of an answer: at least as long as the official clients accept.
MAX_HEAD_BYTES: Final = 128 * 1024
_MAX_HEADERS: Final = 1024
_READ_BYTES: Final = 64 * 1024
_LARGE_BYTES: Final = 1024 * 1024

_is_new_connection: ContextVar[bool] = ContextVar("_is_new_connection", default=False)


class _Connector(aiohttp.TCPConnector):
    """Notes in a request's context that a new connection was made for it. Tracing would cost far more."""

    async def _create_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Any],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - the signature is aiohttp's
    ) -> Any:
        _is_new_connection.set(True)
        return await super()._create_connection(req, traces, timeout)


class Http1Client(HttpClient):
    """HTTP/1.1 by aiohttp. Create it inside the running event loop.

    Args:
        connect_seconds: How long a provider may take to accept a connection.
        max_connections: Most connections to all providers together; 0 for any number.
    """

    def __init__(self, *, connect_seconds: float, max_connections: int = 0) -> None:
        self._connect_seconds = connect_seconds
        self._session = aiohttp.ClientSession(
            connector=_Connector(limit=max_connections, ttl_dns_cache=60, keepalive_timeout=KEEP_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=_READ_BYTES,
            max_line_size=MAX_HEAD_BYTES,
            max_field_size=MAX_HEAD_BYTES,
            max_headers=_MAX_HEADERS,
        )

    @override
    async def post(
        self, destination: Destination, headers: CIMultiDict[str], body: bytes, seconds: float
    ) -> Http1Answer:
        _is_new_connection.set(False)
        # aiohttp would look up the type of a plain body in a registry. A large body is sent in pieces.
        is_large = len(body) > _LARGE_BYTES
        payload = aiohttp.BytesIOPayload(BytesIO(body)) if is_large else aiohttp.BytesPayload(body)
        try:
            response = await self._session.post(
                destination.url,
                data=payload,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=self._connect_seconds),
                proxy=destination.proxy,
                allow_redirects=False,  # a redirect would carry the operator's key elsewhere
            )
        except (aiohttp.ServerDisconnectedError, ConnectionResetError, BrokenPipeError) as error:
            if _is_new_connection.get():
                raise
            # The provider had closed the kept connection in the meantime.
            raise NeverSeenError from error
        return Http1Answer(response)

    @override
    async def aclose(self) -> None:
        await self._session.close()


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
    def whole(self) -> Awaitable[bytes]:
        return self._response.read()

    @override
    def fail(self, failure: Failure) -> None:
        self._content.set_exception(failure())

    @override
    def close(self) -> None:
        self._response.close()
