"""Finds names in a request of things that a provider stores: files, containers, earlier answers, prompts.

Such a name has a meaning for one provider only, and usually for one account there. One rule holds for all:
the request goes to that provider or is refused by name (`serving/kept.py`); if the provider does not know
the name, that is the caller's mistake (`failures.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum, auto
from typing import Any, Final, NamedTuple


class Scope(Enum):
    """Where a name has a meaning."""

    ACCOUNT = auto()  # for everything that is asked with one account of one provider
    ANSWER = auto()  # for one way of answering only: the model whose answer is continued, or a stored prompt


class Reference(NamedTuple):
    """A name of something stored.

    Attributes:
        where: The field with the name.
        name: The name.
        scope: Where the name has a meaning.
    """

    where: str
    name: str
    scope: Scope = Scope.ACCOUNT

    @property
    def is_file(self) -> bool:
        """Whether it is a file, the only kind that a translated request can name too."""
        return self.where.rpartition(".")[2] == "file_id"


# Fields of a request that are such a name, or hold it under this key.
_FIELDS: Final[Mapping[str, tuple[str, Scope]]] = {
    "cachedContent": ("name", Scope.ACCOUNT),
    "cached_content": ("name", Scope.ACCOUNT),
    "container": ("id", Scope.ACCOUNT),
    "conversation": ("id", Scope.ANSWER),
    "google": ("cached_content", Scope.ACCOUNT),
    "previous_response_id": ("id", Scope.ANSWER),
    "prompt": ("id", Scope.ANSWER),
    "thread": ("previous_message_id", Scope.ANSWER),
    "vector_store_ids": ("", Scope.ACCOUNT),
}
# A `prompt` that is a text is the question itself, unless there is an input too.
_LISTS: Final = ("messages", "input", "tools")
# The names in an item, a part of an item or a tool, and the places that may hold them.
_NAMES: Final = ("file_id", "container_id", "skill_id")
_NAME_LISTS: Final = ("file_ids", "vector_store_ids")
_HOLDERS: Final = ("file", "source", "output", "environment", "container", "input_image_mask")
_PARTS: Final = ("content", "output", "skills")
_REFERENCE: Final = "item_reference"
_ALL_OF_A_REFERENCE: Final = frozenset({"id", "type"})
_PLAIN: Final = 2  # role and content


def references(payload: Mapping[str, Any]) -> list[Reference]:
    """Every name of something stored, in no particular order."""
    found: list[Reference] = []
    if not _FIELDS.keys().isdisjoint(payload):
        fields = _FIELDS.keys() & payload.keys()
        if "prompt" in fields and isinstance(payload["prompt"], str) and "input" not in payload:
            fields -= {"prompt"}
        found += [one for field in fields for one in _of_field(field, payload[field])]
    for field in _LISTS:
        items = payload.get(field)
        if type(items) is list:
            for index, item in enumerate(items):
                # Most items are messages with only text, which name nothing.
                if type(item) is dict and not (len(item) == _PLAIN and type(item.get("content")) is str):
                    found += _of_item(f"{field}[{index}]", item)
    return found


def _of_field(field: str, value: Any) -> Iterator[Reference]:
    inside, scope = _FIELDS[field]
    if isinstance(value, str):
        yield Reference(field, value, scope)
    elif isinstance(value, dict):
        if isinstance(name := value.get(inside), str):
            yield Reference(field, name, scope)
        yield from _of_part(field, {"skills": value.get("skills")})
    elif isinstance(value, list) and not inside:
        yield from (Reference(field, name, scope) for name in value if isinstance(name, str))


def _of_item(where: str, item: Mapping[str, Any]) -> Iterator[Reference]:
    name = item.get("id")
    if isinstance(name, str) and (item.get("type") == _REFERENCE or item.keys() <= _ALL_OF_A_REFERENCE):
        yield Reference(f"{where}.id", name)
    audio = item.get("audio")
    if isinstance(audio, dict) and isinstance(name := audio.get("id"), str):
        yield Reference(f"{where}.audio.id", name)
    container = item.get("container")  # of a tool; a name, or the description of a new one
    if isinstance(container, str):
        yield Reference(f"{where}.container", container)
    yield from _of_part(where, item)


def _of_part(where: str, part: Mapping[str, Any]) -> Iterator[Reference]:
    yield from _named_in(where, part)
    for field in _HOLDERS:
        if isinstance(held := part.get(field), dict):
            yield from _of_part(f"{where}.{field}", held)
    for field in _PARTS:
        if isinstance(parts := part.get(field), list):
            for index, inner in enumerate(parts):
                if isinstance(inner, dict):
                    yield from _of_part(f"{where}.{field}[{index}]", inner)


def _named_in(where: str, part: Mapping[str, Any]) -> Iterator[Reference]:
    for field in _NAMES:
        if isinstance(name := part.get(field), str):
            yield Reference(f"{where}.{field}", name)
    for field in _NAME_LISTS:
        if isinstance(names := part.get(field), list):
            yield from (Reference(f"{where}.{field}", name) for name in names if isinstance(name, str))
