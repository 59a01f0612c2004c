"""How much structure a JSON text has, told without parsing it, and the most that an answer may have.

Python's objects and arrays take many times the room of the brackets that make them: 60 MiB of `{},` parse to
two gigabytes. So a long answer is weighed before anything parses it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

MOST_PER_BYTE: Final = 46
"""The memory that the structure of JSON takes at most for each of its bytes: that of `{},` for each three."""
MOST_STRUCTURE_BYTES: Final = 512 * 1024 * 1024
"""The most memory that the structure of an answer may take: twice the longest answer, `MAX_ANSWER_BYTES`."""
MOST_EVENT_STRUCTURE_BYTES: Final = 256 * 1024 * 1024
"""Of events that are read together: sixteen times the longest event."""

# Memory of Python's values: an object or array by itself; each further item; each field with its name.
_CONTAINER_BYTES: Final = 72
_ITEM_BYTES: Final = 64
_FIELD_BYTES: Final = 136
_STEP_BYTES: Final = 128 * 1024
"""Length of text taken apart at a time."""


class Structure(NamedTuple):
    """What makes up the structure of a text.

    Attributes:
        containers: Objects and arrays.
        fields: Fields of objects.
        commas: Commas between fields, and between items.
    """

    containers: int = 0
    fields: int = 0
    commas: int = 0

    @property
    def bytes_parsed(self) -> int:
        """About the most memory that it takes when it is parsed, without the texts in it."""
        fields = self.fields * _FIELD_BYTES
        return self.containers * _CONTAINER_BYTES + fields + self.commas * _ITEM_BYTES

    def plus(self, text: bytes) -> Structure:
        """With what there is in another text, what stands inside its strings included."""
        return Structure(
            self.containers + text.count(b"[") + text.count(b"{"),
            self.fields + text.count(b":"),
            self.commas + text.count(b","),
        )


def outside_strings(text: bytes) -> Iterator[Structure]:
    """The structure of a text up to the end of each step, without what stands inside strings."""
    found, at, is_inside = Structure(), 0, False
    while at < len(text):
        end = _step_end(text, at)
        parts = text[at:end].replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
        found = found.plus(b"".join(parts[1 if is_inside else 0 :: 2]))
        is_inside = is_inside != (len(parts) % 2 == 0)
        yield found
        at = end


def is_heavy(text: bytes, most_bytes: int = MOST_STRUCTURE_BYTES) -> bool:
    """Whether a JSON text would take more memory than that by its structure."""
    if len(text) * MOST_PER_BYTE <= most_bytes or Structure().plus(text).bytes_parsed <= most_bytes:
        return False
    return any(found.bytes_parsed > most_bytes for found in outside_strings(text))


def _step_end(text: bytes, at: int) -> int:
    """The end of a step that begins at `at`, never between a backslash and the character it escapes."""
    end = min(at + _STEP_BYTES, len(text))
    step = text[at:end]
    is_escaping = (len(step) - len(step.rstrip(b"\\"))) % 2 == 1
    return end - 1 if is_escaping and end < len(text) else end
