"""Sockets to listen on, bound early so that an address in use is reported before anything starts."""

from __future__ import annotations

import resource
import socket
from typing import Any, Final

from gateway.errors import GatewayError
from gateway.running.logs import get_logger

_log = get_logger(__name__)

_FILES_PER_CONNECTION: Final = 2  # its own, and that of the connection to the provider
_OTHER_FILES: Final = 256


def bind(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A socket bound to the address, not listening yet.

    Args:
        host: Name or address.
        port: 0 for a free one.
        shared: Let further sockets of this user bind to the same address, one for each worker.

    Raises:
        GatewayError: If the address cannot be used, with the reason.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        alone = _bound(family, address, socket.SO_REUSEADDR)
        if not shared:
            return alone
        # First bound without sharing: a shared socket would silently join another program's port.
        with alone:
            address = alone.getsockname()
        return share(family, address)
    except OSError as error:
        raise GatewayError(f"Cannot listen on {host}:{port}: {error.strerror or error}.") from error


def share(family: int, address: Any) -> socket.socket:
    """One more socket on a shared address; the kernel spreads connections over its sockets."""
    return _bound(family, address, socket.SO_REUSEADDR, socket.SO_REUSEPORT)


def shown_address(listener: socket.socket) -> str:
    """The address to put into a browser."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def listen(bound: socket.socket, backlog: int) -> None:
    """Accept connections on a bound socket.

    Raises:
        GatewayError: If another program began to listen on the address after the socket was bound.
    """
    try:
        bound.listen(backlog)
    except OSError as error:
        raise GatewayError(f"Cannot listen on {shown_address(bound)}: {error.strerror or error}.") from error


def allow_connections(wanted: int) -> int:
    """Raise this process's limit on open files for this many connections, as far as the system allows.

    Args:
        wanted: Connections that may be open at once.

    Returns:
        How many may be open: fewer than wanted if the system's limit on open files is too low.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _FILES_PER_CONNECTION * wanted + _OTHER_FILES
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if allowed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed == needed:
        return wanted
    possible = max(1, (allowed - _OTHER_FILES) // _FILES_PER_CONNECTION)
    _log.warning("few_open_files", open_files=allowed, connections=possible, wanted=wanted)
    return possible


def _bound(family: int, address: Any, *options: int) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        for option in options:
            listener.setsockopt(socket.SOL_SOCKET, option, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener
