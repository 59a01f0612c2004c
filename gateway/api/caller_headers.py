"""The headers of a request that the gateway reads."""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from starlette.types import Scope

from gateway.serving.dueling import CHOICES_HEADER
from gateway.upstream.surfaces import MESSAGES, Surface

ANTHROPIC_VERSION: Final = "2023-06-01"
_CHOICES: Final = CHOICES_HEADER.encode()
_TRACE: Final = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
# Names that clients of other gateways give a request, by which they report on its answer.
_NAMING: Final = (b"x-portkey-trace-id", b"helicone-request-id")
_NAME: Final = re.compile(rb"[\x21-\x7e]{1,200}")
_RETRIES: Final = b"x-stainless-retry-count"  # of the OpenAI and Anthropic libraries
_NONE: Final = b"0"


class CallerHeaders(NamedTuple):
    """The headers of one request.

    Attributes:
        authorization: `Bearer KEY`, from whichever header carried the key.
        session: Name of the session.
        choices: How many choices are asked for, if the client cannot set `n`.
        attempt: The caller's own name of the request, which its retries share; None without one.
        is_retry: Whether the caller's library says that it sends the request again.
        passed_on: Headers for the provider: the trace, and the version of Anthropic's format.
        named: Further names that the caller gave the request, that of its trace among them.
    """

    authorization: bytes | None
    session: str | None
    choices: str | None
    attempt: str | None
    is_retry: bool
    passed_on: Mapping[str, str]
    named: tuple[str, ...]


def shown_key(headers: Mapping[bytes, bytes]) -> bytes | None:
    """`Bearer KEY`, from `Authorization` or, without that, from `x-api-key`."""
    authorization = headers.get(b"authorization")
    key = headers.get(b"x-api-key")
    return b"Bearer " + key if authorization is None and key is not None else authorization


def reporters_key(headers: Mapping[bytes, bytes]) -> bytes | None:
    """`Bearer KEY` of a report: clients of other products show a key as the password, or in a header."""
    authorization = shown_key(headers)
    if authorization is None:
        key = headers.get(b"x-portkey-api-key")
        return headers.get(b"helicone-auth") if key is None else b"Bearer " + key
    scheme, _, encoded = authorization.partition(b" ")
    if scheme.lower() != b"basic":
        return authorization
    try:
        return b"Bearer " + b64decode(encoded, validate=True).partition(b":")[2]
    except Base64Error:
        return authorization


def caller_address(scope: Scope) -> str:
    """The address a request comes from, as a trusted proxy reports it; empty if it is unknown."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def read_headers(headers: Iterable[tuple[bytes, bytes]], surface: Surface) -> CallerHeaders:
    """The headers of a request, read once."""
    named = dict(headers)
    session = named.get(b"x-session-id")
    choices = named.get(_CHOICES)
    attempt = named.get(b"idempotency-key")
    passed_on: dict[str, str] = {}
    if surface is MESSAGES:
        passed_on["anthropic-version"] = named.get(b"anthropic-version", ANTHROPIC_VERSION.encode()).decode(
            "latin-1"
        )
        if b"anthropic-beta" in named:
            passed_on["anthropic-beta"] = named[b"anthropic-beta"].decode("latin-1")
    names = [named[name].decode() for name in _NAMING if name in named and _NAME.fullmatch(named[name])]
    trace = named.get(b"traceparent")
    if trace is not None and (found := _TRACE.fullmatch(trace)):
        passed_on["traceparent"] = trace.decode()
        names.append(found[1].decode())
        if b"tracestate" in named:
            passed_on["tracestate"] = named[b"tracestate"].decode("latin-1")
    return CallerHeaders(
        shown_key(named),
        session.decode("latin-1") if session else None,
        choices.decode("latin-1") if choices else None,
        attempt.decode("latin-1") if attempt else None,
        named.get(_RETRIES, _NONE) != _NONE,
        passed_on,
        tuple(names),
    )
