"""Providers asked in their own wire format: the request goes out as JSON, the answer comes back as bytes.

Nothing is read but what shows that the answer is one: its status and content type, that a whole answer and
every event of a stream are JSON objects, and where events end.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final
from urllib.request import getproxies, proxy_bypass

import orjson
from multidict import CIMultiDict
from yarl import URL

from gateway.errors import UpstreamError
from gateway.upstream.base import (
    AnswerStream,
    ModelTarget,
    RawHeaders,
    Timeouts,
    UpstreamAnswer,
    UpstreamRequest,
)
from gateway.upstream.failures import broken, cut_short, refused, reported_in_body
from gateway.upstream.http.http1 import Http1Client
from gateway.upstream.http.transport import (
    HttpAnswer,
    HttpClient,
    NeverSeenError,
    Route,
    translated,
)
from gateway.upstream.retry_budget import RetryBudget
from gateway.upstream.sse import EventCutter, has_event, is_plain, is_sound, sound_part, split_error
from gateway.upstream.surfaces import Surface

_OK: Final = 200
_MAX_ERROR_BYTES: Final = 64 * 1024
_LINGER_SECONDS: Final = 1.0
_RATE_LIMITS: Final = (b"x-ratelimit-", b"anthropic-ratelimit-")


class Relay:
    """An `Upstream` for requests in their target's own format. Create it inside the running event loop."""

    def __init__(
        self, timeouts: Timeouts, budget: RetryBudget | None = None, *, max_connections: int = 0
    ) -> None:
        self._timeouts = timeouts
        self._budget = budget or RetryBudget()
        self._routes: dict[tuple[str, str], Route] = {}
        self._http1 = Http1Client(connect_seconds=timeouts.connect, max_connections=max_connections)
        self._http2: HttpClient | None = None

    async def complete(self, request: UpstreamRequest) -> UpstreamAnswer:
        """See `Upstream.complete`."""
        answer: HttpAnswer | None = None
        try:
            route = self._route(request.target, request.surface)
            answer = await self._post(route, request)
            await _check(answer, "application/json")
            body = await answer.whole()
            _check_answer(body, request.surface)
        except BaseException as error:
            if answer is not None:
                answer.close()
            if isinstance(error, Exception) and not isinstance(error, UpstreamError):
                raise translated(error) from error
            raise
        return UpstreamAnswer(body, _rate_limits(answer))

    async def stream(self, request: UpstreamRequest) -> AnswerStream:
        """See `Upstream.stream`."""
        answer: HttpAnswer | None = None
        try:
            route = self._route(request.target, request.surface)
            async with asyncio.timeout(route.first_byte_seconds):
                answer = await self._post(route, request)
                await _check(answer, "text/event-stream")
                stream = _RelayedStream(answer, request.surface)
                await stream.begin()
        except BaseException as error:
            if answer is not None:
                answer.close()
            if isinstance(error, Exception) and not isinstance(error, UpstreamError):
                raise translated(error) from error
            raise
        stream.limit_silence(route.stall_seconds)
        return stream

    async def aclose(self) -> None:
        """See `Upstream.aclose`."""
        if self._http2 is not None:
            await self._http2.aclose()
        await self._http1.aclose()

    async def _post(self, route: Route, request: UpstreamRequest) -> HttpAnswer:
        seconds = min(route.total_seconds, request.limit_seconds)
        body = orjson.dumps({**request.payload, "model": route.target.model})
        headers = route.headers
        if request.headers:
            headers = CIMultiDict(request.headers)
            headers.update(route.headers)
        client = self._client(route)
        try:
            return await client.post(route, headers, body, seconds)
        except NeverSeenError:
            if not self._budget.take():
                raise
        answer = await client.post(route, headers, body, seconds)
        self._budget.give_back()
        return answer

    def _client(self, route: Route) -> HttpClient:
        if not route.target.http2 or route.proxy is not None:
            return self._http1
        if self._http2 is None:
            # Only where a model wants it: it takes memory and a moment.
            http2 = importlib.import_module("gateway.upstream.http.http2")
            client: HttpClient = http2.Http2Client(self._http1, connect_seconds=self._timeouts.connect)
            self._http2 = client
        return self._http2

    def _route(self, target: ModelTarget, surface: Surface) -> Route:
        key = (target.name, surface.name)
        route = self._routes.get(key)
        if route is None or route.target is not target:
            route = _make_route(target, surface, self._timeouts)
            self._routes[key] = route
        return route


