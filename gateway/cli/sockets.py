"""Sockets to listen on: bound early, so that an address that cannot be had is said before anything starts."""

from __future__ import annotations

import socket

from gateway.errors import GatewayError


def bind(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A socket bound to the address, not listening yet.

    Args:
        host: Name or address.
        port: 0 for a free one.
        shared: Let further sockets of this user bind to the same address, one for each worker.

    Raises:
        GatewayError: Saying why the address cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        if shared:
            # Bound alone first: sharing would silently join another program's port.
            address = listener.getsockname()
            listener.close()
            listener = share(family, address)
    except OSError as error:
        raise GatewayError(f"Cannot listen on {host}:{port}: {error.strerror or error}.") from error
    return listener


def share(family: int, address: tuple[object, ...]) -> socket.socket:
    """One more socket bound to an address whose sockets all share it; the kernel spreads connections."""
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(address)
    return listener


def shown_address(listener: socket.socket) -> str:
    """The address to put into a browser."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def can_connect(bound: socket.socket) -> bool:
    """Whether somebody accepts connections on the address a socket is bound to."""
    with socket.socket(bound.family, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(bound.getsockname()) == 0
