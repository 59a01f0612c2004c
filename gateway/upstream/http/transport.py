"""What relaying needs of HTTP, whichever version carries it: a request is posted, an answer read in pieces.

`http1.py` is the usual way, `http2.py` the one a model may ask for; `relay.py` cannot tell them apart.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from gateway.errors import UpstreamError
from gateway.upstream.base import ModelTarget, RawHeaders
from gateway.upstream.failures import broken, cut_short, timed_out, unforeseen, unreachable

# Makes the error. An error that is kept would, once raised, hold by its traceback what keeps it.
Failure = Callable[[], Exception]


class NeverSeenError(ConnectionError):
    """The provider has not begun to work on the request, so it may be sent again."""


@dataclass(frozen=True, slots=True)
class Destination:
    """What every request of one kind to one target has in common."""

    target: ModelTarget
    url: URL
    headers: CIMultiDict[str]
    proxy: str | None
    total_seconds: float
    first_byte_seconds: float
    stall_seconds: float


class HttpAnswer(Protocol):
    """An answer whose head has arrived."""

    @property
    def status(self) -> int:
        """Its status."""
        ...

    @property
    def content_type(self) -> str:
        """Media type of the body, in small letters and without parameters."""
        ...

    @property
    def raw_headers(self) -> RawHeaders:
        """Its headers, names in any case."""
        ...

    @property
    def retry_after(self) -> str | None:
        """When the provider wants to be asked again."""
        ...

    @property
    def is_at_end(self) -> bool:
        """Whether all of the body was read."""
        ...

    def some(self) -> Awaitable[bytes]:
        """The next bytes of the body as they arrive; empty at its end."""
        ...

    def whole(self) -> Awaitable[bytes]:
        """All of the body."""
        ...

    def fail(self, failure: Failure) -> None:
        """Let whoever reads, now or later, get this."""
        ...

    def close(self) -> None:
        """Free the provider at once where the body was not read to its end. May be called again."""
        ...


class HttpClient(Protocol):
    """A way to post."""

    async def post(
        self, destination: Destination, headers: CIMultiDict[str], body: bytes, seconds: float
    ) -> HttpAnswer:
        """Send a request.

        Args:
            destination: Where to.
            headers: All of them.
            body: JSON.
            seconds: What the whole answer may take.

        Raises:
            NeverSeenError: If it may be sent again.
        """
        ...

    async def aclose(self) -> None:
        """Close every connection."""
        ...


def translated(error: Exception) -> UpstreamError:
    """What whatever was raised while a provider was asked or read means to the caller.

    A client knows more ways to fail than any list of them: a header that cannot be sent, a host that cannot
    be encoded, an answer that trips a parser. Each is that provider's failure, so that others stand in.

    The error loses its traceback: a body's reader keeps the error, and the traceback would keep the reader
    and all of the request with it until the next garbage collection.
    """
    error.__traceback__ = None
    if isinstance(error, TimeoutError):
        return timed_out()
    if isinstance(error, aiohttp.ClientPayloadError):
        return cut_short()
    if isinstance(error, aiohttp.ClientConnectionError | aiohttp.InvalidURL | OSError):
        return unreachable()
    if isinstance(error, aiohttp.ClientError):
        return broken("an answer that is not HTTP")
    return unforeseen(error)
