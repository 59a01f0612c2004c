"""The interface that relaying needs for any version of HTTP: post a request, read an answer in pieces.

`http1.py` is the default, `http2.py` is used by models that ask for it; `relay.py` cannot tell them apart.
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

# The error is made only when it is raised: a stored error's traceback would hold the object that stores the
# error.
Failure = Callable[[], Exception]


class NeverSeenError(ConnectionError):
    """The provider has not begun to work on the request, so it may be sent again."""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Destination:
    """The data that all requests of one kind to one target share; clients may keep more for each."""

    target: ModelTarget
    url: URL
    headers: CIMultiDict[str]
    proxy: URL | None
    total_seconds: float
    first_byte_seconds: float
    stall_seconds: float


class HttpAnswer(Protocol):
    """An answer whose headers have arrived."""

    @property
    def status(self) -> int:
        """Its status."""
        ...

    @property
    def content_type(self) -> str:
        """Media type of the body, in lower case and without parameters."""
        ...

    @property
    def raw_headers(self) -> RawHeaders:
        """Its headers, names in any case."""
        ...

    @property
    def retry_after(self) -> str | None:
        """The provider's `retry-after`."""
        ...

    @property
    def is_at_end(self) -> bool:
        """Whether all of the body was read."""
        ...

    def some(self) -> Awaitable[bytes]:
        """The next bytes of the body as they arrive; empty at its end."""
        ...

    def fail(self, failure: Failure) -> None:
        """Make every present and later read raise this error, unless all of the body has arrived."""
        ...

    def close(self) -> None:
        """Release the provider at once if the body was not read to its end. May be called repeatedly."""
        ...


class HttpClient(Protocol):
    """A way to post."""

    async def post(self, destination: Destination, headers: CIMultiDict[str], body: bytes) -> HttpAnswer:
        """Send a request. How long it may take is bounded by whoever waits for it.

        Args:
            destination: Where to send it.
            headers: All of its headers.
            body: Its JSON.

        Raises:
            NeverSeenError: If the request may be sent again.
        """
        ...

    async def aclose(self) -> None:
        """Close every connection."""
        ...


def http_failure(error: Exception) -> UpstreamError:
    """The error for an exception raised while a provider was asked or read.

    An HTTP client can fail in more ways than can be listed: a header that cannot be sent, a host that cannot
    be encoded, an answer that breaks a parser. Each counts as the provider's failure, so that another one
    answers. The error loses its traceback: the body's reader keeps the error, and the traceback would keep
    the reader and the whole request until the next garbage collection.
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
