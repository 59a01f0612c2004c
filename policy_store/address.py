"""Checks and reads the address of a store.

Errors say what is wrong but never repeat the address: it may hold a password, in a malformed address even in
an unexpected place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

from redis.asyncio.connection import parse_url

Layout = Literal["single", "sentinel", "cluster"]
_LAYOUTS: Final[Mapping[str, Layout]] = {
    "redis": "single",
    "rediss": "single",
    "unix": "single",
    "redis+sentinel": "sentinel",
    "rediss+sentinel": "sentinel",
    "redis+cluster": "cluster",
    "rediss+cluster": "cluster",
}
_LARGEST_PORT: Final = 65_535
_PORTS: Final[Mapping[Layout, int]] = {"single": 6379, "sentinel": 26379, "cluster": 6379}
_FORMS: Final = (
    "redis://USER:PASSWORD@HOST:PORT/DATABASE, redis+sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT/SERVICE/"
    "DATABASE or redis+cluster://USER:PASSWORD@HOST:PORT,HOST:PORT, each with rediss for TLS, or unix:///PATH"
)
_ENCODED: Final = "Percent-encode it: / as %2F, # as %23, ? as %3F, @ as %40, : as %3A, [ as %5B, ] as %5D."
_FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
# The parameters that the driver reads from a query, and the schemes that allow them.
_SECURE: Final = tuple(scheme for scheme in _LAYOUTS if scheme.startswith("rediss"))
_SENTINEL: Final = tuple(scheme for scheme, layout in _LAYOUTS.items() if layout == "sentinel")
_PARAMETERS: Final[Mapping[str, tuple[str, ...]]] = {
    "db": tuple(_LAYOUTS),
    **dict.fromkeys((*_FILES, "ssl_check_hostname"), _SECURE),
    **dict.fromkeys(("sentinel_username", "sentinel_password"), _SENTINEL),
}
_TRUTHS: Final = frozenset({"true", "false"})


class StoreAddressError(ValueError):
    """A wrong address. Neither text repeats any part of it, except names of known parameters."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem} {remedy}")
        self.problem = problem
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Address:
    """The parts of an address.

    Attributes:
        layout: The kind of store: one server, Sentinel or a cluster.
        is_secure: Whether connections use TLS.
        hosts: The hosts of Sentinels, or of some nodes of a cluster.
        service: Sentinel's name for the servers.
        options: The driver's options for connections to servers.
        sentinel_options: The options for connections to Sentinels that differ from those.
    """

    layout: Layout
    is_secure: bool = False
    hosts: tuple[tuple[str, int], ...] = ()
    service: str = ""
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    sentinel_options: Mapping[str, str] = field(default_factory=dict, repr=False)


def read_address(url: str) -> Address:
    """The address, if the driver would read it as intended.

    Raises:
        StoreAddressError: Says what is wrong and what would be right.
    """
    if any(character.isspace() or not character.isprintable() for character in url):
        raise StoreAddressError("The address holds a space or a line break.", "Percent-encode or remove it.")
    parts = _split(url)
    if parts.scheme not in _LAYOUTS or "://" not in url:
        raise StoreAddressError(
            "This is not the address of a Redis server.",
            "Write redis://, rediss:// or unix://; for Sentinel redis+sentinel://, for a cluster redis+cluster://.",
        )
    if "@" in parts.path + parts.query + parts.fragment:
        raise StoreAddressError("The user name or password holds / # or ? without encoding.", _ENCODED)
    if parts.fragment or url.endswith("#"):
        raise StoreAddressError("The address has a part after a #.", "Remove it, or write # as %23.")
    _check_parameters(parts)
    return _READERS[_LAYOUTS[parts.scheme]](_Written(parts))


def _split(url: str) -> SplitResult:
    """The parts of an address, which may name several hosts; `urlsplit` accepts brackets only in one."""
    scheme, _, rest = url.partition("://")
    place = re.split(r"[/?#]", rest, maxsplit=1)[0]
    user, at, hosts = place.rpartition("@")
    try:
        for host in hosts.split(","):
            urlsplit(f"redis://{user}{at}{host}")
        return urlsplit(f"{scheme}://host{rest.removeprefix(place)}")._replace(netloc=place)
    except ValueError:
        raise StoreAddressError(
            "The address holds a [ or ] that does not belong to a host.", _ENCODED
        ) from None


