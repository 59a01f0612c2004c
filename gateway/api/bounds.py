"""Limits the structure of a request, so that reading it costs little whatever a caller sends.

Parsing ten megabytes of empty lists takes more than a second and half a gigabyte, and no other request is
answered in the meantime. Ten megabytes of text take a hundredth of that. So structure is bounded; if there
could be too much of it, it is counted before anything is parsed.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.errors import InvalidRequestError
from gateway.upstream.structure import outside_strings

# Memory of Python's objects: an object with its first fields, or an array; and each further field or item
# with its value.
_CONTAINER_BYTES: Final = 256
_FIELD_BYTES: Final = 160
_ITEM_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class Bounds:
    """The most a request may have.

    Attributes:
        nesting: Objects and arrays inside each other.
        containers: Objects and arrays.
        own_fields: Fields of the request itself.
        fields: Fields of all objects.
        items: Items of all arrays.
        name_characters: Length of a field's name.
        harmless_bytes: A text up to this length cannot exceed any bound but the first and the third, unless
            it has more brackets than `nesting` permits.
    """

    nesting: int
    containers: int
    own_fields: int
    fields: int
    items: int
    name_characters: int

    harmless_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "harmless_bytes", min(self.name_characters, self.fields, self.items))


ASKING: Final = Bounds(
    nesting=64, containers=50_000, own_fields=200, fields=100_000, items=500_000, name_characters=1024
)
"""Requests that ask models: conversations with all their tools, or embeddings of many tokens."""
CONTROLLING: Final = Bounds(
    nesting=8, containers=500, own_fields=50, fields=2_000, items=2_000, name_characters=256
)
"""Everything else."""


async def check_weight(text: bytes, bounds: Bounds) -> None:
    """Refuse JSON that would be costly to parse, without parsing it. Only worth while for a large text.

    Raises:
        InvalidRequestError: Naming the limit.
    """
    if await _is_light(text, bounds):
        return
    for containers, fields, commas in outside_strings(text):
        # Commas stand between fields as well.
        _check_counts(bounds, containers, fields, commas - fields)
        await asyncio.sleep(0)


async def _is_light(text: bytes, bounds: Bounds) -> bool:
    """Whether there is little structure even if brackets and commas inside strings are counted too."""
    for marks, most in ((b"[{", bounds.containers), (b":", bounds.fields), (b",", bounds.items)):
        count = 0
        for mark in marks:
            count += text.count(mark)
            await asyncio.sleep(0)
        if count > most:
            return False
    return True


def check_shape(request: dict[str, Any], bounds: Bounds, text: bytes) -> int:
    """Refuse a request with too much structure.

    Args:
        request: The request.
        bounds: The most it may have.
        text: Its JSON.

    Returns:
        The most bytes of memory that its structure takes; 0 if that is too little to matter.

    Raises:
        InvalidRequestError: Naming the limit.
    """
    if len(request) > bounds.own_fields:
        raise _too_much(f"more than {bounds.own_fields} fields")
    if len(text) <= bounds.harmless_bytes and text.count(b"{") + text.count(b"[") <= bounds.nesting:
        return 0
    level: list[Any] = [request]
    nesting = containers = fields = items = 0
    while level:
        nesting += 1
        if nesting > bounds.nesting:
            raise _too_much(f"objects and arrays nested more than {bounds.nesting} deep")
        containers += len(level)
        _check_counts(bounds, containers, fields, items)
        inner: list[Any] = []
        for container in level:
            if type(container) is dict:
                fields += len(container)
                for name in container:
                    if len(name) > bounds.name_characters:
                        raise _too_much(
                            f"the name of a field with more than {bounds.name_characters} characters"
                        )
                values = container.values()
            else:
                items += len(container)
                values = container
            inner += [value for value in values if type(value) is dict or type(value) is list]
        level = inner
    _check_counts(bounds, containers, fields, items)
    return _CONTAINER_BYTES * containers + _FIELD_BYTES * fields + _ITEM_BYTES * items


def _check_counts(bounds: Bounds, containers: int, fields: int, items: int) -> None:
    if containers > bounds.containers:
        raise _too_much(f"more than {bounds.containers} objects and arrays")
    if fields > bounds.fields:
        raise _too_much(f"more than {bounds.fields} fields in its objects")
    if items > bounds.items:
        raise _too_much(f"more than {bounds.items} items in its arrays")


def _too_much(what: str) -> InvalidRequestError:
    return InvalidRequestError(f"The request has {what}.", code="request_too_complex")
