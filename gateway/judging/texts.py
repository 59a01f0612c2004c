"""The texts that a judge reads: the conversation, and the answers; None for what is more than text.

A judge compares texts. Requests with tools, pictures, sound or files, and those that name an earlier answer
instead of sending it, cannot be shown to it in whole, so they are not judged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from gateway.experiments.formats import FORMATS
from gateway.experiments.substance import Substance
from gateway.upstream.json_text import parsed
from gateway.upstream.surfaces import CHAT, MESSAGES, RESPONSES, Surface

_THOUGHT: Final = re.compile(r"\A\s*<think>.*?</think>\s*", re.DOTALL)
# Tuples, not sets, because the values to look up may be of any type.
_TEXTS: Final = ("text", "input_text", "output_text")
_THOUGHTS: Final = ("thinking", "redacted_thinking", "reasoning")
# Fields with which a request is about more than its own text, or asks for more than one text.
_MORE: Final = (
    *("tools", "functions", "audio", "web_search_options", "mcp_servers", "container"),
    *("previous_response_id", "conversation", "prompt", "thread", "background"),
)
_SPEAKERS: Final = ("system", "developer", "user", "assistant")
_CALLS: Final = ("tool_calls", "function_call", "audio")


def conversation_text(payload: Mapping[str, Any], surface: Surface) -> str | None:
    """The conversation of a checked request as a judge reads it; None if it is more than text."""
    if payload.get("n") not in (None, 1) or any(payload.get(name) for name in _MORE):
        return None
    given = payload.get({MESSAGES.name: "system", RESPONSES.name: "instructions"}.get(surface.name, ""))
    instructions = [("system", _content(given))] if given else []
    said = [*instructions, *_messages(payload, surface)]
    if not said or any(text is None for _, text in said):
        return None
    if len(said) == 1:
        return said[0][1]
    return "\n\n".join(f"{role}: {text}" for role, text in said)


def text_to_judge(answer: Any, surface: Surface) -> str | None:
    """The text of a whole answer without the model's thinking; None if it is more than a text, or empty."""
    text = _ANSWERS[surface.name](answer) if isinstance(answer, dict) else None
    return None if text is None else without_thought(text)


def text_in(body: bytes, surface: Surface) -> str | None:
    """The text of a whole answer as it was sent; None if it is none to judge."""
    try:
        return text_to_judge(parsed(body), surface)
    except ValueError:
        return None


def finished_text_in(body: bytes, surface: Surface) -> str | None:
    """The text of a whole answer that ended of itself; None of one that was refused, filtered or cut off."""
    try:
        answer = parsed(body)
    except ValueError:
        return None
    substance = Substance(surface)
    substance.take(answer)
    return None if substance.shortfall else text_to_judge(answer, surface)


def without_thought(text: str) -> str | None:
    """A text without the thinking that some models put before it; None if nothing is left."""
    return _THOUGHT.sub("", text).strip() or None


def _messages(payload: Mapping[str, Any], surface: Surface) -> Iterable[tuple[str, str | None]]:
    messages = FORMATS[surface.name].conversation(dict(payload))
    given = payload.get("input")
    if isinstance(given, list) and len(given) > len(messages):
        yield "", None  # calls and their results are items without a role
    for message in messages:
        is_plain = isinstance(message, dict) and not any(message.get(name) for name in _CALLS)
        if is_plain and message.get("role") in _SPEAKERS:
            yield message["role"], _content(message.get("content"))
        else:
            yield "", None


def _content(content: Any) -> str | None:
    """The text of a content; None if it has other parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    texts: list[str] = []
    for part in content:
        if not isinstance(part, dict):
            return None
        if part.get("type") in _THOUGHTS:
            continue
        text = part.get("text")
        if part.get("type", "text") not in _TEXTS or not isinstance(text, str):
            return None
        texts.append(text)
    return "\n".join(texts)


def _chat_answer(answer: Mapping[str, Any]) -> str | None:
    choices = answer.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        return None
    message = choices[0].get("message")
    if not isinstance(message, dict) or any(message.get(name) for name in _CALLS):
        return None
    return _content(message.get("content"))


def _responses_answer(answer: Mapping[str, Any]) -> str | None:
    items = answer.get("output")
    texts: list[str] = []
    for item in items if isinstance(items, list) else ():
        kind = item.get("type") if isinstance(item, dict) else None
        if kind in _THOUGHTS:
            continue
        text = _content(item.get("content")) if kind == "message" else None
        if text is None:
            return None
        texts.append(text)
    return "\n".join(texts)


_ANSWERS: Final[Mapping[str, Callable[[Mapping[str, Any]], str | None]]] = {
    CHAT.name: _chat_answer,
    MESSAGES.name: lambda answer: _content(answer.get("content")),
    RESPONSES.name: _responses_answer,
}
