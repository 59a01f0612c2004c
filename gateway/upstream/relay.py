"""Asks providers in their own wire format: the request is sent as JSON, and the answer returned as bytes.

An answer is parsed only to check it: its status, that a whole answer and every event of a stream are JSON
and report no failure, where events end, and that the last one is there. Everything that the official clients
understand is passed on, whatever its content type, line ends or spelling.
"""

from __future__ import annotations

import asyncio
import importlib
import re
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from math import inf
from typing import Final, NoReturn
from urllib.request import getproxies, proxy_bypass

import orjson
from multidict import CIMultiDict
from typing_extensions import override
from yarl import URL

from gateway.errors import UpstreamError
from gateway.running.deadlines import Deadline, Deadlines
from gateway.upstream.base import (
    AnswerStream,
    ModelTarget,
    RawHeaders,
    Timeouts,
    Upstream,
    UpstreamAnswer,
    UpstreamRequest,
)
from gateway.upstream.events import EventReader, is_failure, objects, progress_of
from gateway.upstream.failures import broken, cut_short, refused, reported_in_body
from gateway.upstream.http.http1 import Http1Client
from gateway.upstream.http.transport import (
    Destination,
    HttpAnswer,
    HttpClient,
    NeverSeenError,
    http_failure,
)
from gateway.upstream.json_text import as_utf8, parsed
from gateway.upstream.retry_budget import RetryBudget
from gateway.upstream.sse import EventCutter, has_event
from gateway.upstream.structure import is_heavy
from gateway.upstream.surfaces import Surface

_OK: Final = range(200, 300)
_EVENT_STREAM: Final = "text/event-stream"
_NO_EVENTS: Final = (b"{", b"[", b"<")  # no line of an event stream begins like this
MAX_ANSWER_BYTES: Final = 256 * 1024 * 1024  # embeddings of 2,048 texts may take half of this
MAX_ERROR_BYTES: Final = 64 * 1024
_LINGER_SECONDS: Final = 1.0
_RATE_LIMITS: Final = (b"x-ratelimit-", b"anthropic-ratelimit-")
_SENDABLE: Final = re.compile(rb"[a-z0-9_-]+:[\t -~\x80-\xff]*")


class Relay(Upstream):
    """Asks targets in their own format. Create it inside the running event loop."""

    def __init__(
        self, timeouts: Timeouts, budget: RetryBudget | None = None, *, max_connections: int = 0
    ) -> None:
        self._timeouts = timeouts
        self._budget = budget or RetryBudget()
        self._deadlines = Deadlines()
        self._destinations: dict[tuple[str, str], Destination] = {}
        self._http1 = Http1Client(connect_seconds=timeouts.connect, max_connections=max_connections)
        self._http2: HttpClient | None = None

    @override
    async def complete(self, request: UpstreamRequest) -> UpstreamAnswer:
        answer: HttpAnswer | None = None
        try:
            destination = self._destination(request.target, request.surface)
            with self._deadlines.limit(min(destination.total_seconds, request.limit_seconds)):
                answer = await self._post(destination, request)
                if answer.status not in _OK:
                    await _refuse(answer, request)
                body = as_utf8(await _read_whole(answer))
            _check_answer(body, request)
        except BaseException as error:
            if answer is not None:
                answer.close()
            if isinstance(error, Exception) and not isinstance(error, UpstreamError):
                raise http_failure(error) from error
            raise
        return UpstreamAnswer(body, _rate_limits(answer))

    @override
    async def stream(self, request: UpstreamRequest) -> AnswerStream:
        answer: HttpAnswer | None = None
        try:
            destination = self._destination(request.target, request.surface)
            seconds = min(destination.total_seconds, request.limit_seconds)
            deadline = asyncio.get_running_loop().time() + seconds
            with self._deadlines.limit(min(destination.first_byte_seconds, seconds)):
                answer = await self._post(destination, request)
                if answer.status not in _OK:
                    await _refuse(answer, request)
                stream = _RelayedStream(answer, request, self._deadlines)
                await stream.begin()
        except BaseException as error:
            if answer is not None:
                answer.close()
            if isinstance(error, Exception) and not isinstance(error, UpstreamError):
                raise http_failure(error) from error
            raise
        stream.limit(destination.stall_seconds, deadline)
        return stream

    @override
    def keep(self, targets: Mapping[str, ModelTarget]) -> None:
        # Connections nothing is asked on any more close by themselves within `KEEP_SECONDS`.
        self._destinations = {
            key: destination
            for key, destination in self._destinations.items()
            if targets.get(destination.target.name) is destination.target
        }

    @override
    async def aclose(self) -> None:
        if self._http2 is not None:
            await self._http2.aclose()
        await self._http1.aclose()

    async def _post(self, destination: Destination, request: UpstreamRequest) -> HttpAnswer:
        body = orjson.dumps({**request.payload, "model": destination.target.model})
        headers = destination.headers
        if request.headers:
            headers = CIMultiDict(request.headers)
            headers.update(destination.headers)
        client = self._client(destination)
        try:
            return await client.post(destination, headers, body)
        except NeverSeenError:
            if not self._budget.take():
                raise
        answer = await client.post(destination, headers, body)
        self._budget.give_back()
        return answer

    def _client(self, destination: Destination) -> HttpClient:
        if not destination.target.http2 or destination.proxy is not None:
            return self._http1
        if self._http2 is None:
            # Imported only if a model uses it, because it takes memory and time.
            http2 = importlib.import_module("gateway.upstream.http.http2")
            client: HttpClient = http2.Http2Client(self._http1, connect_seconds=self._timeouts.connect)
            self._http2 = client
        return self._http2

    def _destination(self, target: ModelTarget, surface: Surface) -> Destination:
        key = (target.name, surface.path)
        destination = self._destinations.get(key)
        if destination is None or destination.target is not target:
            destination = _make_destination(target, surface, self._timeouts)
            self._destinations[key] = destination
        return destination


