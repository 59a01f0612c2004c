"""Recognises answers that providers marked as refused. Refusals in a model's own words are not marked."""

from __future__ import annotations

import re
from typing import Final

# Inside JSON strings quotes are escaped, so no text of a model or a caller can look like these fields.
_MARKS: Final = re.compile(
    rb'"(?:finish_reason|reason)"\s*:\s*"content_filter"'
    rb'|"stop_reason"\s*:\s*"refusal"'
    rb'|"refusal"\s*:\s*"[^"]'
    rb'|"type"\s*:\s*"(?:refusal|response\.refusal\.(?:delta|done))"'
)


def is_marked_refused(answer: bytes) -> bool:
    """Whether an answer, or a block of a streamed one, says that it is refused."""
    return _MARKS.search(answer) is not None
