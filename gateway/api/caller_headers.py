"""What a request's headers say that matters here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from gateway.serving.dueling import CHOICES_HEADER
from gateway.upstream.surfaces import MESSAGES, Surface

ANTHROPIC_VERSION: Final = "2023-06-01"
_CHOICES: Final = CHOICES_HEADER.encode()
_TRACE: Final = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class CallerHeaders(NamedTuple):
    """The headers of one request.

    Attributes:
        authorization: `Bearer KEY`, in whichever header the key came.
        session: Name of the session.
        choices: How many choices are asked for, where the client cannot set `n`.
        passed_on: Headers for the provider: the trace, and the version of Anthropic's format.
    """

    authorization: bytes | None
    session: str | None
    choices: str | None
    passed_on: Mapping[str, str]


def read_headers(headers: Iterable[tuple[bytes, bytes]], surface: Surface) -> CallerHeaders:
    """Read them, once."""
    named = dict(headers)
    session = named.get(b"x-session-id")
    choices = named.get(_CHOICES)
    authorization = named.get(b"authorization")
    passed_on: dict[str, str] = {}
    if surface is MESSAGES:
        key = named.get(b"x-api-key")
        if authorization is None and key is not None:
            authorization = b"Bearer " + key
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
        authorization,
        session.decode("latin-1") if session else None,
        choices.decode("latin-1") if choices else None,
        passed_on,
    )
