"""Estimates how many tokens a request and its answer may take, before the provider has counted them.

This matters only for keys with a limit on tokens: the estimate is set aside while the answer is made, and the
difference to what the provider reports is settled afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

CHARACTERS_PER_TOKEN: Final = 4  # for English text and common tokenizers

_OUTPUT_FIELDS: Final = ("max_completion_tokens", "max_tokens", "max_output_tokens")
# The fields that hold the prompt, in all formats. Everything else in a request is short.
_INPUT_FIELDS: Final = ("messages", "input", "prompt", "system", "instructions", "tools")


class Estimate(NamedTuple):
    """Tokens a request may take.

    Attributes:
        prompt: Tokens of the prompt, estimated from its length.
        answer: The longest answer, if the request sets a limit; otherwise 0.
    """

    prompt: int
    answer: int


def estimate_tokens(payload: Mapping[str, Any]) -> Estimate:
    """The tokens that a request may take, in the format of any endpoint."""
    characters = sum(_characters(payload[name]) for name in _INPUT_FIELDS if name in payload)
    stated = [payload[name] for name in _OUTPUT_FIELDS if isinstance(payload.get(name), int)]
    n = payload.get("n")
    answers = n if isinstance(n, int) and n > 0 else 1
    return Estimate(1 + characters // CHARACTERS_PER_TOKEN, answers * max(0, min(stated, default=0)))


def _characters(value: Any) -> int:
    """The number of characters of all text in a value; images and files are not counted."""
    if isinstance(value, str):
        return 0 if value.startswith("data:") else len(value)
    if isinstance(value, list):
        return sum(map(_characters, value))
    if isinstance(value, dict):
        return sum(_characters(part) for name, part in value.items() if name not in {"data", "file_data"})
    return 0
