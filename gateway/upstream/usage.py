"""Reads the number of tokens of an answer from its bytes, without parsing it."""

from __future__ import annotations

import re
from typing import Final

# Tokens of the prompt and of the completion.
Tokens = tuple[int, int]

# Providers report a stream's usage at its end; Anthropic reports the prompt's at its beginning too.
# Searching every block would cost as much as everything else that is done with a block.
BLOCKS_AT_THE_END: Final = 4

_KEY: Final = b'"usage"'
# OpenAI's responses and Anthropic say input and output.
_PROMPT: Final = re.compile(rb'"(?:prompt|input)_tokens"\s*:\s*(\d{1,12})')
_COMPLETION: Final = re.compile(rb'"(?:completion|output)_tokens"\s*:\s*(\d{1,12})')


def tokens_used(text: bytes) -> Tokens | None:
    """The tokens in the last `usage` of an answer; None if it reports none.

    Anthropic's streams may report the prompt's tokens only in the first `usage`.
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
