"""Bounds what litellm reads of an answer, below all of its clients.

litellm unpacks answers, and reads lines and whole bodies, without a bound, and keeps every part of a stream
until its end. So the transports that its clients send through (httpx's, and litellm's own over aiohttp)
measure here what passes, unpacked. Imports httpx, which takes time, so it is imported with litellm.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import cache, wraps
from typing import Any, Final

import httpx
from typing_extensions import override

from gateway.upstream.failures import broken
from gateway.upstream.http.inflating import PACKED, PLAIN, Inflater
from gateway.upstream.relay import MAX_ANSWER_BYTES, MAX_ERROR_BYTES
from gateway.upstream.sse import MAX_EVENT_BYTES
from gateway.upstream.structure import MOST_STRUCTURE_BYTES, Structure
from gateway.upstream.translating.asking import Asking, BrokenAnswerError, current_asking

MAX_STREAM_BYTES: Final = 32 * 1024 * 1024
"""Of a stream, of which litellm keeps every part: 128,000 tokens in an event each take half of this."""
MAX_WHOLE_BYTES: Final = 64 * 1024 * 1024
"""Of a whole answer. Embeddings may be as long as through the relay."""
_LIGHT_BYTES: Final = 1024 * 1024  # of an answer's beginning, whose structure takes no more than 46 MiB
_ERRORS: Final = 400
_TURN_SECONDS: Final = 0.005
_LINE_ENDS: Final = (b"\n", b"\r")
_ACCEPTED: Final = "gzip, deflate"


class _Gauge:
    """Unpacks and measures one answer."""

    def __init__(self, response: httpx.Response, asking: Asking) -> None:
        self._is_error = response.status_code >= _ERRORS
        self._has_lines = asking.is_streamed and not self._is_error
        self._most = _most_bytes(asking)
        self._size = self._line = 0
        self._structure = Structure()
        self._inflater = _inflater(response)

    @property
    def has_enough(self) -> bool:
        """Whether nothing more need be read: an error says at its beginning what is wrong."""
        return self._is_error and self._size >= MAX_ERROR_BYTES

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """What arrived, unpacked; of a stream, line by line.

        Raises:
            BrokenAnswerError: It is too long, or cannot be unpacked.
        """
        try:
            for piece in (data,) if self._inflater is None else self._inflater.pieces(data):
                self._size += len(piece)
                if self._size > self._most:
                    raise BrokenAnswerError(broken("an answer that is too long"))
                if self._size > _LIGHT_BYTES:
                    self._weigh(piece)
                if self._has_lines:
                    yield from self._lines(piece)
                else:
                    yield piece
        except zlib.error:
            raise BrokenAnswerError(broken("an answer that is not in the encoding it says")) from None

    def _weigh(self, piece: bytes) -> None:
        """Take in the structure of what comes after a light beginning, inside of strings as well."""
        self._structure = self._structure.plus(piece)
        if self._structure.bytes_parsed > MOST_STRUCTURE_BYTES:
            raise BrokenAnswerError(broken("an answer with too much structure"))

    def _lines(self, piece: bytes) -> Iterator[bytes]:
        for line in piece.splitlines(keepends=True):
            self._line += len(line)
            if self._line > MAX_EVENT_BYTES:
                raise BrokenAnswerError(broken("an event without end"))
            if line.endswith(_LINE_ENDS):
                self._line = 0
            yield line


def _most_bytes(asking: Asking) -> int:
    if asking.is_streamed:
        return MAX_STREAM_BYTES
    return MAX_ANSWER_BYTES if asking.is_embedding else MAX_WHOLE_BYTES


def _inflater(response: httpx.Response) -> Inflater | None:
    encoding = response.headers.get("content-encoding", "").strip().lower().encode()
    if encoding in PLAIN:
        return None
    if encoding not in PACKED:
        raise BrokenAnswerError(broken("an answer in an encoding that was not asked for"))
    return Inflater(encoding)


class _Body(httpx.AsyncByteStream):
    """The body of an answer.

    What has arrived is handed on without waiting, and litellm may take a millisecond for a line of which
    nothing comes. So other tasks have their turn in between.
    """

    def __init__(self, body: httpx.AsyncByteStream, gauge: _Gauge) -> None:
        self._body = body
        self._gauge = gauge

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        time = asyncio.get_running_loop().time
        due = time() + _TURN_SECONDS
        async for data in self._body:
            for piece in self._gauge.pieces(data):
                yield piece
                if time() > due:
                    await asyncio.sleep(0)
                    due = time() + _TURN_SECONDS
            if self._gauge.has_enough:
                break

    @override
    async def aclose(self) -> None:
        await self._body.aclose()


class _BodyInThread(httpx.SyncByteStream):
    """The body of an answer that litellm reads in a thread."""

    def __init__(self, body: httpx.SyncByteStream, gauge: _Gauge) -> None:
        self._body = body
        self._gauge = gauge

    @override
    def __iter__(self) -> Iterator[bytes]:
        for data in self._body:
            yield from self._gauge.pieces(data)
            if self._gauge.has_enough:
                break

    @override
    def close(self) -> None:
        self._body.close()


def _measured(response: httpx.Response, asking: Asking, body: Callable[[Any, _Gauge], Any]) -> httpx.Response:
    response.stream = body(response.stream, _Gauge(response, asking))
    response.headers.pop("content-encoding", None)
    response.headers.pop("content-length", None)
    return response


Send = Callable[[Any, httpx.Request], Awaitable[httpx.Response]]
SendInThread = Callable[[Any, httpx.Request], httpx.Response]


def _bounded(send: Send) -> Send:
    @wraps(send)
    async def send_bounded(self: Any, request: httpx.Request) -> httpx.Response:
        asking = current_asking()
        if asking is None:
            return await send(self, request)
        request.headers["accept-encoding"] = _ACCEPTED
        return _measured(await send(self, request), asking, _Body)

    return send_bounded


def _bounded_in_thread(send: SendInThread) -> SendInThread:
    @wraps(send)
    def send_bounded(self: Any, request: httpx.Request) -> httpx.Response:
        asking = current_asking()
        if asking is None:
            return send(self, request)
        request.headers["accept-encoding"] = _ACCEPTED
        return _measured(send(self, request), asking, _BodyInThread)

    return send_bounded


@cache
def bound_answers(over_aiohttp: Any) -> None:
    """Bound every answer that is read for a request on its way (`asking`), whichever client asks.

    Args:
        over_aiohttp: litellm's transport over aiohttp.
    """
    over_httpx: Any = httpx.AsyncHTTPTransport
    in_thread: Any = httpx.HTTPTransport
    for transport in (over_httpx, over_aiohttp):
        transport.handle_async_request = _bounded(transport.handle_async_request)
    in_thread.handle_request = _bounded_in_thread(in_thread.handle_request)
