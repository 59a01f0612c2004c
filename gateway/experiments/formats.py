"""Where each kind of request holds what a policy decides: system prompt, conversation and parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

Body = dict[str, Any]

_LENGTH_LIMITS: Final = frozenset({"max_tokens", "max_completion_tokens"})


@dataclass(frozen=True, slots=True)
class Form:
    """A policy's parameters in the words of one kind of request.

    Attributes:
        fields: Fields the policy fixes.
        nested: The same for fields inside an object, by the object's name.
        displaced: Fields of the caller that contradict them under another name.
    """

    fields: Mapping[str, Any] = field(default_factory=dict)
    nested: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    displaced: frozenset[str] = frozenset()

    def put_into(self, body: Body) -> Body:
        """A copy of the body in which the policy's parameters have won over the caller's.

        Its lists are new as well: whoever sends it may change them, and two policies may be sent one body.
        """
        filled = {name: [*value] if type(value) is list else value for name, value in body.items()}
        filled.update(self.fields)
        for name in self.displaced:
            filled.pop(name, None)
        for name, parts in self.nested.items():
            given = body.get(name)
            filled[name] = {**given, **parts} if isinstance(given, dict) else {**parts}
        return filled


@dataclass(frozen=True, slots=True)
class Format:
    """One kind of request that a policy can be put to.

    Attributes:
        conversation: The caller's messages.
        add_system: Puts the policy's system prompt before what the caller sent; changes the body it is given.
        drop_private: Takes out what only the gateway reads; changes the body it is given.
        params: Name of each policy parameter there, `object.field` where it stands inside an object. A
            parameter that is missing cannot be expressed.
        echoed: Fields of an answer that repeat what a policy put into the request.
    """

    conversation: Callable[[Body], list[Any]]
    add_system: Callable[[Body, str], None]
    drop_private: Callable[[Body], None]
    params: Mapping[str, str]
    echoed: tuple[str, ...] = ()

    def form(self, params: Mapping[str, Any]) -> Form | None:
        """A policy's parameters here; None where one of them cannot be expressed."""
        if not params.keys() <= self.params.keys():
            return None
        fields: dict[str, Any] = {}
        nested: dict[str, dict[str, Any]] = {}
        for name, value in params.items():
            holder, _, inside = self.params[name].rpartition(".")
            if holder:
                nested.setdefault(holder, {})[inside] = value
            else:
                fields[inside] = value
        limits = _LENGTH_LIMITS & params.keys()
        return Form(fields, nested, _LENGTH_LIMITS - fields.keys() if limits else frozenset())


def _chat_conversation(body: Body) -> list[Any]:
    messages: list[Any] = body["messages"]
    return messages


def _add_chat_system(body: Body, system: str) -> None:
    body["messages"] = [{"role": "system", "content": system}, *body["messages"]]


def _drop_unstored_metadata(body: Body) -> None:
    # Sessions and templates read metadata; OpenAI's chat refuses it unless the answer is to be stored.
    if "metadata" in body and not body.get("store"):
        del body["metadata"]


def _drop_nothing(_body: Body) -> None:
    """OpenAI's responses take metadata."""


def _drop_foreign_metadata(body: Body) -> None:
    # Anthropic knows one field of metadata and refuses any other.
    metadata = body.pop("metadata", None) or {}
    if "user_id" in metadata:
        body["metadata"] = {"user_id": metadata["user_id"]}


def _input_items(body: Body) -> list[Any]:
    """The messages of a response's input; what else it may hold (calls, their results) is none."""
    given = body.get("input")
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    items = given if isinstance(given, list) else []
    return [item for item in items if isinstance(item, dict) and "role" in item]


def _add_instructions(body: Body, system: str) -> None:
    given = body.get("instructions")
    body["instructions"] = f"{system}\n\n{given}" if given else system


def _add_anthropic_system(body: Body, system: str) -> None:
    given = body.get("system")
    if isinstance(given, list):
        body["system"] = [{"type": "text", "text": system}, *given]
    else:
        body["system"] = f"{system}\n\n{given}" if given else system


_SAMPLING: Final = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
_CHAT_PARAMS: Final = (
    *_SAMPLING,
    *_LENGTH_LIMITS,
    *("presence_penalty", "frequency_penalty", "seed", "stop", "logit_bias", "reasoning_effort", "verbosity"),
)

CHAT_FORMAT: Final = Format(
    _chat_conversation, _add_chat_system, _drop_unstored_metadata, {name: name for name in _CHAT_PARAMS}
)
RESPONSES_FORMAT: Final = Format(
    _input_items,
    _add_instructions,
    _drop_nothing,
    {
        **{name: name for name in _SAMPLING},
        "max_tokens": "max_output_tokens",
        "max_completion_tokens": "max_output_tokens",
        "reasoning_effort": "reasoning.effort",
        "verbosity": "text.verbosity",
    },
    echoed=("instructions", "temperature", "top_p", "max_output_tokens", "reasoning", "text"),
)
MESSAGES_FORMAT: Final = Format(
    _chat_conversation,
    _add_anthropic_system,
    _drop_foreign_metadata,
    {
        "temperature": "temperature",
        "top_p": "top_p",
        "top_k": "top_k",
        "stop": "stop_sequences",
        "max_tokens": "max_tokens",
        "max_completion_tokens": "max_tokens",
    },
)

# By the surface's name; what is missing here is for plain models only.
FORMATS: Final[Mapping[str, Format]] = {
    "chat": CHAT_FORMAT,
    "responses": RESPONSES_FORMAT,
    "messages": MESSAGES_FORMAT,
}
