"""Makes the client through which all state is read and written, for any kind of server."""

from __future__ import annotations

from typing import Any, Final

from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.driver_info import DriverInfo

from policy_store.address import Address, read_address
from policy_store.clients import (
    ClusterClient,
    SecureSentinelConnection,
    SentinelClient,
    SentinelConnection,
    SentinelPool,
    Sentinels,
    ServerClient,
    SingleClient,
)
from policy_store.connections import Pool
from policy_store.embedded import EmbeddedValkey
from policy_store.names import Names

__all__ = ["EmbeddedValkey", "connect"]

_HEALTH_CHECK_SECONDS: Final = 30
# What a connection tells the server; the driver would look up its own version on disk for each of them.
_DRIVER: Final = DriverInfo()
# Calls to a cluster go to several nodes; those to a node that hangs must leave room for the others.
_PLACES_PER_CONNECTION: Final = 4


def connect(
    url: str,
    *,
    prefix: str = "",
    timeout_seconds: float = 1.0,
    max_connections: int = 32,
    confirming_replicas: int = 0,
) -> ServerClient:
    """A client for any address that `address.read_address` accepts; connects on first use and after faults.

    A call beyond `max_connections` waits for a free connection. The driver never repeats a call by itself: a
    script whose answer was lost may have run, and each repetition would wait again. Callers may repeat
    calls, because every write of the store may be repeated. A connection that the server has closed is
    noticed and replaced before it is used.

    This function bounds the time for waiting for a connection and for connecting. `PolicyStore` bounds each
    whole call, including the wait for its answer. The driver's own limit is not used: it runs every command
    in a separate task, which costs time and before Python 3.12 may swallow the cancellation that should end
    the call.

    Args:
        url: The store's address.
        prefix: Put before every key's name; environments with different prefixes share nothing.
        timeout_seconds: The longest wait for a free connection, and for making one.
        max_connections: The most connections.
        confirming_replicas: How many replicas have to confirm what is told as done (`confirming.py`).

    Raises:
        StoreAddressError: The URL is of another kind, or malformed.
        PrefixError: The prefix is not allowed.
    """
    address, names = read_address(url), Names(prefix)
    options: dict[str, Any] = {
        "socket_timeout": None,
        "socket_connect_timeout": timeout_seconds,
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": _HEALTH_CHECK_SECONDS,
        "decode_responses": True,
        "protocol": 2,  # the replies' shapes are the same on every server and version
        "driver_info": _DRIVER,
    }
    waiting = {"max_connections": max_connections, "timeout": timeout_seconds}
    if address.layout == "cluster":
        places = _PLACES_PER_CONNECTION * max_connections
        return ClusterClient(
            address.hosts,
            names,
            max_calls=places,
            confirming_replicas=confirming_replicas,
            ssl=address.is_secure,
            **address.options,
            **options,
        )
    if address.layout == "sentinel":
        pool, sentinel = _by_sentinel(address, timeout_seconds, {**options, **waiting})
        return SentinelClient(pool, names, sentinel, confirming_replicas)
    return SingleClient(Pool.from_url(url, **options, **waiting), names, confirming_replicas)


def _by_sentinel(
    address: Address, timeout_seconds: float, options: dict[str, Any]
) -> tuple[SentinelPool, Sentinels]:
    # A Sentinel that hangs must leave time to ask the others and the primary.
    share = timeout_seconds / (len(address.hosts) + 1)
    secure = {name: value for name, value in address.options.items() if name.startswith("ssl_")}
    asked = {
        **secure,
        **address.sentinel_options,
        "ssl": address.is_secure,
        "socket_timeout": share,
        "socket_connect_timeout": share,
        "retry": options["retry"],
        "protocol": options["protocol"],
        "driver_info": options["driver_info"],
    }
    sentinel = Sentinels(address.hosts, asked)
    connection_class = SecureSentinelConnection if address.is_secure else SentinelConnection
    pool = SentinelPool(
        address.service, sentinel, connection_class=connection_class, **address.options, **options
    )
    return pool, sentinel
