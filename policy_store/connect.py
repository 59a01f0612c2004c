"""The one client all state goes through, whatever server is behind it."""

from __future__ import annotations

from typing import Final

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from policy_store.address import check_address
from policy_store.embedded import EmbeddedValkey

__all__ = ["EmbeddedValkey", "connect"]

_HEALTH_CHECK_SECONDS: Final = 30


def connect(url: str, *, timeout_seconds: float = 1.0, max_connections: int = 32) -> Redis:
    """A client for `redis://`, `rediss://` or `unix://`. Connects on first use, and again after a fault.

    A call beyond `max_connections` waits for a free connection. The driver never repeats a call on its own: a
    script whose answer was lost may have run, and each repetition would wait again. Callers repeat, since
    every write of the store may be repeated. A connection the server closed meanwhile is noticed and replaced
    before it is used.

    Waiting for a connection and connecting are bounded here. The whole of a call, waiting for its answer
    included, is bounded by `PolicyStore`, and not here as well: the driver's own limit on sending runs every
    command in a task of its own, which costs time and before Python 3.12 may swallow the cancellation that
    is to end the call.

    Raises:
        StoreAddressError: The URL is not one of these, or not written as it is meant.
    """
    check_address(url)
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=max_connections,
        timeout=timeout_seconds,
        socket_timeout=None,
        socket_connect_timeout=timeout_seconds,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=_HEALTH_CHECK_SECONDS,
        decode_responses=True,
        protocol=2,  # the replies' shapes are the same on every server and version
    )
    return Redis.from_pool(pool)
