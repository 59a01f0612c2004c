"""The kinds of request clients send, as values: what tells one wire format from another, in one place.

Whoever passes answers on (relay, labels, token counts, errors) reads it here instead of knowing formats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

SurfaceName = Literal["chat", "responses", "completions", "embeddings", "messages"]
Wire = Literal["openai", "anthropic"]


@dataclass(frozen=True, slots=True)
class Surface:
    """One kind of request and its answers.

    Attributes:
        name: What the rest of the gateway calls it.
        wire: Whose format it is; providers of that format are relayed, others translated.
        path: Where a provider of that format answers it, below its `api_base`.
        items: The field of every whole answer that holds a list.
        envelope: Field of a stream's events that holds the answer's `id` and `model`; None where the events
            hold them themselves.
        id_prefix: How ids of answers begin.
    """

    name: SurfaceName
    wire: Wire
    path: str
    items: str
    envelope: bytes | None
    id_prefix: str


CHAT: Final = Surface("chat", "openai", "/chat/completions", "choices", None, "chatcmpl-")
RESPONSES: Final = Surface("responses", "openai", "/responses", "output", b"response", "resp_")
COMPLETIONS: Final = Surface("completions", "openai", "/completions", "choices", None, "cmpl-")
EMBEDDINGS: Final = Surface("embeddings", "openai", "/embeddings", "data", None, "embd-")
MESSAGES: Final = Surface("messages", "anthropic", "/v1/messages", "content", b"message", "msg_")
SURFACES: Final = (CHAT, RESPONSES, COMPLETIONS, EMBEDDINGS, MESSAGES)