@dataclass(frozen=True, slots=True)
class _Written:
    """The parts of an address as it was written."""

    parts: SplitResult = field(repr=False)

    def single(self) -> Address:
        """The address of one server."""
        parts = self.parts
        if parts.scheme == "unix":
            if not parts.path.strip("/") or parts.netloc.rpartition("@")[2]:
                raise StoreAddressError(
                    "The address names no socket.", "Write unix:///PATH, with three slashes."
                )
        elif len(self._hosts) > 1:
            raise StoreAddressError(
                "The address names several hosts.",
                "Write redis+sentinel:// for Sentinel, redis+cluster:// for a cluster, or name one that "
                "leads to the primary.",
            )
        else:
            _check_database(parts.path.strip("/"))
        return Address("single")

    def sentinel(self) -> Address:
        """The address of a service that Sentinels know."""
        service, _, database = self.parts.path.strip("/").partition("/")
        if not service:
            raise StoreAddressError(
                "The address names no service.",
                "Write redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/DATABASE.",
            )
        _check_database(database)
        query = dict(parse_qsl(self.parts.query))
        own = {name: query.pop(f"sentinel_{name}", None) for name in ("username", "password")}
        return Address(
            "sentinel",
            self.parts.scheme in _SECURE,
            self._hosts,
            unquote(service),
            self._options(database, query),
            {name: value for name, value in own.items() if value is not None},
        )

    def cluster(self) -> Address:
        """The address of a cluster."""
        database, query = self.parts.path.strip("/"), dict(parse_qsl(self.parts.query))
        _check_database(database)
        if int(database or 0) or query.pop("db", "0") != "0":
            raise StoreAddressError("A cluster has no database but 0.", "Write /0 or nothing.")
        is_secure = self.parts.scheme in _SECURE
        return Address("cluster", is_secure, self._hosts, options=self._options("", query))

    @property
    def _hosts(self) -> tuple[tuple[str, int], ...]:
        places = self.parts.netloc.rpartition("@")[2].split(",")
        return tuple(_host(place, _PORTS[_LAYOUTS[self.parts.scheme]]) for place in places)

    def _options(self, database: str, query: Mapping[str, str]) -> dict[str, Any]:
        """The options that the driver itself reads from the same address for a single server."""
        user, at, _ = self.parts.netloc.rpartition("@")
        read: dict[str, Any] = dict(parse_url(f"redis://{user}{at}host/{database}?{urlencode(query)}"))
        del read["host"]
        return read


_READERS: Final = {"single": _Written.single, "sentinel": _Written.sentinel, "cluster": _Written.cluster}


def _host(place: str, usual_port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{place}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = "?", 0
    if not host:
        raise StoreAddressError("The address names no host, or an empty one.", f"Write {_FORMS}.")
    is_written = re.search(r":[^:\]]*$", place) is not None
    if is_written and not (port and 1 <= port <= _LARGEST_PORT):
        raise StoreAddressError(
            "The port is not a number from 1 to 65535, or a password stands in its place.",
            f"Write {_FORMS}.",
        )
    return host, port or usual_port


def _check_database(path: str) -> None:
    if path and not (path.isascii() and unquote(path).isdigit()):
        raise StoreAddressError(
            "The part after the host is not the number of a database.", "Write /0 or nothing."
        )


def _check_parameters(parts: SplitResult) -> None:
    if parts.query and not re.fullmatch(r"[^=&]+=[^=&]+(&[^=&]+=[^=&]+)*", parts.query):
        raise StoreAddressError(
            "The part after the ? is not NAME=VALUE pairs joined by &.", f"Write {_FORMS}."
        )
    for name, value in parse_qsl(parts.query):
        if name not in _PARAMETERS:
            known = ", ".join(_PARAMETERS)
            raise StoreAddressError(
                "The address has a parameter that does not exist.", f"There are: {known}."
            )
        if parts.scheme not in _PARAMETERS[name]:
            other = "Sentinel" if name.startswith("sentinel_") else "TLS"
            raise StoreAddressError(f"The parameter {name} is for {other}.", f"Remove it, or write {_FORMS}.")
        if name == "db" and not (value.isascii() and value.isdigit()):
            raise StoreAddressError("The parameter db is not a number.", "Write db=0 or nothing.")
        if name == "ssl_check_hostname" and value not in _TRUTHS:
            raise StoreAddressError("ssl_check_hostname is neither true nor false.", "Write one of them.")
        if name in _FILES and not Path(value).is_file():
            raise StoreAddressError(
                f"The file that {name} names does not exist.", "Name a file in PEM format."
            )
