"""Every kind of request: its purpose, its required fields and all its known fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gateway.api.requests import chat, messages, responses, texts
from gateway.api.requests.shapes import Fields, Schema, record
from gateway.upstream.surfaces import SurfaceName


@dataclass(frozen=True, slots=True)
class RequestKind:
    """One kind of request.

    Attributes:
        summary: What it is for.
        required: The required fields.
        fields: Every known field. Other fields may be sent if the provider knows them.
    """

    summary: str
    required: tuple[str, ...]
    fields: Fields

    @property
    def schema(self) -> Schema:
        """The schema of its body."""
        return record(self.required, **self.fields)


REQUESTS: Final[Mapping[SurfaceName, RequestKind]] = {
    "chat": RequestKind(
        "Answer a conversation (OpenAI's chat completions).", ("model", "messages"), chat.CHAT_FIELDS
    ),
    # `input` may be missing if there is a stored `prompt`.
    "responses": RequestKind("Answer an input (OpenAI's responses).", ("model",), responses.RESPONSE_FIELDS),
    "completions": RequestKind(
        "Continue a text (OpenAI's completions); plain models only.",
        ("model", "prompt"),
        texts.COMPLETION_FIELDS,
    ),
    "embeddings": RequestKind(
        "Embed texts (OpenAI's embeddings); plain models only.", ("model", "input"), texts.EMBEDDING_FIELDS
    ),
    "messages": RequestKind(
        "Answer a conversation (Anthropic's messages).",
        ("model", "messages", "max_tokens"),
        messages.MESSAGE_FIELDS,
    ),
}
# The parts of requests that have a name in the document.
SHAPES: Final[Fields] = {**chat.CHAT_SHAPES, **responses.RESPONSE_SHAPES, **messages.MESSAGE_SHAPES}
