"""The one client all state goes through, whatever server is behind it."""

from __future__ import annotations

from typing import Final

from redis.asyncio import BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from policy_store.address import check_address
from policy_store.clients import StoreClient
from policy_store.embedded import EmbeddedValkey
from policy_store.names import Names

__all__ = ["EmbeddedValkey", "connect"]

_HEALTH_CHECK_SECONDS: Final = 30


def connect(
    url: str, *, prefix: str = "", timeout_seconds: float = 1.0, max_connections: int = 32
) -> StoreClient:
    """A client for `redis://`, `rediss://` or `unix://`. Connects on first use, and again after a fault.

    A call beyond `max_connections` waits for a free connection. The driver never repeats a call on its own: a
    script whose answer was lost may have run, and each repetition would wait again. Callers repeat, since
    every write of the store may be repeated. A connection the server closed meanwhile is noticed and replaced
    before it is used.

    Waiting for a connection and connecting are bounded here. The whole of a call, waiting for its answer
    included, is bounded by `PolicyStore`, and not here as well: the driver's own limit on sending runs every
    command in a task of its own, which costs time and before Python 3.12 may swallow the cancellation that
    is to end the call.

    Args:
        url: The store's address.
        prefix: Stands in front of every key's name; environments with different prefixes share nothing.
        timeout_seconds: The longest wait for a free connection, and for making one.
        max_connections: How many there are at most.

    Raises:
        StoreAddressError: The URL is not one of these, or not written as it is meant.
        PrefixError: Such a prefix may not be.
    """
    check_address(url)
    names = Names(prefix)
    pool = _Pool.from_url(
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
    return StoreClient(pool, names)


class _Pool(BlockingConnectionPool):
    """Connections that others may ask for while idle ones are being closed."""

    async def disconnect(self, inuse_connections: bool = True) -> None:
        """Close connections; idle ones at once.

        The driver waits until each is closed, and a call that takes one meanwhile fails on it, although the
        server would have answered.
        """
        if inuse_connections:
            await super().disconnect()
            return
        for connection in tuple(self._available_connections):
            await connection.disconnect(nowait=True)
