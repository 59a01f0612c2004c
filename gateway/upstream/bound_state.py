"""Opaque texts that a provider puts into an answer and that only its model can read on the next turn.

| provider | in an answer, and in the conversation that is sent back |
|---|---|
| Anthropic | `thinking` with a `signature`, `redacted_thinking` with `data`, `encrypted_content` of search |
| OpenAI | `reasoning` and `compaction` items with `encrypted_content` |
| Gemini | `thought_signature` of parts and tool calls, also in `extra_content`, `provider_specific_fields` |
| LiteLLM | `thinking_blocks`; a signature inside a tool call's id |
| OpenRouter, Copilot | `reasoning_details` with `signature` or `data`; `reasoning_opaque` |

Clients send these texts back unchanged, so a text identifies the model that made it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from gateway.upstream.base import ModelTarget

# Fields whose values are opaque wherever they stand.
_OPAQUE: Final = frozenset(
    {
        "encrypted_content",
        "encrypted_index",
        "reasoning_opaque",
        "thoughtSignature",
        "thought_signature",
        "thought_signatures",
    }
)
# Fields that are opaque only in blocks of these types.
_OPAQUE_IN: Final[Mapping[str, frozenset[str]]] = {
    "signature": frozenset({"thinking", "reasoning.text", "signature_delta"}),
    "data": frozenset({"redacted_thinking", "reasoning.encrypted"}),
}
# Blocks that are useless without their opaque part.
_WHOLE_BLOCKS: Final = frozenset(
    {"compaction", "reasoning", "reasoning.encrypted", "reasoning.text", "redacted_thinking", "thinking"}
)
# Text that a model or a caller wrote, in any shape.
_WRITTEN: Final = frozenset({"arguments", "input", "text", "output"})
_IN_IDS: Final = "__thought__"
_NOT_THE_MODELS: Final = frozenset({"developer", "system", "user"})
_DEEPEST: Final = 8
# Every such part contains one of these; the first is in `signature` as in `thoughtSignature`.
MARKERS: Final = (b"ignature", b"encrypted", b"redacted_thinking", b"_opaque", b"__thought__")
_GONE: Final = object()


def may_hold_state(block: bytes) -> bool:
    """Whether a part of an answer may hold opaque texts; this check costs almost nothing."""
    for marker in MARKERS:  # noqa: SIM110 - a generator would cost more than all that is looked at
        if marker in block:
            return True
    return False


def opaque_parts(value: Any, depth: int = 0) -> Iterator[str]:
    """Every opaque text in an answer, an event or a message, in order."""
    if depth > _DEEPEST:
        return
    if isinstance(value, list):
        for each in value:
            yield from opaque_parts(each, depth + 1)
    elif isinstance(value, dict):
        for name, each in value.items():
            if _is_opaque(value, name, each):
                yield from filter(None, _texts(each))
            elif name not in _WRITTEN and isinstance(each, dict | list):
                yield from opaque_parts(each, depth + 1)


def state_of(payload: Mapping[str, Any]) -> list[str]:
    """The opaque texts of a conversation that is sent back, oldest first; most conversations have none."""
    found: list[str] = []
    for name in ("messages", "input"):
        turns = payload.get(name)
        if isinstance(turns, list):
            for turn in turns:
                if _is_the_models(turn):
                    found.extend(opaque_parts(turn))
    return found


def without_state(payload: Mapping[str, Any], is_dropped: Callable[[str], bool]) -> dict[str, Any]:
    """The request without these opaque texts, and without the blocks that are useless without them."""
    kept = dict(payload)
    for name in ("messages", "input"):
        turns = payload.get(name)
        if isinstance(turns, list):
            stripped = (_stripped(turn, is_dropped) if _is_the_models(turn) else turn for turn in turns)
            kept[name] = [turn for turn in stripped if turn is not _GONE]
    return kept


def may_go_without(payload: Mapping[str, Any], target: ModelTarget) -> bool:
    """Whether a model accepts this conversation without the opaque texts of another model.

    With thinking enabled, Claude accepts results of tools only after the thinking that called them.
    """
    thinking = payload.get("thinking")
    thinks = isinstance(thinking, dict) and thinking.get("type", "disabled") != "disabled"
    messages = payload.get("messages")
    last = messages[-1] if isinstance(messages, list) and messages else None
    if not (thinks and "claude" in target.model and isinstance(last, dict)):
        return True
    content = last.get("content")
    blocks = content if isinstance(content, list) else []
    is_result = any(isinstance(block, dict) and block.get("type") == "tool_result" for block in blocks)
    return not is_result and last.get("role") != "tool"


def _is_the_models(turn: Any) -> bool:
    """Whether a turn may hold a model's text."""
    return isinstance(turn, dict) and not _is_one_of(turn.get("role"), _NOT_THE_MODELS)


def _is_one_of(value: Any, words: frozenset[str]) -> bool:
    """Whether the value is one of these. Callers and providers may send values that cannot be hashed."""
    return isinstance(value, str) and value in words


def _texts(value: str | list[Any]) -> list[str]:
    """The texts of an opaque value; no provider sends anything else in a list of them."""
    return [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, str)]


def _is_opaque(block: dict[str, Any], name: str, value: Any) -> bool:
    if name == "id" and isinstance(value, str):
        return _IN_IDS in value
    if not isinstance(value, str | list) or (isinstance(value, list) and name != "thought_signatures"):
        return False
    return name in _OPAQUE or (name in _OPAQUE_IN and _is_one_of(block.get("type"), _OPAQUE_IN[name]))


def _stripped(value: Any, is_dropped: Callable[[str], bool]) -> Any:
    """A value without opaque texts, or `_GONE` if nothing is left of it."""
    if isinstance(value, list):
        kept = [each for each in (_stripped(each, is_dropped) for each in value) if each is not _GONE]
        return kept if kept or not value else _GONE
    if not isinstance(value, dict):
        return value
    fields: dict[str, Any] = {}
    for name, each in value.items():
        if name != "id" and _is_opaque(value, name, each):
            if any(map(is_dropped, _texts(each))):
                if _is_one_of(value.get("type"), _WHOLE_BLOCKS):
                    return _GONE
                continue
            fields[name] = each
        elif name in _WRITTEN:
            fields[name] = each
        elif (rest := _stripped(each, is_dropped)) is not _GONE:
            fields[name] = rest
        elif name == "content" and not value.get("tool_calls"):
            return _GONE
    return fields