class _RelayedStream(AnswerStream):
    """The provider's events, as blocks of bytes."""

    headers: RawHeaders = ()

    def __init__(self, answer: HttpAnswer, request: UpstreamRequest, deadlines: Deadlines) -> None:
        self.headers = _rate_limits(answer)
        self._answer = answer
        self._cutter = EventCutter()
        self._reader = EventReader(
            progress_of(request.surface.name), partial(reported_in_body, asked=request)
        )
        self._request = request
        self._first = b""
        self._clock = asyncio.get_running_loop().time
        self._waiting_since: float | None = None
        self._stall_seconds = self._deadline = inf
        self._deadlines = deadlines
        self._next_look: Deadline | None = None

    async def begin(self) -> None:
        """Wait for the first event, so that another provider can answer after an earlier failure."""
        reader = self._reader
        beginning = await self._answer.some()
        if beginning.lstrip()[:1] in _NO_EVENTS:
            raise await _not_streamed(self._answer, beginning, self._request)
        self._first = await self._next_block(beginning)
        while not has_event(self._first) and not reader.has_ended:
            self._first = await self._next_block()
        if reader.failure is not None and not has_event(self._first):
            # Without any event it is a stream that was cut short, or no stream at all.
            is_one = reader.has_reported or self._answer.content_type == _EVENT_STREAM
            raise reader.failure() if is_one else broken("an answer that is no stream of events")

    def limit(self, stall_seconds: float, deadline: float) -> None:
        """From now on, break off if the provider is silent for longer than this.

        Args:
            stall_seconds: The longest silence.
            deadline: When the answer has to be complete, in the loop's time.
        """
        self._stall_seconds, self._deadline = stall_seconds, deadline
        self._look()

    def _look(self) -> None:
        now = self._clock()
        since = now if self._waiting_since is None else self._waiting_since
        next_look = min(since + self._stall_seconds, self._deadline)
        if next_look <= now:
            self._answer.fail(TimeoutError)
        else:
            self._next_look = self._deadlines.after(next_look - now, self._look)

    @override
    async def read(self) -> bytes:
        block, self._first = self._first, b""
        if block:
            return block
        reader = self._reader
        if not reader.has_ended and (block := await self._next_block()):
            return block
        if reader.failure is not None:
            raise reader.failure()
        if not self._answer.is_at_end:  # read, so that the connection can be used again
            with suppress(Exception), self._deadlines.limit(_LINGER_SECONDS):  # the answer is complete
                await self._answer.some()
        return b""

    @override
    async def aclose(self) -> None:
        if self._next_look is not None:
            self._next_look.cancel()
        self._answer.close()

    async def _next_block(self, chunk: bytes = b"") -> bytes:
        """The next events, of which `chunk` is the latest part; at the end, the remaining ones."""
        answer, clock, feed, reader = self._answer, self._clock, self._cutter.feed, self._reader
        try:
            while True:
                if not chunk:
                    self._waiting_since = clock()
                    chunk = await answer.some()
                    self._waiting_since = None
                    if not chunk:
                        break
                block, chunk = feed(chunk), b""
                if block and ((taken := reader.take(block)) or reader.has_ended):
                    return taken
        except Exception as error:
            last = reader.end(self._cutter.rest())
            if reader.is_over:  # the answer was complete before the connection broke off
                return last
            if isinstance(error, UpstreamError):
                raise
            raise _broken_off(error) from error
        return reader.end(self._cutter.rest())


