"""HTTP/2 for models that ask for it: many requests at once on one connection to a provider.

Over TLS the provider is offered both versions, and is asked over HTTP/1.1 if it declines HTTP/2. At an
`http://` address it is assumed to speak HTTP/2. This module is imported only if a model uses it.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Final, NamedTuple

from multidict import CIMultiDict
from typing_extensions import override
from yarl import URL

from gateway.upstream.http.http2_connection import Http2Connection, RequestHead
from gateway.upstream.http.transport import Destination, HttpAnswer, HttpClient

_HTTP1_SECONDS: Final = 600.0  # time until a provider that declined HTTP/2 is offered it again
_COMMON: Final[RequestHead] = [(b"accept", b"*/*"), (b"user-agent", b"llmpo-gateway")]
# Headers that describe a connection of HTTP/1.1, or for which HTTP/2 has its own fields.
_NOT_SENT: Final = frozenset(
    {
        "connection",
        "content-length",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "transfer-encoding",
        "upgrade",
    }
)


class _Origin(NamedTuple):
    """A server to which connections lead."""

    scheme: str
    host: str
    port: int


class Http2Client(HttpClient):
    """HTTP/2 if a provider agrees to it, otherwise HTTP/1.1.

    Args:
        http1: Asks providers that do not speak HTTP/2.
        connect_seconds: How long a provider may take to accept a connection.
    """

    def __init__(self, http1: HttpClient, *, connect_seconds: float) -> None:
        self._http1 = http1
        self._connect_seconds = connect_seconds
        self._connections: dict[_Origin, list[Http2Connection]] = {}
        self._connecting: dict[_Origin, asyncio.Task[None]] = {}
        self._http1_until: dict[_Origin, float] = {}
        self._tls: ssl.SSLContext | None = None

    @override
    async def post(self, destination: Destination, headers: CIMultiDict[str], body: bytes) -> HttpAnswer:
        url = destination.url
        connection = await self._connection(_Origin(url.scheme, url.raw_host or "", url.port or 0))
        if connection is None:
            return await self._http1.post(destination, headers, body)
        return await connection.ask(_head(url, headers, len(body)), body)

    async def aclose(self) -> None:
        """Close the connections over HTTP/2. The client for HTTP/1.1 is closed by its owner."""
        tasks = list(self._connecting.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        connections = [one for several in self._connections.values() for one in several]
        await asyncio.gather(*(connection.aclose() for connection in connections))

    async def _connection(self, origin: _Origin) -> Http2Connection | None:
        """A connection that can take a request; None if the provider has to be asked over HTTP/1.1."""
        loop = asyncio.get_running_loop()
        while True:
            for connection in self._connections.get(origin, ()):
                if connection.has_room:
                    return connection
            if self._http1_until.get(origin, 0.0) > loop.time():
                return None
            connecting = self._connecting.get(origin)
            if connecting is None:
                connecting = loop.create_task(self._connect(origin))
                self._connecting[origin] = connecting
                connecting.add_done_callback(lambda task: self._connected(origin, task))
            # Other requests wait for it as well, and continue if this one's caller leaves.
            await asyncio.shield(connecting)

    def _connected(self, origin: _Origin, task: asyncio.Task[None]) -> None:
        del self._connecting[origin]
        if not task.cancelled():
            # retrieved, so that asyncio does not report it if no request is waiting any more
            task.exception()

    async def _connect(self, origin: _Origin) -> None:
        loop = asyncio.get_running_loop()
        several = self._connections.setdefault(origin, [])

        def forget(lost: Http2Connection) -> None:
            if lost in several:
                several.remove(lost)

        async with asyncio.timeout(self._connect_seconds):
            transport, connection = await loop.create_connection(
                lambda: Http2Connection(forget),
                origin.host,
                origin.port,
                ssl=self._context() if origin.scheme == "https" else None,
            )
            if not connection.is_http2:
                self._http1_until[origin] = loop.time() + _HTTP1_SECONDS
                transport.abort()
                return
            try:
                await connection.ready()
            except BaseException:
                transport.abort()
                raise
        if not connection.has_room:
            raise ConnectionResetError
        several.append(connection)

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["h2", "http/1.1"])
        return self._tls


def _head(url: URL, headers: CIMultiDict[str], size: int) -> RequestHead:
    authority = headers.get("host") or url.host_port_subcomponent or ""
    given = {
        name.lower().encode(): value.encode()
        for name, value in headers.items()
        if name.lower() not in _NOT_SENT
    }
    return [
        (b":method", b"POST"),
        (b":scheme", url.scheme.encode()),
        (b":authority", authority.encode()),
        (b":path", url.raw_path_qs.encode()),
        *(one for one in _COMMON if one[0] not in given),
        *given.items(),
        (b"content-length", str(size).encode()),
    ]
