"""How many tokens an answer used, read from its bytes without parsing it."""

from __future__ import annotations

import re
from typing import Final

_KEY: Final = b'"usage"'
# OpenAI's responses and Anthropic say input and output.
_PROMPT: Final = re.compile(rb'"(?:prompt|input)_tokens"\s*:\s*(\d{1,12})')
_COMPLETION: Final = re.compile(rb'"(?:completion|output)_tokens"\s*:\s*(\d{1,12})')


def mentions_usage(block: bytes) -> bool:
    """Whether a block of events may report token usage."""
    return _KEY in block


def tokens_used(text: bytes) -> tuple[int, int] | None:
    """Prompt and completion tokens, from the last `usage` in an answer; None where it reports none.

    Anthropic's streams may report the prompt's in the first `usage` only.
    """
    start = text.rfind(_KEY)
    if start < 0:
        return None
    prompt = _PROMPT.search(text, start) or _PROMPT.search(text, text.find(_KEY))
    completion = _COMPLETION.search(text, start)
    # Embeddings have no completion.
    if prompt is None:
        return None
    return int(prompt[1]), 0 if completion is None else int(completion[1])
