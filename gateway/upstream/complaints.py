"""Reads a provider's error from JSON of any shape."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from gateway.upstream.json_text import parsed

_MAX_BYTES: Final = 64 * 1024
_DEPTH: Final = 8
_MOST: Final = 64
_WORD_FIELDS: Final = (
    "code",
    "type",
    "status",
    "reason",
    "__type",
    "Code",
    "error_code",
    "err_code",
    "title",
)
_MESSAGE_FIELDS: Final = (
    "message",
    "msg",
    "Message",
    "error_msg",
    "error_message",
    "detail",
    "error",
    "status_msg",
)
_LEADING_FIELD: Final = re.compile(r"([A-Za-z_][\w.]*): ")


@dataclass(frozen=True, slots=True)
class Complaint:
    """A provider's error.

    Attributes:
        error: The error object, if it has OpenAI's shape or Anthropic's; empty for any other shape.
        words: Every code, type, state and reason in it, in lower case.
        messages: Every text in it, in order.
        fields: The fields of the request that it is about, with dots between the names of nested ones.
        status: The status that it states, if any.
    """

    error: dict[str, Any]
    words: frozenset[str]
    messages: tuple[str, ...]
    fields: frozenset[str]
    status: int | None

    @property
    def message(self) -> str | None:
        """The first text in it."""
        return self.messages[0] if self.messages else None

    def mentions_one_of(self, names: Iterable[str]) -> bool:
        """Whether one of these names is in its message."""
        return any(name and name in (self.message or "") for name in names)


@dataclass(frozen=True, slots=True)
class _Part:
    """One object in the JSON of an error."""

    fields: dict[str, Any]

    def texts(self) -> Iterator[str]:
        """The texts that explain the error."""
        values = (self.fields.get(name) for name in _MESSAGE_FIELDS)
        return (value for value in values if isinstance(value, str) and value)

    def fields_at_fault(self) -> Iterator[str]:
        """The fields of the request that it names."""
        param, place = self.fields.get("param"), self.fields.get("loc")
        if isinstance(param, str):
            yield param
        if isinstance(place, list):
            yield ".".join(map(str, place[1:] if place[:1] == ["body"] else place))
        for text in self.texts():
            if (leading := _LEADING_FIELD.match(text)) is not None:
                yield leading[1]

    def status(self) -> int | None:
        """The status that it states, if any."""
        for name in ("code", "status", "status_code", "http_code"):
            value = self.fields.get(name)
            if isinstance(value, str) and value.isdigit():
                value = int(value)
            if isinstance(value, int) and 400 <= value < 600:  # noqa: PLR2004 - errors of HTTP
                return value
        return None


def read_complaint(body: bytes) -> Complaint:
    """The complaint in a body; empty if the body is no JSON or too large for an error."""
    try:
        found = parsed(body) if len(body) <= _MAX_BYTES else None
    except ValueError:
        found = None
    objects = [_Part(one) for one in list(_objects(found, _DEPTH))[:_MOST]]
    values = (one.fields.get(name) for one in objects for name in _WORD_FIELDS)
    words = (str(value) for value in values if isinstance(value, str | int) and not isinstance(value, bool))
    return Complaint(
        error=_error(found),
        # AWS names a shape's namespace before `#`.
        words=frozenset(word.rpartition("#")[2].strip().lower() for word in words),
        messages=tuple(text for one in objects for text in one.texts()),
        fields=frozenset(field for one in objects for field in one.fields_at_fault()),
        status=next((status for one in objects if (status := one.status()) is not None), None),
    )


def _objects(value: Any, depth: int) -> Iterator[dict[str, Any]]:
    """Every object in it, including those in JSON inside a text, where proxies put it."""
    if depth == 0:
        return
    if isinstance(value, dict):
        yield value
        for part in value.values():
            yield from _objects(part, depth - 1)
    elif isinstance(value, list):
        for part in value[:_MOST]:
            yield from _objects(part, depth - 1)
    elif isinstance(value, str) and "{" in value:
        start, end = value.find("{"), value.rfind("}")
        try:
            inner = parsed(value[start : end + 1].encode("utf-8", "surrogatepass"))
        except ValueError:
            return
        yield from _objects(inner, depth - 1)


def _error(found: Any) -> dict[str, Any]:
    """The error of an answer in one of the two shapes; the first if there is a list of them."""
    if isinstance(found, list):
        found = found[0] if found else None
    if not isinstance(found, dict):
        return {}
    # A failed response (OpenAI) holds its error inside; an `error` event of a response is the error itself.
    response = found.get("response")
    holder = response if isinstance(response, dict) else found
    error = holder.get("error", found if found.get("type") == "error" else None)
    return error if isinstance(error, dict) else {}
