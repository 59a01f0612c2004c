"""The id of the present request, which every log line about it has."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, MutableMapping
from contextvars import ContextVar
from typing import Any, Final

HEADER: Final = b"x-request-id"
# Characters that need no escaping in a log line, a header and a metric's exemplar.
_WELL_FORMED: Final = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")

ABOUT: Final[ContextVar[str]] = ContextVar("llmpo_request_id", default="")
"""The id of the request that log lines are about, in this task and those started from it; empty for none."""


def request_id_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The caller's `x-request-id` if it can be written anywhere unescaped, otherwise a new id."""
    return sent_request_id(headers) or new_request_id()


def sent_request_id(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The caller's own id, if it sent one that can be written anywhere unescaped."""
    for name, value in headers:
        if name == HEADER and _WELL_FORMED.fullmatch(value):
            return value.decode()
    return None


def new_request_id() -> str:
    """An id that no other request has."""
    return "req_" + os.urandom(16).hex()


def add_request_id(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """A structlog processor that adds the id of the request that a line is about, if any."""
    request_id = ABOUT.get()
    if request_id:
        event.setdefault("request_id", request_id)
    return event