class _RelayedStream:
    """The provider's events, as blocks of bytes."""

    def __init__(self, answer: HttpAnswer, surface: Surface) -> None:
        self.headers = _rate_limits(answer)
        self._answer = answer
        self._ends_stream = surface.ends_stream
        self._cutter = EventCutter()
        self._first = b""
        self._failure: Callable[[], UpstreamError] | None = None
        self._ended = False
        self._clock = asyncio.get_running_loop().time
        self._waiting_since: float | None = None
        self._silence: asyncio.TimerHandle | None = None
        self._silence_seconds = 0.0

    async def begin(self) -> None:
        """Wait for the first event, so that a failure before it can still be answered otherwise."""
        while not has_event(self._first):
            self._first = await self._next_block()
        self._first = self._sound(self._first)
        if not has_event(self._first) and self._failure is not None:
            raise self._failure()

    def limit_silence(self, seconds: float) -> None:
        """From now on, break off when the provider is waited for longer than this."""
        self._silence_seconds = seconds
        self._silence = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        now = self._clock()
        since = now if self._waiting_since is None else self._waiting_since
        if now - since >= self._silence_seconds:
            self._answer.fail(TimeoutError)
        else:
            next_look = since + self._silence_seconds
            self._silence = asyncio.get_running_loop().call_at(next_look, self._look)

    async def read(self) -> bytes:
        """See `AnswerStream.read`."""
        block, self._first = self._first, b""
        if self._ended:
            await self._finish()
            return b""
        if not block and self._failure is None:
            block = self._sound(await self._next_block())
        if not block and self._failure is not None:
            raise self._failure()
        self._ended = self._ends_stream(block)
        return block

    async def aclose(self) -> None:
        """See `AnswerStream.aclose`."""
        if self._silence is not None:
            self._silence.cancel()
        self._answer.close()

    def _sound(self, block: bytes) -> bytes:
        """The events before the first that is an error or no JSON; that one becomes the stream's failure."""
        if is_plain(block):
            return block
        reported = split_error(block)
        if reported is not None:
            block = reported[0]
            self._failure = partial(reported_in_body, reported[1])
        if not is_sound(block):
            block = sound_part(block)
            self._failure = partial(broken, "a malformed event")
        return block

    async def _next_block(self) -> bytes:
        clock, feed = self._clock, self._cutter.feed
        try:
            while True:
                self._waiting_since = clock()
                chunk = await self._answer.some()
                self._waiting_since = None
                if not chunk:
                    break
                if block := feed(chunk):
                    return block
        except UpstreamError:
            raise
        except Exception as error:
            raise _broken_off(error) from error
        raise cut_short()

    async def _finish(self) -> None:
        """Read the end of the body, which gives the connection back to be used again."""
        if self._answer.is_at_end:
            return
        with suppress(Exception):  # the answer is complete
            async with asyncio.timeout(_LINGER_SECONDS):
                await self._answer.some()


def _make_route(target: ModelTarget, surface: Surface, timeouts: Timeouts) -> Route:
    url = URL(f"{target.api_base}{surface.path}")
    headers = CIMultiDict({"Content-Type": "application/json", "Accept-Encoding": "identity"})
    headers.update(_credentials(target))
    headers.update(target.headers)
    return Route(
        target=target,
        url=url,
        headers=headers,
        proxy=None if proxy_bypass(url.host or "") else getproxies().get(url.scheme),
        total_seconds=target.timeout_seconds or timeouts.total,
        first_byte_seconds=target.first_byte_seconds or timeouts.first_byte,
        stall_seconds=target.stall_seconds or timeouts.stall,
    )


def _credentials(target: ModelTarget) -> dict[str, str]:
    if target.api_key is None:
        return {}
    if target.wire == "anthropic":
        return {"x-api-key": target.api_key}
    return {"Authorization": f"Bearer {target.api_key}"}


def _rate_limits(answer: HttpAnswer) -> RawHeaders:
    """What the provider says about its limits, to be passed on."""
    return tuple(
        (lowered, value)
        for name, value in answer.raw_headers
        if (lowered := name.lower()).startswith(_RATE_LIMITS)
    )


async def _check(answer: HttpAnswer, content_type: str) -> None:
    """Raise unless the provider answers with what was asked for."""
    if answer.status != _OK:
        raise await _refusal(answer)
    if answer.content_type != content_type:
        raise broken("an answer of the wrong content type")


async def _refusal(answer: HttpAnswer) -> UpstreamError:
    return refused(answer.status, await _read_some(answer), answer.retry_after, _rate_limits(answer))


async def _read_some(answer: HttpAnswer) -> bytes:
    """The body, as far as it is worth reading."""
    body = b""
    while len(body) < _MAX_ERROR_BYTES and (chunk := await answer.some()):
        body += chunk
    return body


def _broken_off(error: Exception) -> UpstreamError:
    """What an exception means once an answer had begun."""
    failure = translated(error)
    return cut_short() if failure.reason == "connect" else failure


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
