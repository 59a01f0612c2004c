"""An answer's `id` and `model` replaced, every other byte left alone.

A provider's answer names the model that gave it; the gateway's must carry the response id feedback quotes and
the experiment's name instead. Rebuilding the JSON would cost time and lose what this gateway does not know
about, so the two values are found by their place in the text and cut out of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from operator import itemgetter
from typing import ClassVar, Final, NamedTuple

import orjson

from gateway.services.calling import AnswerStream
from gateway.upstream.failures import broken
from gateway.upstream.sse import is_last, split_first

# All that matters for nesting: strings (which may hold brackets) and brackets.
_TOKEN: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]]', re.DOTALL)
_COLON: Final = re.compile(rb"\s*:\s*")
_SCALAR: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[^\s,}\]]+', re.DOTALL)
_OPEN: Final = b"{["


class Field(NamedTuple):
    """Where a top-level field stands: `text[start:end]` is all of it, `text[value:end]` its value."""

    name: bytes
    start: int
    value: int
    end: int


def top_level_fields(text: bytes) -> Iterator[Field]:
    """The top-level fields of a JSON object, in order. `text` must be valid JSON."""
    depth = 0
    opened: tuple[bytes, int, int] | None = None  # a field whose value is an object or array, until it closes
    for token in _TOKEN.finditer(text):
        kind = text[token.start()]
        if kind in b"{[":
            depth += 1
        elif kind in b"}]":
            depth -= 1
            if depth == 1 and opened is not None:
                yield Field(*opened, end=token.end())
                opened = None
        elif depth == 1 and (colon := _COLON.match(text, token.end())):
            name = token.group()
            key = orjson.loads(name).encode() if b"\\" in name else name[1:-1]
            if text[colon.end()] in _OPEN:
                opened = (key, token.start(), colon.end())
            else:
                scalar = _SCALAR.match(text, colon.end())
                yield Field(key, token.start(), colon.end(), scalar.end() if scalar else colon.end())


def find_fields(text: bytes, names: frozenset[bytes]) -> dict[bytes, Field]:
    """The top-level fields with one of these names; of repeated keys the first."""
    found: dict[bytes, Field] = {}
    for field in top_level_fields(text):
        if field.name in names and field.name not in found:
            found[field.name] = field
            if len(found) == len(names):
                break
    return found


def set_fields(text: bytes, values: Mapping[bytes, bytes]) -> bytes:
    """A JSON object with some top-level values replaced, and added where they were missing.

    Args:
        text: A valid JSON object.
        values: JSON text of each value, by field name.
    """
    return _set_found(text, find_fields(text, frozenset(values)), values)


def _set_found(text: bytes, found: Mapping[bytes, Field], values: Mapping[bytes, bytes]) -> bytes:
    for field in sorted(found.values(), key=_by_place, reverse=True):
        text = text[: field.value] + values[field.name] + text[field.end :]
    if len(found) == len(values):
        return text
    missing = [b'"%b":%b' % (name, value) for name, value in values.items() if name not in found]
    brace = text.index(b"{") + 1
    separator = b"" if text[brace:].lstrip().startswith(b"}") else b","
    return text[:brace] + b",".join(missing) + separator + text[brace:]


_by_place = itemgetter(2)


class Label:
    """What an answer says it is: `id` and `model` as JSON text."""

    __slots__ = ("values",)

    names: ClassVar[frozenset[bytes]] = frozenset({b"id", b"model"})

    def __init__(self, response_id: str, model: str) -> None:
        self.values: Mapping[bytes, bytes] = {b"id": orjson.dumps(response_id), b"model": orjson.dumps(model)}

    def relabel(self, body: bytes) -> bytes:
        """A whole answer under this label; `body` must be a valid JSON object."""
        return _set_found(body, find_fields(body, self.names), self.values)


class StreamRelabeller:
    """Puts a label on every event of a stream.

    A provider writes the same `id` and `model` into every event. Their exact bytes are learnt from one event
    and replaced in all following ones, as long as each event holds each of them exactly once. Where that
    does not hold, the events are taken apart one by one and the bytes learnt anew.
    """

    __slots__ = ("_label", "_new", "_old")

    def __init__(self, label: Label) -> None:
        self._label = label
        self._old: tuple[bytes, bytes] | None = None
        self._new = (b'"id":' + label.values[b"id"], b'"model":' + label.values[b"model"])

    def relabel(self, block: bytes) -> bytes:
        """The same events under the label.

        Raises:
            UpstreamError: If an event is not a JSON object.
        """
        replaced = self._replaced(block)
        if replaced is not None:
            return replaced
        first, rest = split_first(block)
        labelled = self._taken_apart(first)
        if not rest:
            return labelled
        replaced = self._replaced(rest)
        return labelled + (self._taken_apart(rest) if replaced is None else replaced)

    def _replaced(self, block: bytes) -> bytes | None:
        """The events with the learnt bytes replaced; None unless each holds each of them exactly once."""
        if self._old is None:
            return None
        old_id, old_model = self._old
        events = block.count(b"\ndata:") + block.startswith(b"data:") - is_last(block)
        if not block.count(old_id) == events == block.count(old_model):
            return None
        return block.replace(old_id, self._new[0]).replace(old_model, self._new[1])

    def _taken_apart(self, block: bytes) -> bytes:
        out: list[bytes] = []
        data: list[bytes] = []
        for line in block.splitlines(keepends=True):
            if line.startswith(b"data:"):
                data.append(line[5:])
                continue
            if data:
                out.append(self._relabel_event(data))
                data = []
            out.append(line)
        return b"".join(out)

    def _relabel_event(self, data: list[bytes]) -> bytes:
        """One event's data under the label; data over several lines comes out on one."""
        payload = b"".join([part.strip(b"\r\n") for part in data])
        line_end = b"\r\n" if data[-1].endswith(b"\r\n") else b"\n"
        if payload.strip() == b"[DONE]":
            return b"data:" + payload + line_end
        try:
            is_object = isinstance(orjson.loads(payload), dict)
        except orjson.JSONDecodeError:
            is_object = False
        if not is_object:
            raise broken("a malformed event")
        found = find_fields(payload, self._label.names)
        self._learn(payload, found)
        return b"data:" + _set_found(payload, found, self._label.values) + line_end

    def _learn(self, payload: bytes, found: Mapping[bytes, Field]) -> None:
        self._old = None
        if len(found) == len(self._new):
            of_id, of_model = found[b"id"], found[b"model"]
            self._old = payload[of_id.start : of_id.end], payload[of_model.start : of_model.end]


class RelabelledStream:
    """A stream under a label."""

    __slots__ = ("_relabel", "_stream")

    def __init__(self, stream: AnswerStream, label: Label) -> None:
        self._stream = stream
        self._relabel = StreamRelabeller(label).relabel

    async def read(self) -> bytes:
        """See `AnswerStream.read`."""
        block = await self._stream.read()
        return self._relabel(block) if block else block

    async def aclose(self) -> None:
        """See `AnswerStream.aclose`."""
        await self._stream.aclose()
