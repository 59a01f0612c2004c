"""The id of the request being answered, which every log line about it carries."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, MutableMapping
from contextvars import ContextVar
from typing import Any, Final

HEADER: Final = b"x-request-id"
# What may stand in a log line, a header and a metric's exemplar without being escaped.
_WELL_FORMED: Final = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")

ABOUT: Final[ContextVar[str]] = ContextVar("llmpo_request_id", default="")
"""The id of the request that log lines are about, here and in tasks begun from here; empty for none."""


def request_id_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The caller's `x-request-id`, where it is one that can be written anywhere; else a new id."""
    return sent_request_id(headers) or new_request_id()


def sent_request_id(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The caller's own id, if it sent one that can be written anywhere."""
    for name, value in headers:
        if name == HEADER and _WELL_FORMED.fullmatch(value):
            return value.decode()
    return None


def new_request_id() -> str:
    """An id no other request has."""
    return "req_" + os.urandom(16).hex()


def add_request_id(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """A structlog processor: say which request a line is about, where it is about one."""
    request_id = ABOUT.get()
    if request_id:
        event.setdefault("request_id", request_id)
    return event
