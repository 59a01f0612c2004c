"""Replaces an answer's `id` and `model` and leaves every other byte unchanged.

A provider's answer names the model that gave it; the gateway's answer must have the response id that
feedback uses and the experiment's name instead. A response (OpenAI's format) also repeats its request.
There, fields that the policy set are replaced by what the caller had sent or by the API's default, and
fields that the server does not repeat are added.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import orjson

from gateway.experiments.formats import FORMATS
from gateway.serving.exchange import Question
from gateway.serving.json_fields import find_fields, set_found
from gateway.upstream.base import AnswerStream, RawHeaders
from gateway.upstream.failures import broken
from gateway.upstream.json_text import parsed
from gateway.upstream.repeated import repeated
from gateway.upstream.sse import is_last, split_first


class Label:
    """The `id` and `model` of an answer, as JSON text.

    Args:
        response_id: The new `id`.
        model: The new `model`.
        envelope: Field of a stream's events that holds both; None if the events hold them at the top level.
        echoes: Further fields to replace if an answer has them.
        repeats: Further fields to add if an answer lacks them or has null. Those among `echoes` are replaced
            as well.
    """

    __slots__ = ("_optional", "_repeats", "envelope", "names", "values")

    def __init__(
        self,
        response_id: str,
        model: str,
        envelope: bytes | None = None,
        echoes: Mapping[bytes, bytes] | None = None,
        repeats: Mapping[bytes, bytes] | None = None,
    ) -> None:
        self.values: Mapping[bytes, bytes] = {b"id": orjson.dumps(response_id), b"model": orjson.dumps(model)}
        self.names = _BOTH
        self._optional: frozenset[bytes] = frozenset()
        self._repeats: frozenset[bytes] = frozenset()
        self.envelope = envelope
        if echoes or repeats:
            echoes, repeats = echoes or {}, repeats or {}
            self.values = {**self.values, **repeats, **echoes}
            self.names = frozenset(self.values)
            self._optional = frozenset(echoes.keys() - repeats.keys())
            self._repeats = frozenset(repeats.keys() - echoes.keys())

    def relabel(self, body: bytes) -> bytes:
        """A whole answer under this label; `body` must be a valid JSON object."""
        found, values = find_fields(body, self.names), self.values
        if self._repeats:
            said = {
                name
                for name in self._repeats & found.keys()
                if not body.startswith(b"null", found[name].value)
            }
            found = {name: field for name, field in found.items() if name not in said}
            values = {name: value for name, value in values.items() if name not in said}
        return set_found(body, found, values, self._optional)

    def relabel_stream(self, stream: AnswerStream) -> RelabelledStream:
        """A streamed answer under this label."""
        relabeller = (
            StreamRelabeller(self) if self.envelope is None else EnvelopeRelabeller(self, self.envelope)
        )
        return RelabelledStream(stream, relabeller.relabel)


_BOTH: Final = frozenset({b"id", b"model"})


def label_for(question: Question, response_id: str, model: str) -> Label:
    """The label of an answer to a question."""
    surface = question.surface
    echoed = FORMATS[surface.name].echoed
    if not echoed:
        return Label(response_id, model, surface.envelope)
    said = repeated(question.payload)
    echoes = {name: said.get(name, question.payload.get(name)) for name in echoed}
    if question.continued is not None:
        echoes["previous_response_id"] = question.continued.response_id
    return Label(response_id, model, surface.envelope, _as_json(echoes), _as_json(said))


def _as_json(fields: Mapping[str, Any]) -> dict[bytes, bytes]:
    return {name.encode(): orjson.dumps(value) for name, value in fields.items()}


class StreamRelabeller:
    """Puts a label on every event of a stream.

    A provider begins every event with the same `id` and `model`. The bytes up to the end of both are learnt
    from one event and exchanged in all later ones. If later events begin differently (a time that changes,
    fields in another order), each field's bytes are exchanged separately, as long as every event holds each
    of them exactly once. If even that fails, events are parsed one by one and the bytes are learnt anew.
    """

    __slots__ = ("_label", "_new", "_new_start", "_old", "_old_start")

    def __init__(self, label: Label) -> None:
        self._label = label
        self._old: tuple[bytes, bytes] | None = None
        self._new = (b'"id":' + label.values[b"id"], b'"model":' + label.values[b"model"])
        self._old_start = b""
        self._new_start = b""

    def relabel(self, block: bytes) -> bytes:
        """The block's events under the label.

        Raises:
            UpstreamError: If an event is neither a JSON object nor null.
        """
        start = self._old_start
        if start and block.startswith(start) and block.find(b"\n\n") == len(block) - 2:
            return self._new_start + block[len(start) :]
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
        return b"".join(rewritten_events(block, self._relabel_event))

    def _relabel_event(self, payload: bytes) -> bytes:
        """The event under the label; its first bytes are learnt on the way."""
        found = find_fields(payload, self._label.names)
        labelled = set_found(payload, found, self._label.values)
        self._old = None
        if len(found) == len(self._new):
            of_id, of_model = found[b"id"], found[b"model"]
            self._old = payload[of_id.start : of_id.end], payload[of_model.start : of_model.end]
            rest = len(payload) - max(of_id.end, of_model.end)
            self._old_start = b"data:" + payload[: len(payload) - rest]
            self._new_start = b"data:" + labelled[: len(labelled) - rest]
        return labelled


class EnvelopeRelabeller:
    """Puts a label on those events of a stream that hold the answer itself: its beginning and its end."""

    __slots__ = ("_envelope", "_label", "_names", "_quoted")

    def __init__(self, label: Label, envelope: bytes) -> None:
        self._label = label
        self._envelope = envelope
        self._names = frozenset({envelope})
        self._quoted = b'"%b"' % envelope

    def relabel(self, block: bytes) -> bytes:
        """The block's events under the label.

        Raises:
            UpstreamError: If an event that may hold the answer is not a JSON object.
        """
        if self._quoted not in block:
            return block
        return b"".join(rewritten_events(block, self._relabel_event))

    def _relabel_event(self, payload: bytes) -> bytes:
        field = find_fields(payload, self._names).get(self._envelope)
        if field is None or not payload.startswith(b"{", field.value):
            return payload
        inner = self._label.relabel(payload[field.value : field.end])
        return payload[: field.value] + inner + payload[field.end :]


def rewritten_events(block: bytes, rewrite: Callable[[bytes], bytes]) -> Iterator[bytes]:
    """The lines of a block of whole events, with the data of each event rewritten; `[DONE]` stays.

    Raises:
        UpstreamError: If an event is neither a JSON object nor null.
    """
    data: list[bytes] = []
    for line in block.splitlines(keepends=True):
        if line.startswith(b"data:"):
            data.append(line[5:])
            continue
        if data:
            yield _rewritten(data, rewrite)
            data = []
        yield line


def _rewritten(data: list[bytes], rewrite: Callable[[bytes], bytes]) -> bytes:
    """One event's data, rewritten; several lines of data become one."""
    payload = b"".join([part.strip(b"\r\n") for part in data])
    line_end = b"\r\n" if data[-1].endswith(b"\r\n") else b"\n"
    if payload.strip() == b"[DONE]":
        return b"data:" + payload + line_end
    try:
        event = parsed(payload)
    except ValueError as error:
        raise broken("a malformed event") from error
    if not isinstance(event, dict | None):  # it could name the model in a place that gets no label
        raise broken("a malformed event")
    return b"data:" + (rewrite(payload) if isinstance(event, dict) else payload) + line_end


class RelabelledStream:
    """A stream under a label. It has no headers: the provider's would reveal which policy answered."""

    __slots__ = ("_relabel", "_stream")

    headers: RawHeaders = ()

    def __init__(self, stream: AnswerStream, relabel: Callable[[bytes], bytes]) -> None:
        self._stream = stream
        self._relabel = relabel

    async def read(self) -> bytes:
        """The next block, labelled."""
        block = await self._stream.read()
        return self._relabel(block) if block else block

    async def aclose(self) -> None:
        """Close the labelled stream."""
        await self._stream.aclose()