def _make_destination(target: ModelTarget, surface: Surface, timeouts: Timeouts) -> Destination:
    base = target.api_base or ""
    if surface.wire == "anthropic":  # whose paths begin with the version
        base = base.removesuffix("/v1")
    url = URL(f"{base}{surface.path}")
    headers = CIMultiDict({"Content-Type": "application/json", "Accept-Encoding": "identity"})
    if target.api_key is not None and target.wire == "anthropic":
        headers["x-api-key"] = target.api_key
    elif target.api_key is not None:
        headers["Authorization"] = f"Bearer {target.api_key}"
    headers.update(target.headers)
    proxy = getproxies().get(url.scheme)
    return Destination(
        target=target,
        url=url,
        headers=headers,
        proxy=None if proxy is None or proxy_bypass(url.host or "") else URL(proxy),
        total_seconds=target.timeout_seconds or timeouts.total,
        first_byte_seconds=target.first_byte_seconds or timeouts.first_byte,
        stall_seconds=target.stall_seconds or timeouts.stall,
    )


def _rate_limits(answer: HttpAnswer) -> RawHeaders:
    """The provider's rate-limit headers, to pass on, except those that a server would refuse to send."""
    return tuple(
        [
            (lowered, value)
            for name, value in answer.raw_headers
            if (lowered := name.lower()).startswith(_RATE_LIMITS)
            and _SENDABLE.fullmatch(b"%b:%b" % (lowered, value))
        ]
    )


async def _refuse(answer: HttpAnswer, asked: UpstreamRequest) -> NoReturn:
    """Raise for a refusal. Its content type is ignored, as the official clients ignore it."""
    body = await _read_some(answer)
    raise refused(answer.status, body, asked, answer.retry_after, _rate_limits(answer))


async def _not_streamed(answer: HttpAnswer, beginning: bytes, asked: UpstreamRequest) -> UpstreamError:
    """The error for an answer that begins like JSON or a web page instead of an event stream."""
    body = beginning + await _read_some(answer)
    with suppress(ValueError):
        if any(is_failure(one) for one in objects(parsed(body))):
            return reported_in_body(body, asked)
    return broken("an answer that is no stream of events")


async def _read_whole(answer: HttpAnswer) -> bytes:
    """All of the body. A provider that sends without end takes no more memory than this."""
    pieces, size = [], 0
    while not answer.is_at_end and (piece := await answer.some()):
        pieces.append(piece)
        size += len(piece)
        if size > MAX_ANSWER_BYTES:
            raise broken("an answer that is too long")
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def _read_some(answer: HttpAnswer) -> bytes:
    """The beginning of the body, as much as is worth reading."""
    body = b""
    while len(body) < MAX_ERROR_BYTES and (chunk := await answer.some()):
        body += chunk
    return body


def _broken_off(error: Exception) -> UpstreamError:
    """The error for an exception after an answer has begun.

    This is not done in the frame that raises it, because the frame would hold the error, and the error's
    traceback the frame.
    """
    failure = http_failure(error)
    return cut_short() if failure.reason == "connect" else failure


def _check_answer(body: bytes, asked: UpstreamRequest) -> None:
    """Raise if a whole answer is an error: some providers report errors with status 200."""
    if is_heavy(body):
        raise broken("an answer with too much structure")
    try:
        answer = parsed(body)
    except ValueError as error:
        raise broken("an answer that is not JSON") from error
    parts = objects(answer) if answer.__class__ is not dict else (answer,)
    for part in parts:
        if is_failure(part):
            raise reported_in_body(body, asked)
    if not (isinstance(answer, dict) and isinstance(answer.get(asked.surface.items), asked.surface.holds)):
        raise broken(f"an answer without {asked.surface.items}")
