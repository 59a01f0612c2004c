"""How many tokens an answer used, read from its bytes without parsing it."""

from __future__ import annotations

import re
from typing import Final

# Of the prompt, and of the completion.
Tokens = tuple[int, int]

USAGE_KEY: Final = b'"usage"'
# OpenAI's responses and Anthropic say input and output.
_PROMPT: Final = re.compile(rb'"(?:prompt|input)_tokens"\s*:\s*(\d{1,12})')
_COMPLETION: Final = re.compile(rb'"(?:completion|output)_tokens"\s*:\s*(\d{1,12})')


def tokens_used(text: bytes) -> Tokens | None:
    """What the last `usage` in an answer reports; None where it reports none.

    Anthropic's streams may report the prompt's in the first `usage` only.
    """
    start = text.rfind(USAGE_KEY)
    if start < 0:
        return None
    prompt = _PROMPT.search(text, start) or _PROMPT.search(text, text.find(USAGE_KEY))
    completion = _COMPLETION.search(text, start)
    # Embeddings have no completion.
    if prompt is None:
        return None
    return int(prompt[1]), 0 if completion is None else int(completion[1])


class UsageNotes:
    """The blocks of a stream that may report its usage: the first and the last that hold `USAGE_KEY`."""

    __slots__ = ("_first", "_last")

    def __init__(self) -> None:
        self._first = self._last = b""

    def add(self, block: bytes) -> None:
        """Note a block that holds `USAGE_KEY`."""
        self._first = self._first or block
        self._last = block

    def tokens(self) -> Tokens | None:
        """What the stream reported so far."""
        return tokens_used(self._first + self._last)
