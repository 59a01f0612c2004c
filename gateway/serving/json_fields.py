"""Finds fields of a JSON object in its text and replaces them there, leaving every other byte unchanged.

Rebuilding the JSON would cost time and lose fields that this gateway does not know.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from operator import itemgetter
from typing import Final, NamedTuple

from gateway.upstream.json_text import parsed

# Nesting depends only on brackets and on strings, which may hold brackets.
_TOKEN: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]]', re.DOTALL)
_COLON: Final = re.compile(rb"\s*:\s*")
_SCALAR: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[^\s,}\]]+', re.DOTALL)
# A field whose value is a string, number, true, false or null, and the comma after it.
_MEMBER: Final = re.compile(
    rb'\s*("[^"\\]*(?:\\.[^"\\]*)*")\s*:\s*("[^"\\]*(?:\\.[^"\\]*)*"|[^\s,{\[}\]"]+)\s*,?', re.DOTALL
)
_OPEN: Final = b"{["
_NONE: Final[frozenset[bytes]] = frozenset()


class Field(NamedTuple):
    """The place of a top-level field: `text[start:end]` is the whole field, `text[value:end]` its value."""

    name: bytes
    start: int
    value: int
    end: int


def _fields_from(text: bytes, place: int) -> Iterator[Field]:
    """The fields after a place between two fields, whatever their values."""
    depth = 1
    opened: tuple[bytes, int, int] | None = None  # a field whose value is an object or array, until it closes
    for token in _TOKEN.finditer(text, place):
        kind = text[token.start()]
        if kind in b"{[":
            depth += 1
        elif kind in b"}]":
            depth -= 1
            if depth == 1 and opened is not None:
                yield Field(*opened, end=token.end())
                opened = None
        elif depth == 1 and (colon := _COLON.match(text, token.end())):
            key = _key(token.group())
            if text[colon.end()] in _OPEN:
                opened = (key, token.start(), colon.end())
            else:
                scalar = _SCALAR.match(text, colon.end())
                yield Field(key, token.start(), colon.end(), scalar.end() if scalar else colon.end())


def _key(name: bytes) -> bytes:
    """A field's name without its quotes."""
    return str(parsed(name)).encode("utf-8", "surrogatepass") if b"\\" in name else name[1:-1]


def find_fields(text: bytes, names: frozenset[bytes]) -> dict[bytes, Field]:
    """The top-level fields with one of these names in a valid JSON object; the first of repeated keys."""
    found: dict[bytes, Field] = {}
    place = text.index(b"{") + 1
    while member := _MEMBER.match(text, place):  # the first few fields, until one whose end is harder to find
        place = member.end()
        quoted = member[1]
        name = _key(quoted) if b"\\" in quoted else quoted[1:-1]
        if name in names and name not in found:
            found[name] = Field(name, member.start(1), member.start(2), member.end(2))
            if len(found) == len(names):
                return found
    for field in _fields_from(text, place):
        if field.name in names and field.name not in found:
            found[field.name] = field
            if len(found) == len(names):
                break
    return found


def set_found(
    text: bytes,
    found: Mapping[bytes, Field],
    values: Mapping[bytes, bytes],
    optional: frozenset[bytes] = _NONE,
) -> bytes:
    """The text with the `found` fields replaced; missing fields are added unless they are in `optional`."""
    pieces, end = list[bytes](), 0
    for field in sorted(found.values(), key=_by_place):
        pieces += (text[end : field.value], values[field.name])
        end = field.end
    text = b"".join((*pieces, text[end:]))
    if len(found) == len(values):
        return text
    missing = [
        b'"%b":%b' % (name, value)
        for name, value in values.items()
        if name not in found and name not in optional
    ]
    if not missing:
        return text
    brace = text.index(b"{") + 1
    separator = b"" if text[brace:].lstrip().startswith(b"}") else b","
    return text[:brace] + b",".join(missing) + separator + text[brace:]


_by_place = itemgetter(2)
