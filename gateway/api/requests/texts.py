"""OpenAI's completions and embeddings."""

from __future__ import annotations

from typing import Final

from gateway.api.requests.common import MODEL, NUCLEUS, PENALTIES, SERVERS, STOP, STREAM, USERS
from gateway.api.requests.shapes import (
    TEXT,
    TEXTS,
    YES_OR_NO,
    Fields,
    Schema,
    all_or_null,
    either,
    listed,
    one_of,
    or_null,
    record,
    whole,
)

_TOKENS: Final[Schema] = listed(whole(0))
_TEXTS_OR_TOKENS: Final[Schema] = either(TEXT, TEXTS, _TOKENS, listed(_TOKENS))
_USER: Final[Fields] = {"user": USERS["user"]}

COMPLETION_FIELDS: Final[Fields] = {
    **SERVERS,
    **MODEL,
    **STREAM,
    **NUCLEUS,
    **PENALTIES,
    **_USER,
    "prompt": _TEXTS_OR_TOKENS,
    **all_or_null(
        {
            "best_of": whole(0, 20),
            "echo": YES_OR_NO,
            "logprobs": whole(0, 5),
            "max_tokens": whole(1),
            "n": whole(1),
            "stop": STOP,
            "stream_options": record(include_usage=YES_OR_NO, include_obfuscation=YES_OR_NO),
            "suffix": TEXT,
        }
    ),
}
EMBEDDING_FIELDS: Final[Fields] = {
    **MODEL,
    **_USER,
    "input": _TEXTS_OR_TOKENS,
    "dimensions": or_null(whole(1)),
    "encoding_format": or_null(one_of("float", "base64")),
    "truncate_prompt_tokens": or_null(whole(-1)),
}
