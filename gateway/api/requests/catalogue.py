"""Every kind of request: what it is for, what it needs, and what it may say."""

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
        required: Fields that must be there.
        fields: Every known field. Others may be sent where the provider knows them.
    """

    summary: str
    required: tuple[str, ...]
    fields: Fields

    @property
    def schema(self) -> Schema:
        """Its body."""
        return record(self.required, **self.fields)


REQUESTS: Final[Mapping[SurfaceName, RequestKind]] = {
    "chat": RequestKind(
        "Answer a conversation (OpenAI's chat completions).", ("model", "messages"), chat.CHAT_FIELDS
    ),
    # `input` may be missing where there is a stored `prompt`.
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
