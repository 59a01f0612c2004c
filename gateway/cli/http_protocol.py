"""HTTP as uvicorn speaks it, with a deadline for requests to arrive.

uvicorn bounds the silence between requests, and not how long one may take to arrive: a client that sends a
byte now and then would keep its connection for ever. No application can do that either, since it is called
only once the headers are complete.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_BODY: Final = (
    b'{"error":{"message":"The request took too long to arrive.","type":"invalid_request_error",'
    b'"param":null,"code":"request_timeout"}}'
)
_TOO_LATE: Final = (
    b"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n" % len(_BODY)
) + _BODY


class DeadlineProtocol(HttpToolsProtocol):
    """Answers 408 and hangs up when a request, headers and body, is not complete in time.

    The time runs from the first byte of a request, for the first one from the connection's beginning. Most
    requests arrive in one piece and never start a timer.

    Attributes:
        seconds: The time.
    """

    seconds: float

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._is_arriving = True
        self._has_headers = False
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self._start_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        super().data_received(data)
        if self._is_arriving and self._deadline is None:
            self._start_waiting()

    def on_message_begin(self) -> None:
        """Called by the parser at the first byte of a request."""
        self._is_arriving = True
        self._has_headers = False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Called by the parser at the end of the headers."""
        super().on_headers_complete()
        self._has_headers = True

    def on_message_complete(self) -> None:
        """Called by the parser at the last."""
        self._is_arriving = False
        self._stop_waiting()
        super().on_message_complete()

    def _start_waiting(self) -> None:
        self._deadline = self.loop.call_later(self.seconds, self._hang_up)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _hang_up(self) -> None:
        self._deadline = None
        if self.transport.is_closing():
            return
        if self._may_answer():
            self.transport.write(_TOO_LATE)
        self.transport.close()

    def _may_answer(self) -> bool:
        """Whether an answer would neither cut into another one nor be the second to the same request."""
        if self.cycle is None:
            return True
        return not self.cycle.response_started if self._has_headers else self.cycle.response_complete


def deadline_protocol(seconds: float) -> type[DeadlineProtocol]:
    """The protocol with this deadline, for uvicorn, which makes one per connection."""
    return type("DeadlineProtocol", (DeadlineProtocol,), {"seconds": seconds})
