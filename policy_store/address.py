"""The address of a store, checked before anything is done with it.

What is wrong is named and never repeated: an address holds a password, and one that is misread holds it where
nobody looks for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

_SCHEMES: Final = ("redis", "rediss", "unix")
_LARGEST_PORT: Final = 65_535
_FORMS: Final = "redis://USER:PASSWORD@HOST:PORT/DATABASE, rediss://... for TLS, or unix:///PATH"
_ENCODED: Final = "Percent-encode it: / as %2F, # as %23, ? as %3F, @ as %40, : as %3A, [ as %5B, ] as %5D."
_FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
# What the driver reads from a query, and of which schemes.
_PARAMETERS: Final[Mapping[str, tuple[str, ...]]] = {
    "db": _SCHEMES,
    **dict.fromkeys((*_FILES, "ssl_check_hostname"), ("rediss",)),
}
_TRUTHS: Final = frozenset({"true", "false"})


class StoreAddressError(ValueError):
    """An address that leads nowhere. Neither text holds any part of it but names of ours."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem} {remedy}")
        self.problem = problem
        self.remedy = remedy


def check_address(url: str) -> str:
    """The address, if the driver would read it as it is meant.

    Raises:
        StoreAddressError: Saying what is wrong and what would be right.
    """
    if any(character.isspace() or not character.isprintable() for character in url):
        raise StoreAddressError("The address holds a space or a line break.", "Percent-encode or remove it.")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise StoreAddressError("The address holds a [ or ] that is no part of a host.", _ENCODED) from None
    if parts.scheme not in _SCHEMES or "://" not in url:
        raise StoreAddressError(
            "This is not the address of a Redis server.", "Write redis://, rediss:// or unix://."
        )
    if "@" in parts.path + parts.query + parts.fragment:
        raise StoreAddressError("The user name or password holds one of / # ? as it is.", _ENCODED)
    if parts.fragment or url.endswith("#"):
        raise StoreAddressError("The address has a part after a #.", "Remove it, or write # as %23.")
    if parts.scheme == "unix":
        _check_socket(parts)
    else:
        _check_host(parts)
        _check_database(parts.path.strip("/"))
    _check_parameters(parts)
    return url


def _check_socket(parts: SplitResult) -> None:
    if not parts.path.strip("/") or parts.netloc.rpartition("@")[2]:
        raise StoreAddressError("The address names no socket.", "Write unix:///PATH, with three slashes.")


def _check_host(parts: SplitResult) -> None:
    place = parts.netloc.rpartition("@")[2]
    if "," in place:
        raise StoreAddressError(
            "The address names several hosts.",
            "Name one that leads to the primary: a service, a proxy in front of Sentinel, or DNS.",
        )
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = "?", 0
    if not host:
        raise StoreAddressError("The address names no host.", f"Write {_FORMS}.")
    is_written = re.search(r":[^:\]]*$", place) is not None
    if is_written and not (port and 1 <= port <= _LARGEST_PORT):
        raise StoreAddressError(
            "The port is no number from 1 to 65535, or a password stands where the port should.",
            f"Write {_FORMS}.",
        )


def _check_database(path: str) -> None:
    if path and not (path.isascii() and unquote(path).isdigit()):
        raise StoreAddressError("What follows the host is no number of a database.", "Write /0 or nothing.")


def _check_parameters(parts: SplitResult) -> None:
    if parts.query and not re.fullmatch(r"[^=&]+=[^=&]+(&[^=&]+=[^=&]+)*", parts.query):
        raise StoreAddressError("What follows the ? is not NAME=VALUE, joined by &.", f"Write {_FORMS}.")
    for name, value in parse_qsl(parts.query):
        if name not in _PARAMETERS:
            known = ", ".join(_PARAMETERS)
            raise StoreAddressError(
                "The address has a parameter that does not exist.", f"There are: {known}."
            )
        if parts.scheme not in _PARAMETERS[name]:
            raise StoreAddressError(f"The parameter {name} is for TLS.", "Write rediss://, or remove it.")
        if name == "db" and not (value.isascii() and value.isdigit()):
            raise StoreAddressError("The parameter db is no number.", "Write db=0 or nothing.")
        if name == "ssl_check_hostname" and value not in _TRUTHS:
            raise StoreAddressError("ssl_check_hostname is neither true nor false.", "Write one of them.")
        if name in _FILES and not Path(value).is_file():
            raise StoreAddressError(f"The file of {name} is not there.", "Name a file in PEM format.")
