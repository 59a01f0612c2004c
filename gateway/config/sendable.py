"""Checks what is to be sent to a provider: headers that HTTP allows, and addresses a client can use.

Without these checks, the first request would fail with an error of the HTTP client. No message repeats a
value, because it may be or hold a secret.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Mapping
from typing import Final
from urllib.parse import SplitResult, urlsplit

# Visible ASCII. A key is one word; spaces and line breaks around it come from files or the shell.
_KEY: Final = re.compile(r"[\x21-\x7e]+")
# A header's value may hold spaces and tabs, but not begin or end with one (RFC 9110, 5.5).
_VALUE: Final = re.compile(r"(?:[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?)?")
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HOOK_SECRET_BYTES: Final = range(24, 65)
_LINE_BREAKS: Final = "\r\n"
_MOST_LABEL: Final = 63
_MOST_HOST: Final = 253
# Headers about the connection or the body are the gateway's own; an operator's would garble every request.
_NOT_FOR_OPERATORS: Final = frozenset(
    {
        *("connection", "content-encoding", "content-length", "expect", "keep-alive"),
        *("proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
    }
)


def key_problem(key: str) -> str | None:
    """Why a key cannot be sent in a header; None if it can."""
    return None if _KEY.fullmatch(key) else _unprintable(key) or "holds a space"


def text_problem(text: str) -> str | None:
    """Why a text cannot be part of an address or a header; None if it can."""
    return None if _VALUE.fullmatch(text) else _unprintable(text) or "begins or ends with a space"


def header_problem(name: str, value: str) -> str | None:
    """What is wrong with a header that the operator adds, as the end of a sentence; None if nothing is."""
    if not _NAME.fullmatch(name):
        return "has a name HTTP does not allow"
    if name.lower() in _NOT_FOR_OPERATORS:
        return "is set by the gateway itself"
    problem = text_problem(value)
    return None if problem is None else f"has a value that {problem}"


def unsendable_key(key: str) -> tuple[str, str] | None:
    """Problem and remedy of a secret that cannot be sent in a header; None for one that can."""
    if problem := key_problem(key):
        return f"The secret {problem}, so it cannot be sent.", "Set it to the secret alone."
    return None


def unsendable_text(text: str) -> tuple[str, str] | None:
    """Problem and remedy of a text that cannot be part of an address or a header; None for one that can."""
    if problem := text_problem(text):
        return f"This text {problem}, so it cannot be sent.", "Write it in visible ASCII on one line."
    return None


def unsendable_headers(headers: Mapping[str, str]) -> tuple[str, str] | None:
    """Problem and remedy of the first header that cannot be sent; None where all can."""
    for name, value in headers.items():
        if problem := header_problem(name, value):
            shown = f"The header {name}" if name.isprintable() else "A header"
            return f"{shown} {problem}.", "Leave it out, or write it in visible ASCII on one line."
    return None


def address_problem(address: str) -> tuple[str, str] | None:
    """Why a client cannot connect to an address, and what would be right; None if it can."""
    if not re.match(r"https?://[^\s/]", address):
        return (
            "This is not an HTTP address.",
            "Write http:// or https://, a host, and the path up to /v1 if there is one.",
        )
    if problem := key_problem(address):
        return f"This address {problem}.", "Leave that out, or percent-encode it."
    try:
        return _place_problem(urlsplit(address))
    except ValueError:
        return "This address has an impossible host or port.", "Write it as http://host:8000/v1."


def hook_address_problem(address: str) -> tuple[str, str] | None:
    """The same of a receiver of webhooks."""
    problem = address_problem(address)
    remedy = "Write the receiver's whole address, https://host/path, without user name and password."
    return None if problem is None else (problem[0], remedy)


def hook_secret_problem(secret: str) -> tuple[str, str] | None:
    """What keeps a secret from signing webhooks, and what would be right; None if nothing does."""
    kind, _, encoded = secret.partition("_")
    try:
        length = len(b64decode(encoded, validate=True))
    except ValueError:
        length = 0
    if kind == "whsec" and length in _HOOK_SECRET_BYTES:
        return None
    remedy = (
        "Write whsec_ and the base64 of 24 to 64 random bytes, as "
        'echo "whsec_$(openssl rand -base64 32)" makes it.'
    )
    return "This secret cannot sign webhooks.", remedy


def _place_problem(parts: SplitResult) -> tuple[str, str] | None:
    host, port = parts.hostname or "", parts.port
    if "@" in parts.netloc:
        return (
            "This address carries a user name or a password.",
            "Leave them out: a key goes into api_key, any other credential into extra_headers.",
        )
    if parts.fragment:
        return "This address has a part after #, which is never sent.", "Leave it out."
    if port == 0:
        return "There is no port 0.", "Write the port the provider listens on, 1 to 65535."
    labels = host.removesuffix(".").split(".")
    is_name = ":" not in host  # else an IPv6 address, which has been checked
    if is_name and not (all(labels) and max(map(len, labels)) <= _MOST_LABEL and len(host) <= _MOST_HOST):
        return (
            "This address has a host name that cannot exist.",
            f"Between two dots there must be 1 to {_MOST_LABEL} characters, and at most {_MOST_HOST} in all.",
        )
    return None


def _unprintable(text: str) -> str | None:
    if text.endswith(tuple(_LINE_BREAKS)) and _KEY.fullmatch(text.rstrip(_LINE_BREAKS)):
        return "ends in a line break"
    if any(ord(character) < 0x20 or ord(character) == 0x7F for character in text):  # noqa: PLR2004 - ASCII's controls
        return "holds a line break or another control character"
    return None if text.isascii() else "holds characters that are not ASCII"
