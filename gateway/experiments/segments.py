"""The segments of a request: what its metadata says of the caller, for each path that the file lists.

Each comparison records them, so that people see which segment prefers which policy. Nothing that decides
depends on them. From the request to the report they travel in the answer's id, as a text such as
`plan=pro;country=(none)` that names paths without `metadata.`. Whatever a caller sends, a value is short and
has no character with a meaning here, in the store or in the log; values in parentheses are ours.

Where a judge's verdicts are evidence beside users' feedback, who preferred is one more segment. It follows
from the report, and people see by it whether users and the judge agree.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from unicodedata import category, normalize

from gateway.config.segments import IN_METADATA

NO_VALUE: Final = "(none)"
OTHER_VALUE: Final = "(other)"
OURS: Final = frozenset({NO_VALUE, OTHER_VALUE, "(mixed)"})
"""Values that no request has; `segments.lua` calls a comparison of two different ones mixed."""

BY: Final = "(by)"
"""The path of a segment of ours: who preferred, users or the judge, where both are evidence."""
USERS: Final = "users"
JUDGE: Final = "judge"

_LONGEST_BYTES: Final = 32
_LONGEST_READ: Final = 4 * _LONGEST_BYTES  # of a text; the rest of a longer one is not looked at
_PLAIN: Final = re.compile(rf"[A-Za-z0-9 ._+:/-]{{1,{_LONGEST_BYTES}}}")
_MARKS: Final = frozenset(" ._+:/-")
_KINDS: Final = frozenset("LMN")  # letters, their accents, and digits


def segments_in(paths: Sequence[str], payload: Mapping[str, Any]) -> str:
    """The segments of a checked request, as its answer's id has them; empty without paths."""
    if not paths:
        return ""
    metadata = payload.get("metadata") or {}
    names = [path.removeprefix(IN_METADATA) for path in paths]
    return ";".join([f"{name}={segment_value(metadata.get(name))}" for name in names])


def segment_value(said: Any) -> str:
    """What a value of the metadata is counted as.

    Returns:
        The text itself; NO_VALUE for what is empty or no single value; OTHER_VALUE for a text that is longer
        than 32 bytes or has other characters than letters, digits, spaces and `. _ + : / -`.
    """
    if isinstance(said, bool):
        return "true" if said else "false"
    if isinstance(said, int | float):
        return str(said)
    if not isinstance(said, str):
        return NO_VALUE
    text = said[:_LONGEST_READ].strip()
    if not text:
        return NO_VALUE
    if len(said) > _LONGEST_READ:
        return OTHER_VALUE
    return text if _PLAIN.fullmatch(text) else _other_script(normalize("NFC", text))


def _other_script(text: str) -> str:
    is_short = len(text.encode(errors="replace")) <= _LONGEST_BYTES
    is_read = all(each in _MARKS or category(each)[0] in _KINDS for each in text)
    return text if is_short and is_read else OTHER_VALUE


def segments_counted(sealed: str, paths: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Paths and values of the segments in an answer's id, as far as the file still lists the paths."""
    named = [each.split("=", 1) for each in sealed.split(";")]
    found = [(f"{IN_METADATA}{name}", value) for name, value in named]
    return tuple(each for each in found if each[0] in paths)
