"""The kinds of request that clients send, as values: all differences between wire formats in one place.

Code that passes answers on (relay, labels, token counts, errors) reads these instead of knowing formats.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

SurfaceName = Literal["chat", "responses", "completions", "embeddings", "messages"]
Wire = Literal["openai", "anthropic"]


@dataclass(frozen=True, slots=True)
class Surface:
    """One kind of request and its answers.

    Attributes:
        name: Its name in the rest of the gateway.
        wire: Its format; requests to providers that speak it are relayed, others are translated.
        path: Its path at a provider that speaks the format, below its `api_base`.
        items: The field of every whole answer that holds the content.
        envelope: Field of a stream's events that holds the answer's `id` and `model`; None if the events
            hold them at the top level.
        id_prefix: The beginning of an answer's id.
        holds: The type of the value in `items`.
    """

    name: SurfaceName
    wire: Wire
    path: str
    items: str
    envelope: bytes | None
    id_prefix: str
    holds: type = list


CHAT: Final = Surface("chat", "openai", "/chat/completions", "choices", None, "chatcmpl-")
RESPONSES: Final = Surface("responses", "openai", "/responses", "output", b"response", "resp_")
COMPLETIONS: Final = Surface("completions", "openai", "/completions", "choices", None, "cmpl-")
EMBEDDINGS: Final = Surface("embeddings", "openai", "/embeddings", "data", None, "embd-")
MESSAGES: Final = Surface("messages", "anthropic", "/v1/messages", "content", b"message", "msg_")
# Asked of providers of Anthropic's format in addition to messages; the result is a number, not an answer.
TOKEN_COUNT: Final = replace(MESSAGES, path="/v1/messages/count_tokens", items="input_tokens", holds=int)
SURFACES: Final = (CHAT, RESPONSES, COMPLETIONS, EMBEDDINGS, MESSAGES)
