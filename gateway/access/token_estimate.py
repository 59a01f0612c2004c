"""How many tokens a request and its answer may take, before anybody counted them.

Only for keys with a limit on tokens: so much is set aside while the answer is made, and the difference to
what the provider reports is settled afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

CHARACTERS_PER_TOKEN: Final = 4  # English text under the common vocabularies

_OUTPUT_FIELDS: Final = ("max_completion_tokens", "max_tokens", "max_output_tokens")
# What is asked, in the words of all formats. Everything else of a request is short.
_INPUT_FIELDS: Final = ("messages", "input", "prompt", "system", "instructions", "tools")


class Estimate(NamedTuple):
    """Tokens a request may take.

    Attributes:
        prompt: Going by its length.
        answer: The longest answer, where the request says how long one may be; else 0.
    """

    prompt: int
    answer: int


def estimate_tokens(payload: Mapping[str, Any]) -> Estimate:
    """What a request may take, in the format of any of the endpoints."""
    characters = sum(_characters(payload[name]) for name in _INPUT_FIELDS if name in payload)
    return Estimate(1 + characters // CHARACTERS_PER_TOKEN, _longest_answer(payload))


def _longest_answer(payload: Mapping[str, Any]) -> int:
    said = [payload[name] for name in _OUTPUT_FIELDS if isinstance(payload.get(name), int)]
    answers = payload.get("n")
    return max(0, min(said, default=0)) * (answers if isinstance(answers, int) and answers > 0 else 1)


def _characters(value: Any) -> int:
    """Characters of all text within; what images and files cost has nothing to do with their length."""
    if isinstance(value, str):
        return 0 if value.startswith("data:") else len(value)
    if isinstance(value, list):
        return sum(map(_characters, value))
    if isinstance(value, dict):
        return sum(_characters(part) for name, part in value.items() if name not in {"data", "file_data"})
    return 0
