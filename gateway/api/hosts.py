"""The host names that a gateway without keys accepts.

A caller that can connect to such a gateway may do everything, and only this machine can connect. But a web
page can make the browser on this machine connect: by having the page's own name resolve to a loopback
address, so that the browser takes the gateway for the page's own server, or by sending requests whose answers
the page cannot read. Both are visible in headers that no page can set.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import lru_cache
from ipaddress import ip_address

from gateway.errors import ForeignHostError


class LoopbackHosts:
    """The loopback names of this machine, and those that the operator added.

    Args:
        is_open: Whether callers need no key; if they need one, nothing is refused here.
        others: Further names, without ports.
        origins: Declared origins of other pages that may call, such as `https://app.example.com`.
    """

    def __init__(
        self,
        is_open: Callable[[], bool],
        others: Iterable[str] = (),
        origins: Callable[[], Collection[str]] = tuple,
    ) -> None:
        self._is_open = is_open
        self._others = frozenset(name.lower() for name in others)
        self._origins = origins

    def check(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Refuse a request for another host, or from a page of another host.

        Raises:
            ForeignHostError: Saying how to allow it.
        """
        for name, value in headers if self._is_open() else ():
            if name == b"host" and not self._is_ours(value.decode("latin-1")):
                raise ForeignHostError(
                    "This gateway asks for no keys, so it accepts only host names of this machine. "
                    "Configure keys, or add the name to LLMPO_ALLOWED_HOSTS.",
                    code="host_not_allowed",
                )
            if (
                name == b"origin"
                and (origin := value.decode("latin-1")) not in self._origins()
                and not self._is_ours(origin.partition("://")[2])
            ):
                raise ForeignHostError(
                    "This gateway asks for no keys, so it accepts only web pages of this machine. "
                    "Configure keys, or declare the page's origin in `cors_origins`.",
                    code="origin_not_allowed",
                )

    def _is_ours(self, host: str) -> bool:
        """Whether a host, with a port or without, is one of ours; a text that is no host is not."""
        name = _without_port(host)
        return name in self._others or is_loopback(name)


@lru_cache(maxsize=256)
def _without_port(host: str) -> str:
    """The name or address of a host in small letters; empty for a text that is no host."""
    name = host.lower()
    before_port, colon, port = name.rpartition(":")
    if colon and not name.endswith("]"):
        name = before_port if port.isdecimal() and port.isascii() else ""
    if name.startswith("[") and name.endswith("]"):
        return name[1:-1]  # an IPv6 address
    return "" if ":" in name else name


@lru_cache(maxsize=256)
def is_loopback(name: str) -> bool:
    """Whether a host name or address is one that only this machine can reach."""
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
