"""A conversation as turns: the present question, the last one, and the answer the caller continued from.

Clients send the whole conversation each time. Equal messages are the same question, and the message after
them in a longer conversation is the kept answer. Both are compared after normalisation, which ignores white
space, the form of Unicode, the division of a text into parts, cache marks, ids and a model's thinking. Only
digests leave the process (`sketches.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from hashlib import blake2b
from itertools import takewhile
from typing import Any, Final, NamedTuple
from unicodedata import normalize

from gateway.upstream.json_text import written
from gateway.upstream.surfaces import CHAT, MESSAGES, RESPONSES, Surface

_THOUGHT: Final = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)
# Tuples, not sets, because the values to look up may be of any type.
_TEXTS: Final = ("text", "input_text", "output_text", "refusal")
_THOUGHTS: Final = ("thinking", "redacted_thinking", "reasoning")
_PASSING: Final = frozenset({"annotations", "cache_control", "id", "logprobs", "status"})


class Author(Enum):
    """The author of a message in a conversation."""

    USER = b"u"
    ASSISTANT = b"a"
    TOOL = b"t"  # the result of a tool
    OTHER = b"o"  # instructions


class Item(NamedTuple):
    """One message or an equivalent item.

    Attributes:
        role: The author.
        text: Its text, normalised.
        more: Its content besides text, in a canonical form.
    """

    role: Author
    text: str
    more: bytes = b""


class Turns(NamedTuple):
    """The turns of a conversation. Digests cover everything up to a question, and are secret.

    Attributes:
        asked: The question at its end; None if it ends with anything else.
        answered: The last question that was answered before; None at the beginning.
        kept: The answer to that one, from which the caller continued; None if it is more than a text.
        question: The text of the question at the end; None if there is none, or it is more than a text.
    """

    asked: bytes | None
    answered: bytes | None
    kept: str | None
    question: str | None


def turns_of(payload: Mapping[str, Any], surface: Surface) -> Turns:
    """The turns of a checked request."""
    items = list(_READERS[surface.name](payload))
    question = [*takewhile(lambda item: item.role is Author.USER, reversed(items))][::-1]
    start, end = _last_answer(items)
    digest = blake2b(digest_size=32)
    answered = None
    for place, item in enumerate(items):
        if place == start:
            answered = digest.digest()
        digest.update(b"%b%d:%d:" % (item.role.value, len(item.text), len(item.more)))
        digest.update(item.text.encode("utf-8", "surrogatepass"))
        digest.update(item.more)
    answer = items[start:end]
    return Turns(
        digest.digest() if question else None,
        answered,
        _only_text(answer) if question and answer else None,
        _only_text(question, Author.USER),
    )


def answer_text(answer: Mapping[str, Any], surface: Surface) -> str:
    """The text of a whole answer, normalised; empty if it is not just a text."""
    return _only_text(list(_ANSWERS[surface.name](answer))) or ""


def _last_answer(items: list[Item]) -> tuple[int, int]:
    """Where the last answer begins and ends, including its tool calls; (-1, -1) if there is none."""
    end = len(items)
    while end and items[end - 1].role is not Author.ASSISTANT:
        end -= 1
    start = end
    while start and items[start - 1].role in (Author.ASSISTANT, Author.TOOL):
        start -= 1
    is_one = start < end and start > 0 and items[start - 1].role is Author.USER
    return (start, end) if is_one else (-1, -1)


def _only_text(items: list[Item], author: Author = Author.ASSISTANT) -> str | None:
    if not items or any(item.role is not author or item.more for item in items):
        return None
    return " ".join(item.text for item in items) or None


def normalised(text: str) -> str:
    """A text without the details that may change on its way through a client and back."""
    return " ".join(normalize("NFC", _THOUGHT.sub("", text)).split())


def _item(role: Author, content: Any, more: Iterable[Any] = ()) -> Item:
    parts = content if isinstance(content, list) else [content]
    texts = [text for part in parts if (text := _text_of(part)) is not None]
    others = [_lasting(part) for part in parts if part is not None and _text_of(part) is None]
    kept = [part for part in (*others, *more) if part]
    return Item(role, normalised("".join(texts)), written(kept, is_sorted=True) if kept else b"")


def _text_of(part: Any) -> str | None:
    if isinstance(part, str):
        return part
    if isinstance(part, dict) and part.get("type", "text") in _TEXTS:
        text = part.get("text", part.get("refusal"))
        return text if isinstance(text, str) else None
    return None


def _lasting(part: Any) -> Any:
    if not isinstance(part, dict):
        return part
    if part.get("type") in _THOUGHTS:
        return None
    return {name: value for name, value in part.items() if name not in _PASSING}


_CHAT_ROLES: Final = {
    "user": Author.USER,
    "assistant": Author.ASSISTANT,
    "tool": Author.TOOL,
    "function": Author.TOOL,
}


def _role(message: Mapping[str, Any]) -> Author:
    role = message.get("role")
    return _CHAT_ROLES.get(role, Author.OTHER) if isinstance(role, str) else Author.OTHER


def _chat_item(message: Mapping[str, Any]) -> Item:
    calls = message.get("tool_calls")
    given = calls if isinstance(calls, list) else []
    called = [call.get("function") or call for call in given if isinstance(call, dict)]
    return _item(_role(message), message.get("content"), [*called, message.get("function_call")])


def _chat_answer(answer: Mapping[str, Any]) -> Iterator[Item]:
    choices = answer.get("choices")
    for choice in choices if isinstance(choices, list) else []:
        message = choice.get("message") if isinstance(choice, dict) else None
        yield _chat_item({**message, "role": "assistant"}) if isinstance(message, dict) else _NO_TEXT


def _messages(payload: Mapping[str, Any]) -> Iterator[Item]:
    if payload.get("system"):
        yield _item(Author.OTHER, payload["system"])
    for message in payload["messages"]:
        if isinstance(message, dict):
            content = message.get("content")
            blocks = content if isinstance(content, list) else []
            is_result = any(
                isinstance(block, dict) and block.get("type") == "tool_result" for block in blocks
            )
            yield _item(Author.TOOL if is_result else _role(message), content)


def _response_items(items: Any) -> Iterator[Item]:
    for each in items if isinstance(items, list) else []:
        if not isinstance(each, dict):
            continue
        kind = each.get("type")
        if "role" in each:
            yield _item(_role(each), each.get("content"))
        elif kind not in _THOUGHTS:
            is_result = isinstance(kind, str) and kind.endswith("_output")
            yield _item(Author.TOOL if is_result else Author.ASSISTANT, None, [_lasting(each)])


def _responses(payload: Mapping[str, Any]) -> Iterator[Item]:
    if payload.get("instructions"):
        yield _item(Author.OTHER, payload["instructions"])
    given = payload.get("input")
    if isinstance(given, str):
        yield _item(Author.USER, given)
    yield from _response_items(given)


_NO_TEXT: Final = Item(Author.OTHER, "")
_Reader = Callable[[Mapping[str, Any]], Iterator[Item]]
_READERS: Final[Mapping[str, _Reader]] = {
    CHAT.name: lambda payload: (_chat_item(each) for each in payload["messages"] if isinstance(each, dict)),
    MESSAGES.name: _messages,
    RESPONSES.name: _responses,
}
_ANSWERS: Final[Mapping[str, _Reader]] = {
    CHAT.name: _chat_answer,
    MESSAGES.name: lambda answer: iter([_item(Author.ASSISTANT, answer.get("content"))]),
    RESPONSES.name: lambda answer: _response_items(answer.get("output")),
}
