"""Parses JSON as leniently as the official clients do; the faster parser that reads most of it is stricter.

Clients understand a provider that writes `NaN`, a number outside the range of floats, a lone surrogate or a
byte order mark, so such answers are accepted here as well.
"""

from __future__ import annotations

import json
from typing import Any

import orjson


def parsed(text: bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: If the official clients could not read it either.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def as_utf8(text: bytes) -> bytes:
    """A JSON text in UTF-8 and without a byte order mark, whatever encoding of Unicode it came in."""
    if text.startswith((b"{", b"[")) and b"\0" not in text[:4]:
        return text
    return text.decode(json.detect_encoding(text), "surrogatepass").encode("utf-8", "surrogatepass")


def written(value: Any, *, is_sorted: bool = False) -> bytes:
    """A value as JSON, including the values that only the lenient reader accepts.

    Args:
        value: The value.
        is_sorted: Whether equal objects are written alike, in whatever order their fields came.
    """
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS if is_sorted else None)
    except TypeError:
        return json.dumps(value, separators=(",", ":"), sort_keys=is_sorted).encode()
