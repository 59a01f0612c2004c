"""One HTTP/2 connection to a provider and its unfinished answers. The only module that imports h2.

h2 keeps the protocol's state and turns bytes into events and back; this module adds a socket and decisions.
Every change of that state happens between two awaits, so a caller that leaves at any moment leaves the state
consistent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final, cast

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import H2Error
from h2.settings import SettingCodes, Settings
from typing_extensions import override

from gateway.upstream.failures import broken
from gateway.upstream.http.http1 import KEEP_SECONDS, MAX_HEAD_BYTES
from gateway.upstream.http.http2_answer import Http2Answer, StreamOwner
from gateway.upstream.http.http2_frames import Goaway, GoawayFilter, MalformedFrameError
from gateway.upstream.http.transport import Failure, NeverSeenError

RequestHead = list[tuple[bytes, bytes]]

# How much of one unread answer may be held in memory. The connection's window is large enough for all
# answers, so that a slow reader does not delay the others.
_STREAM_WINDOW: Final = 256 * 1024
_GIVE_BACK: Final = _STREAM_WINDOW // 4
_CONNECTION_WINDOW: Final = 16 * 1024 * 1024
_PROBE_SECONDS: Final = 5.0
_CLOSING_SECONDS: Final = 1.0
_SETTINGS: Final = {
    SettingCodes.ENABLE_PUSH: 0,
    SettingCodes.INITIAL_WINDOW_SIZE: _STREAM_WINDOW,
    SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEAD_BYTES,
}


class Http2Connection(asyncio.Protocol, StreamOwner):
    """A connection.

    Args:
        on_lost: Called when the connection is lost.

    Attributes:
        is_http2: Whether the other end agreed to HTTP/2, or could not be asked. If it declined, nothing is
            sent.
    """

    def __init__(self, on_lost: Callable[[Http2Connection], None]) -> None:
        self._on_lost = on_lost
        self._h2 = H2Connection(H2Configuration(client_side=True, header_encoding=None))
        self._h2.local_settings = Settings(client=True, initial_values=_SETTINGS)
        del self._h2.local_settings[SettingCodes.ENABLE_CONNECT_PROTOCOL]  # some servers do not know it
        self._incoming = GoawayFilter()
        self._answers: dict[int, Http2Answer] = {}
        self._unread: dict[int, int] = {}  # for each stream, bytes that were read but not yet acknowledged
        self._received = 0  # the same for the connection
        self._transport: asyncio.Transport | None = None
        self._is_writable = True
        self._is_leaving = False
        self._has_answered = False
        self._is_kept = False  # whether the provider had answered before the last request was sent
        self._heard = 0  # how many times something arrived
        self._heard_at_last_request = 0
        self._idle: asyncio.TimerHandle | None = None
        self._probe: asyncio.TimerHandle | None = None
        loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[Exception | None] = loop.create_future()
        self._lost: asyncio.Future[None] = loop.create_future()
        self.is_http2 = False

    @property
    def has_room(self) -> bool:
        """Whether the connection can take one more request."""
        return not self._is_leaving and len(self._answers) < max(
            1, self._h2.remote_settings.max_concurrent_streams
        )

    async def ready(self) -> None:
        """Wait for the other end's settings.

        Raises:
            UpstreamError: If it does not speak HTTP/2.
            ConnectionError: If it closes the connection.
        """
        error = await self._ready
        if error is not None:
            raise error

    async def ask(self, head: RequestHead, body: bytes) -> Http2Answer:
        """Send a request and wait for the headers of its answer.

        Raises:
            NeverSeenError: If the provider did not begin to work on the request.
            ConnectionError: If it closed the connection before the headers.
        """
        stream, answer = self._open(head)
        try:
            await self._send(stream, answer, body)
            await answer.begun()
        except BaseException as error:
            answer.close()
            if isinstance(error, H2Error):
                raise ConnectionResetError from error
            raise
        if not answer.is_sent:
            self.leave(stream)  # the provider answered without reading the whole request
        return answer

    @override
    def read(self, stream: int, size: int) -> None:
        answer = self._answers.get(stream)
        if answer is None or answer.is_over:
            return
        unread = self._unread.get(stream, 0) + size
        if unread >= _GIVE_BACK:
            self._h2.increment_flow_control_window(unread, stream)
            self._flush()
            unread = 0
        self._unread[stream] = unread

    @override
    def leave(self, stream: int) -> None:
        answer = self._answers.get(stream)
        if answer is not None:
            with suppress(H2Error):  # the connection is being closed, or the stream was just closed
                self._h2.reset_stream(stream, ErrorCodes.CANCEL)
            self._forget(stream)
            self._flush()
            self._look_whether_it_lives()

    async def aclose(self) -> None:
        """Close the connection, and with it the unfinished answers."""
        self._close()
        await asyncio.wait([self._lost], timeout=_CLOSING_SECONDS)
        if self._transport is not None:
            self._transport.abort()

    # Called by asyncio.

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        tls = transport.get_extra_info("ssl_object")
        self.is_http2 = tls is None or tls.selected_alpn_protocol() == "h2"
        if self.is_http2:
            self._h2.initiate_connection()
            self._h2.increment_flow_control_window(_CONNECTION_WINDOW)
            self._flush()
            self._keep_for_a_while()

    @override
    def data_received(self, data: bytes) -> None:
        self._heard += 1
        try:
            for part in self._incoming.feed(data):
                if isinstance(part, Goaway):
                    self._let_go(part)
                else:
                    for event in self._h2.receive_data(part):
                        self._take(event)
        except (H2Error, MalformedFrameError):
            self._close(partial(broken, "an answer that is not HTTP"))
        self._flush()

    @override
    def pause_writing(self) -> None:
        self._is_writable = False

    @override
    def resume_writing(self) -> None:
        self._is_writable = True
        self._wake_all()

    @override
    def connection_lost(self, _error: Exception | None) -> None:
        self._is_leaving = True
        self._transport = None
        # As with HTTP/1.1: a kept connection that ends without an answer had been closed in the meantime.
        is_unseen = self._is_kept and len(self._answers) == 1 and self._heard == self._heard_at_last_request
        self._break_off_all(is_unseen=is_unseen)
        for timer in (self._idle, self._probe):
            if timer is not None:
                timer.cancel()
        if not self._lost.done():
            self._lost.set_result(None)
        self._on_lost(self)

    def _take(self, event: Event) -> None:
        stream: int = getattr(event, "stream_id", None) or 0
        answer = self._answers.get(stream)
        if isinstance(event, DataReceived):
            # The connection's window is restored at once, because each stream has a limit of its own.
            self._received += event.flow_controlled_length or 0
            if self._received >= _CONNECTION_WINDOW // 4:
                self._h2.increment_flow_control_window(self._received)
                self._received = 0
        if answer is not None:
            self._tell(answer, stream, event)
        elif isinstance(event, RemoteSettingsChanged):
            self._settle(None)
            self._wake_all()
        elif isinstance(event, WindowUpdated) and not stream:
            self._wake_all()

    def _tell(self, answer: Http2Answer, stream: int, event: Event) -> None:
        match event:
            case DataReceived(data=data, flow_controlled_length=size):
                answer.data(data or b"", size or 0)
            case ResponseReceived(headers=headers):
                self._has_answered = True
                answer.head(headers or ())
            case StreamEnded():
                answer.end()
                if answer.is_sent:  # if not, it stays open until it is left
                    self._forget(stream)
            case StreamReset(error_code=code):
                answer.break_off(is_unseen=code == ErrorCodes.REFUSED_STREAM)
                self._forget(stream)
            case WindowUpdated():
                answer.wake()

    def _let_go(self, goaway: Goaway) -> None:
        """Take no new requests. The provider will finish those that it has begun."""
        self._is_leaving = True
        for stream, answer in list(self._answers.items()):
            if stream > goaway.last_stream:
                answer.break_off(is_unseen=True)
                self._forget(stream)
        if not self._answers:
            self._close()

    # Actions of the connection.

    def _open(self, head: RequestHead) -> tuple[int, Http2Answer]:
        try:
            stream = self._h2.get_next_available_stream_id()
            self._h2.send_headers(stream, head)
        except H2Error as error:
            # No stream numbers are left, or the provider accepts no further streams.
            self._is_leaving = True
            raise NeverSeenError from error
        self._heard_at_last_request = self._heard
        self._is_kept = self._has_answered
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        answer = self._answers[stream] = Http2Answer(self, stream)
        return stream, answer

    async def _send(self, stream: int, answer: Http2Answer, body: bytes) -> None:
        """Send the body as fast as the provider takes it, unless it has answered already."""
        at = 0
        while not answer.is_over:
            size = min(
                len(body) - at, self._h2.local_flow_control_window(stream), self._h2.max_outbound_frame_size
            )
            if size <= 0 or not self._is_writable:
                self._flush()
                await answer.change()
                continue
            is_last = at + size == len(body)
            self._h2.send_data(stream, body if size == len(body) else body[at : at + size], is_last)
            at += size
            if is_last:
                answer.is_sent = True
                break
        self._flush()

    def _forget(self, stream: int) -> None:
        del self._answers[stream]
        self._unread.pop(stream, None)
        if self._answers or self._transport is None:
            return
        if self._is_leaving:
            self._close()
        else:
            self._keep_for_a_while()

    def _keep_for_a_while(self) -> None:
        if not self._answers and self._idle is None:
            self._idle = asyncio.get_running_loop().call_later(KEEP_SECONDS, self._close)

    def _look_whether_it_lives(self) -> None:
        """After a request timed out, close the connection if a ping gets no answer: others would wait too."""
        if self._transport is None or self._is_leaving or self._probe is not None:
            return
        self._h2.ping(bytes(8))
        self._flush()
        heard_before = self._heard

        def hear_out() -> None:
            self._probe = None
            if self._heard == heard_before and self._transport is not None:
                self._transport.abort()

        self._probe = asyncio.get_running_loop().call_later(_PROBE_SECONDS, hear_out)

    def _settle(self, error: Exception | None) -> None:
        """Let `ready` return, or raise."""
        if not self._ready.done():
            self._ready.set_result(error)

    def _break_off_all(self, failure: Failure | None = None, *, is_unseen: bool = False) -> None:
        for stream, answer in list(self._answers.items()):
            if failure is not None and not answer.status:
                answer.fail(failure)
            answer.break_off(is_unseen=is_unseen)
            self._forget(stream)
        self._settle((failure or ConnectionResetError)())

    def _wake_all(self) -> None:
        for answer in self._answers.values():
            answer.wake()

    def _flush(self) -> None:
        if self._transport is not None and (data := self._h2.data_to_send()):
            self._transport.write(data)

    def _close(self, failure: Failure | None = None) -> None:
        """Take no new requests, and end the unfinished ones; those not begun fail with `failure`."""
        self._is_leaving = True
        if self._transport is None or self._transport.is_closing():
            return
        self._h2.close_connection()
        self._flush()
        self._transport.close()
        self._break_off_all(failure)
