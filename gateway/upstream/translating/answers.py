"""Turns litellm's answers into bytes: objects into JSON, chunks into server-sent events."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, Final

import orjson

from gateway.upstream.base import UpstreamRequest
from gateway.upstream.json_text import written
from gateway.upstream.repeated import completed
from gateway.upstream.surfaces import CHAT, RESPONSES, Surface

# Attributes in which litellm's wrappers keep the stream that they wrap or read from.
_INSIDE: Final = (
    "completion_stream",
    "litellm_custom_stream_wrapper",
    "_anthropic_wrapper",
    "_stream",
    "http_response",
    "streaming_response",
    "response",
)
_DEPTH: Final = 8


def as_json(answer: Any, asked: UpstreamRequest) -> bytes:
    """The whole answer to a request."""
    surface = asked.surface
    if isinstance(answer, dict):
        return orjson.dumps({**answer, "id": _id_for(answer.get("id"), surface)})
    _rename(answer, surface)
    if surface is RESPONSES:  # responses include null fields; OpenAI's chat leaves most of them out
        return written(completed(answer.model_dump(mode="json"), asked.payload))
    text: str = answer.model_dump_json(exclude_none=True)
    return text.encode()


def as_events(asked: UpstreamRequest) -> Callable[[Any], bytes]:
    """The function that turns a stream's chunks into events."""
    surface = asked.surface
    numbers = count()

    def event(chunk: Any) -> bytes:
        if isinstance(chunk, bytes):
            return chunk
        _rename(chunk, surface)
        text: str = chunk.model_dump_json(exclude_none=True)
        return b"data: " + text.encode() + b"\n\n"

    def response_event(chunk: Any) -> bytes:
        fields = {**chunk.model_dump(mode="json", exclude_none=True), "sequence_number": next(numbers)}
        if isinstance(fields.get("response"), dict):
            fields["response"] = completed(fields["response"], asked.payload)
        return f"event: {fields['type']}\ndata: ".encode() + written(fields) + b"\n\n"

    return response_event if surface is RESPONSES else event


def _rename(answer: Any, surface: Surface) -> None:
    given = getattr(answer, "id", None)
    if given is not None:
        answer.id = _id_for(given, surface)


def _id_for(given: Any, surface: Surface) -> str:
    """An id in the form of the kind of request; litellm uses that of the chat completion it made."""
    text = str(given or os.urandom(12).hex())
    return (
        text if text.startswith(surface.id_prefix) else surface.id_prefix + text.removeprefix(CHAT.id_prefix)
    )


def is_made_up(chunk: Any, chunks: Any, *, is_last: bool) -> bool:
    """Whether a chunk ends an answer that the provider had not ended.

    Args:
        chunk: The chunk.
        chunks: The stream it came from.
        is_last: Whether it is the last chunk of its format.
    """
    choices = getattr(chunk, "choices", None) or ()
    is_end = is_last or any(getattr(choice, "finish_reason", None) for choice in choices)
    return is_end and any(getattr(part, "received_finish_reason", "") is None for part in _parts(chunks))


def http_responses(chunks: Any) -> Iterator[Any]:
    """The HTTP responses that a stream of litellm reads from.

    For several providers, including Anthropic, closing the stream leaves its connection open and the
    provider writing until the next garbage collection.
    """
    return (part for part in _parts(chunks) if hasattr(part, "aiter_raw"))


def _parts(holder: Any, depth: int = _DEPTH) -> Iterator[Any]:
    """A stream and the streams inside it, from the outside in."""
    if holder is None or depth == 0:
        return
    yield holder
    if hasattr(holder, "aiter_raw"):
        return
    frame = getattr(holder, "ag_frame", None)
    if frame is not None:
        yield from _parts(frame.f_locals.get("self"), depth - 1)
    for name in _INSIDE:
        yield from _parts(getattr(holder, name, None), depth - 1)
