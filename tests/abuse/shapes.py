"""Requests of a wrong shape: every known field, at every level, swapped for a value of every JSON type."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from copy import deepcopy
from typing import Any, Final, NamedTuple

from gateway.api.fields import KNOWN_FIELDS
from tests.gateway.api.openapi.breaking import RICH
from tests.gateway.api.openapi.fuzzing import CHAT, COMPLETIONS, EMBEDDINGS, KINDS, RESPONSES

Place = tuple[str | int, ...]

MODELS: Final = ("plain", "claude-plain", "support", "both", "shaped", "shaped-claude", "nobody")
_SEALED: Final = "gAAAAABopaque"
# The next turn of a conversation, with what only the model that answered before can read.
_CHAT_TURNS: Final = [
    {
        "role": "assistant",
        "content": [
            {"type": "text", "text": "7", "extra_content": {"google": {"thought_signature": _SEALED}}}
        ],
        "reasoning_details": [
            {"type": "reasoning.encrypted", "data": _SEALED},
            {"type": "reasoning.text", "text": "Seven.", "signature": _SEALED},
        ],
        "provider_specific_fields": {"thought_signatures": [_SEALED]},
    },
    {"role": "user", "content": "And then?"},
]
_RESPONSE_TURNS: Final = [
    {"type": "reasoning", "id": "r2", "summary": [], "encrypted_content": _SEALED},
    {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "7"}]},
    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "And then?"}]},
]
WHOLE: Final[dict[str, dict[str, Any]]] = {
    **RICH,
    CHAT: {**RICH[CHAT], "messages": [*RICH[CHAT]["messages"], *_CHAT_TURNS]},
    RESPONSES: {**RICH[RESPONSES], "input": [*RICH[RESPONSES]["input"], *_RESPONSE_TURNS]},
    COMPLETIONS: {"prompt": "Add.", "max_tokens": 9, "stop": ["."], "logit_bias": {"5": 1}},
    EMBEDDINGS: {"input": ["a", "b"], "dimensions": 3, "encoding_format": "float"},
    "/v1/feedback": {"id": "chatcmpl-x", "signal": "thumb", "value": True, "comment": "c"},
    "/v1/keys": {"name": "made", "role": "client", "limits": {"requests_per_minute": 5}},
}


def _nested(levels: int, *, of_objects: bool = False) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value} if of_objects else [value]
    return value


VALUES: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, -1, 2**63, 2**64 - 1, -(2**63), 1.5, -0.0, 5e-324, 1.7e308),
    *("", "x", "\0", "\ufeff", "\u2028", "a\r\nb: c", "{{ 7 * 7 }}", "\U0010ffff", "x" * 70_000),
    *([], [[]], [None], [True], [0], [""], ["x"], [{}], [{"type": None}], [{"type": []}]),
    *({}, {"": ""}, {"\0": "\0"}, {"type": {}}, {"role": [], "content": {}}, {"type": "text", "text": 5}),
    *(_nested(50), _nested(50, of_objects=True), _nested(63), _nested(255), _nested(255, of_objects=True)),
)
# Well-formed or not, and none of them what Python's own encoder writes.
TEXTS: Final[tuple[bytes, ...]] = (
    *(b"", b" ", b"null", b"true", b"0", b'""', b"[]", b"[{}]", b"{}", b"{", b"}", b"{}{}", b"{},"),
    *(b"\xef\xbb\xbf{}", b"\xff\xfe{\x00}\x00", b'{"model":"\xff"}', b'{"model":"\xed\xa0\x80"}'),
    *(b'{"model":"\\ud800"}', b'{"model":"\\udc00\\ud800"}', b'{"\\ud83d":1}', b'{"\\u0000":"\\u0000"}'),
    *(
        b'{"model":NaN}',
        b'{"model":Infinity}',
        b'{"model":-Infinity}',
        b'{"model":1e999}',
        b'{"model":-1e999}',
    ),
    b'{"model":' + b"9" * 5000 + b"}",
    b'{"model":0.' + b"9" * 5000 + b"}",
    b'{"model":1e-' + b"9" * 50 + b"}",
    *(b"{'model':1}", b'{"model":01}', b'{"model":+1}', b'{"model":.5}', b'{"model":1,}', b'{"model"}'),
    b'{"model":"plain","model":5,"messages":1,"messages":[]}',
    b'{"model":"plain","model":"plain","messages":[{"role":"user","role":5,"content":"a","content":[]}]}',
    b'{"model":"plain","messages":[{"role":"user","content":"\\ud800"}]}',
    b'{"model":"plain","messages":[{"role":"user","content":' + b"[" * 255 + b"]" * 255 + b"}]}",
    b'{"model":"plain","messages":[{"role":"user","content":"a"}],"seed":' + b"9" * 30 + b"}",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b'"' + b"\\" * 4097,
    b"/* */ {}",
    b'{"model":"a\nb"}',
    b"\x00",
)


class Shape(NamedTuple):
    """A request that is wrong in one place."""

    path: str
    body: bytes


def shapes(count: int | None = None, seed: int = 1) -> Iterator[Shape]:
    """All of them, or so many drawn by the seed."""
    swaps = [
        (path, model, place, index)
        for path, whole in WHOLE.items()
        for model in (MODELS if path in KINDS else ("",))
        for place in (*_places(whole), *_absent(path))
        for index in range(len(VALUES))
    ]
    texts = [Shape(path, text) for path in WHOLE for text in TEXTS]
    yield from texts
    for swap in swaps if count is None else random.Random(seed).sample(swaps, count):
        yield _swapped(*swap)


def _swapped(path: str, model: str, place: Place, index: int) -> Shape:
    body: Any = {**deepcopy(WHOLE[path]), **({"model": model} if model else {})}
    around = body
    for step in place[:-1]:
        around = around[step]
    around[place[-1]] = VALUES[index]
    return Shape(path, json.dumps(body).encode())


def _absent(path: str) -> list[Place]:
    """Known fields that the whole request does without."""
    known = KNOWN_FIELDS[KINDS[path]] if path in KINDS else frozenset({"preferred", "idempotency_key"})
    return [(name,) for name in sorted(known - WHOLE[path].keys())]


def _places(part: Any, above: Place = ()) -> Iterator[Place]:
    if above:
        yield above
    inner = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    for step, value in inner:
        yield from _places(value, (*above, step))
