"""How many tokens an answer used, read from its bytes without parsing it."""

from __future__ import annotations

import re
from typing import Final

_KEY: Final = b'"usage"'
_PROMPT: Final = re.compile(rb'"prompt_tokens"\s*:\s*(\d{1,12})')
_COMPLETION: Final = re.compile(rb'"completion_tokens"\s*:\s*(\d{1,12})')


def mentions_usage(block: bytes) -> bool:
    """Whether a block of events may report token usage."""
    return _KEY in block


def tokens_used(text: bytes) -> tuple[int, int] | None:
    """Prompt and completion tokens, from the last `usage` in an answer; None where it reports none."""
    start = text.rfind(_KEY)
    if start < 0:
        return None
    prompt, completion = _PROMPT.search(text, start), _COMPLETION.search(text, start)
    if prompt is None or completion is None:
        return None
    return int(prompt[1]), int(completion[1])
