"""Providers asked in their own wire format: the request goes out as JSON, the answer comes back as bytes.

Nothing is read but what shows that the answer is one: its status and content type, that a whole answer and
every event of a stream are JSON objects, and where events end.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final
from urllib.request import getproxies, proxy_bypass

import aiohttp
import orjson
from multidict import CIMultiDict
from yarl import URL

from gateway.errors import UpstreamError
from gateway.upstream.base import (
    ModelTarget,
    RawHeaders,
    Timeouts,
    UpstreamAnswer,
    UpstreamRequest,
    UpstreamStream,
)
from gateway.upstream.failures import broken, cut_short, refused, reported_in_body, timed_out, unreachable
from gateway.upstream.retry_budget import RetryBudget
from gateway.upstream.sse import EventCutter, has_event, is_sound, sound_part, split_error
from gateway.upstream.surfaces import Surface

_OK: Final = 200
_MAX_ERROR_BYTES: Final = 64 * 1024
_LINGER_SECONDS: Final = 1.0
_READ_BYTES: Final = 64 * 1024
_RATE_LIMITS: Final = (b"x-ratelimit-", b"anthropic-ratelimit-")


@dataclass(frozen=True, slots=True)
class _Route:
    """What every request of one kind to one target has in common."""

    target: ModelTarget
    url: URL
    headers: CIMultiDict[str]
    proxy: str | None
    limits: aiohttp.ClientTimeout
    first_byte_seconds: float
    stall_seconds: float


_is_new_connection: ContextVar[bool] = ContextVar("_is_new_connection", default=False)


class _Connector(aiohttp.TCPConnector):
    """Notes in the context of a request that a connection was made for it: tracing would cost far more."""

    async def _create_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Any],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - the signature is aiohttp's
    ) -> Any:
        _is_new_connection.set(True)
        return await super()._create_connection(req, traces, timeout)


class Relay:
    """An `Upstream` for requests in their target's own format. Create it inside the running event loop."""

    def __init__(
        self, timeouts: Timeouts, budget: RetryBudget | None = None, *, max_connections: int = 0
    ) -> None:
        self._timeouts = timeouts
        self._budget = budget or RetryBudget()
        self._routes: dict[tuple[str, str], _Route] = {}
        self._session = aiohttp.ClientSession(
            connector=_Connector(limit=max_connections, ttl_dns_cache=60, keepalive_timeout=30),
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=_READ_BYTES,
        )

    async def complete(self, request: UpstreamRequest) -> UpstreamAnswer:
        """See `Upstream.complete`."""
        route = self._route(request.target, request.surface)
        try:
            async with await self._post(route, request) as response:
                await _check(response, "application/json")
                body = await response.read()
                headers = _rate_limits(response)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _translated(error) from error
        _check_answer(body, request.surface)
        return UpstreamAnswer(body, headers)

    async def stream(self, request: UpstreamRequest) -> UpstreamStream:
        """See `Upstream.stream`."""
        route = self._route(request.target, request.surface)
        response: aiohttp.ClientResponse | None = None
        try:
            async with asyncio.timeout(route.first_byte_seconds):
                response = await self._post(route, request)
                await _check(response, "text/event-stream")
                stream = _RelayedStream(response, request.surface)
                await stream.begin()
        except BaseException as error:
            if response is not None:
                response.close()
            if isinstance(error, aiohttp.ClientError | TimeoutError | OSError):
                raise _translated(error) from error
            raise
        stream.limit_silence(route.stall_seconds)
        return stream

    async def aclose(self) -> None:
        """See `Upstream.aclose`."""
        await self._session.close()

    async def _post(self, route: _Route, request: UpstreamRequest) -> aiohttp.ClientResponse:
        limits = _within(route.limits, request.limit_seconds)
        body = orjson.dumps({**request.payload, "model": route.target.model})
        headers = CIMultiDict(request.headers) if request.headers else None
        if headers is not None:
            headers.update(route.headers)
        _is_new_connection.set(False)
        try:
            return await self._post_once(route, headers or route.headers, body, limits)
        except (aiohttp.ServerDisconnectedError, ConnectionResetError, BrokenPipeError):
            # A kept connection the provider had closed meanwhile: it never saw the request.
            if _is_new_connection.get() or not self._budget.take():
                raise
        response = await self._post_once(route, headers or route.headers, body, limits)
        self._budget.give_back()
        return response

    async def _post_once(
        self, route: _Route, headers: CIMultiDict[str], body: bytes, limits: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        return await self._session.post(
            route.url,
            data=aiohttp.BytesPayload(body),  # named here, it need not be looked up by its type
            headers=headers,
            timeout=limits,
            proxy=route.proxy,
            allow_redirects=False,  # a redirect would carry the operator's key elsewhere
        )

    def _route(self, target: ModelTarget, surface: Surface) -> _Route:
        key = (target.name, surface.name)
        route = self._routes.get(key)
        if route is None or route.target is not target:
            route = _make_route(target, surface, self._timeouts)
            self._routes[key] = route
        return route


class _RelayedStream:
    """The provider's events, as blocks of bytes."""

    def __init__(self, response: aiohttp.ClientResponse, surface: Surface) -> None:
        self._response = response
        self._ends_stream = surface.ends_stream
        self._cutter = EventCutter()
        self._first = b""
        self._failure: UpstreamError | None = None
        self._ended = False
        self._waiting_since: float | None = None
        self._silence: asyncio.TimerHandle | None = None

    @property
    def headers(self) -> RawHeaders:
        """See `UpstreamStream.headers`."""
        return _rate_limits(self._response)

    async def begin(self) -> None:
        """Wait for the first event, so that a failure before it can still be answered otherwise."""
        while not has_event(self._first):
            self._first = await self._next_block()
        self._first = self._sound(self._first)
        if not has_event(self._first) and self._failure is not None:
            raise self._failure

    def limit_silence(self, seconds: float) -> None:
        """From now on, break off when the provider is waited for longer than this."""
        loop = asyncio.get_running_loop()

        def look() -> None:
            now = loop.time()
            since = now if self._waiting_since is None else self._waiting_since
            if now - since >= seconds:
                self._response.content.set_exception(TimeoutError())
            else:
                self._silence = loop.call_at(since + seconds, look)

        self._silence = loop.call_later(seconds, look)

    async def read(self) -> bytes:
        """See `UpstreamStream.read`."""
        block, self._first = self._first, b""
        if self._ended:
            await self._finish()
            return b""
        if not block and self._failure is None:
            block = self._sound(await self._next_block())
        if not block and self._failure is not None:
            raise self._failure
        self._ended = self._ends_stream(block)
        return block

    async def aclose(self) -> None:
        """See `UpstreamStream.aclose`."""
        if self._silence is not None:
            self._silence.cancel()
        self._response.close()

    def _sound(self, block: bytes) -> bytes:
        """The events before the first that is an error or no JSON; that one becomes the stream's failure."""
        reported = split_error(block)
        if reported is not None:
            block = reported[0]
            self._failure = reported_in_body(reported[1])
        if not is_sound(block):
            block = sound_part(block)
            self._failure = broken("a malformed event")
        return block

    async def _next_block(self) -> bytes:
        try:
            while chunk := await self._next_chunk():
                if block := self._cutter.feed(chunk):
                    return block
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            failure = _translated(error)
            raise (cut_short() if failure.reason == "connect" else failure) from error
        raise cut_short()

    async def _next_chunk(self) -> bytes:
        self._waiting_since = asyncio.get_running_loop().time()
        chunk = await self._response.content.readany()
        self._waiting_since = None
        return chunk

    async def _finish(self) -> None:
        """Read the end of the body, which gives the connection back to be used again."""
        if self._response.content.at_eof():
            return
        with suppress(aiohttp.ClientError, TimeoutError, OSError):
            async with asyncio.timeout(_LINGER_SECONDS):
                await self._response.content.readany()


def _make_route(target: ModelTarget, surface: Surface, timeouts: Timeouts) -> _Route:
    url = URL(f"{target.api_base}{surface.path}")
    headers = CIMultiDict({"Content-Type": "application/json", "Accept-Encoding": "identity"})
    headers.update(_credentials(target))
    headers.update(target.headers)
    return _Route(
        target=target,
        url=url,
        headers=headers,
        proxy=None if proxy_bypass(url.host or "") else getproxies().get(url.scheme),
        limits=aiohttp.ClientTimeout(
            total=target.timeout_seconds or timeouts.total, sock_connect=timeouts.connect
        ),
        first_byte_seconds=target.first_byte_seconds or timeouts.first_byte,
        stall_seconds=target.stall_seconds or timeouts.stall,
    )


def _within(limits: aiohttp.ClientTimeout, seconds: float) -> aiohttp.ClientTimeout:
    """The limits, where need be with less time in all."""
    if limits.total is not None and limits.total <= seconds:
        return limits
    return aiohttp.ClientTimeout(total=seconds, sock_connect=limits.sock_connect)


def _credentials(target: ModelTarget) -> dict[str, str]:
    if target.api_key is None:
        return {}
    if target.wire == "anthropic":
        return {"x-api-key": target.api_key}
    return {"Authorization": f"Bearer {target.api_key}"}


def _rate_limits(response: aiohttp.ClientResponse) -> RawHeaders:
    """What the provider says about its limits, to be passed on."""
    return tuple(
        (lowered, value)
        for name, value in response.raw_headers
        if (lowered := name.lower()).startswith(_RATE_LIMITS)
    )


async def _check(response: aiohttp.ClientResponse, content_type: str) -> None:
    """Raise unless the provider answers with what was asked for."""
    if response.status != _OK:
        body = await _read_some(response)
        error = refused(response.status, body, response.headers.get("Retry-After"))
        error.headers = _rate_limits(response)
        raise error
    if response.content_type != content_type:
        raise broken("an answer of the wrong content type")


async def _read_some(response: aiohttp.ClientResponse) -> bytes:
    """The body, as far as it is worth reading."""
    body = b""
    while len(body) < _MAX_ERROR_BYTES and (chunk := await response.content.readany()):
        body += chunk
    return body


def _check_answer(body: bytes, surface: Surface) -> None:
    """Raise unless a whole answer is one; some providers report errors with status 200."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise broken("an answer that is not JSON") from error
    if isinstance(answer, dict):
        if isinstance(answer.get(surface.items), list) and answer.get("status") != "failed":
            return
        if isinstance(answer.get("error"), dict):
            raise reported_in_body(body)
    raise broken(f"an answer without {surface.items}")


def _translated(error: Exception) -> UpstreamError:
    if isinstance(error, TimeoutError):
        return timed_out()
    if isinstance(error, aiohttp.ClientPayloadError):
        return cut_short()
    if isinstance(error, aiohttp.ClientConnectionError | OSError):
        return unreachable()
    return broken("an answer that is not HTTP")
