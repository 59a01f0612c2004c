"""The headers of a request that the gateway reads."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from starlette.types import Scope

from gateway.serving.dueling import CHOICES_HEADER
from gateway.upstream.surfaces import MESSAGES, Surface

ANTHROPIC_VERSION: Final = "2023-06-01"
_CHOICES: Final = CHOICES_HEADER.encode()
_TRACE: Final = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class CallerHeaders(NamedTuple):
    """The headers of one request.

    Attributes:
        authorization: `Bearer KEY`, from the header that the key came in.
        session: Name of the session.
        choices: How many choices are asked for, if the client cannot set `n`.
        passed_on: Headers for the provider: the trace, and the version of Anthropic's format.
    """

    authorization: bytes | None
    session: str | None
    choices: str | None
    passed_on: Mapping[str, str]


def shown_key(headers: Mapping[bytes, bytes]) -> bytes | None:
    """`Bearer KEY`, from the header that the key came in: `Authorization`, or else `x-api-key`."""
    authorization = headers.get(b"authorization")
    key = headers.get(b"x-api-key")
    return b"Bearer " + key if authorization is None and key is not None else authorization


def caller_address(scope: Scope) -> str:
    """The address a request comes from, as a trusted proxy reports it; empty if it is unknown."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def read_headers(headers: Iterable[tuple[bytes, bytes]], surface: Surface) -> CallerHeaders:
    """The headers of a request, read once."""
    named = dict(headers)
    session = named.get(b"x-session-id")
    choices = named.get(_CHOICES)
    passed_on: dict[str, str] = {}
    if surface is MESSAGES:
        passed_on["anthropic-version"] = named.get(b"anthropic-version", ANTHROPIC_VERSION.encode()).decode(
            "latin-1"
        )
        if b"anthropic-beta" in named:
            passed_on["anthropic-beta"] = named[b"anthropic-beta"].decode("latin-1")
    trace = named.get(b"traceparent")
    if trace is not None and _TRACE.fullmatch(trace):
        passed_on["traceparent"] = trace.decode()
        if b"tracestate" in named:
            passed_on["tracestate"] = named[b"tracestate"].decode("latin-1")
    return CallerHeaders(
        shown_key(named),
        session.decode("latin-1") if session else None,
        choices.decode("latin-1") if choices else None,
        passed_on,
    )
