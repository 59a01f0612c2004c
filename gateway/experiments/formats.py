"""The places of system prompt, conversation and parameters in each kind of request."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from typing_extensions import override

Body = dict[str, Any]

_LENGTH_LIMITS: Final = frozenset({"max_tokens", "max_completion_tokens"})
# A further name of the length limit on some servers; no policy can set it.
_OTHER_LENGTH_LIMITS: Final = frozenset({"n_predict"})


@dataclass(frozen=True, slots=True)
class Form:
    """A policy's parameters, named as in one kind of request.

    Attributes:
        fields: Fields the policy fixes.
        nested: Fields the policy fixes inside an object, by the object's name.
        displaced: Other fields of the caller that would contradict these fields.
        fixed: Every field that the policy fixes, with dots in the names of nested ones.
    """

    fields: Mapping[str, Any] = field(default_factory=dict)
    nested: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    displaced: frozenset[str] = frozenset()
    fixed: frozenset[str] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        inside = {f"{name}.{part}" for name, parts in self.nested.items() for part in parts}
        object.__setattr__(self, "fixed", frozenset(self.fields) | inside)

    def put_into(self, body: Body) -> Body:
        """A copy of the body in which the policy's parameters replace the caller's.

        Its lists are copies as well, because the sender may change them and two policies may get the same
        body.
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
class Format(ABC):
    """One kind of request that policies can answer.

    Attributes:
        params: The name of each policy parameter in this kind of request; `object.field` if it is inside an
            object. A parameter that is missing here cannot be expressed.
        echoed: Fields of an answer that repeat what a policy put into the request.
    """

    params: Mapping[str, str]
    echoed: tuple[str, ...] = ()

    @abstractmethod
    def conversation(self, body: Body) -> list[Any]:
        """The caller's messages."""

    @abstractmethod
    def add_system(self, body: Body, system: str, merges: bool) -> bool:
        """Put a policy's system prompt before the caller's messages, in place.

        Args:
            body: A request's body, which is changed.
            system: The prompt.
            merges: Whether to merge it with the caller's instructions into one message.

        Returns:
            Whether the prompt is now beside an instruction of the caller's.
        """

    @abstractmethod
    def drop_private(self, body: Body) -> None:
        """Remove, in place, the fields that only the gateway reads."""

    def form(self, params: Mapping[str, Any]) -> Form | None:
        """A policy's parameters in this kind of request; None if one of them cannot be expressed."""
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
        displaced = (_LENGTH_LIMITS | _OTHER_LENGTH_LIMITS) - fields.keys() if limits else frozenset()
        return Form(fields, nested, displaced)


class ChatFormat(Format):
    """OpenAI's chat completions."""

    @override
    def conversation(self, body: Body) -> list[Any]:
        messages: list[Any] = body["messages"]
        return messages

    @override
    def add_system(self, body: Body, system: str, merges: bool) -> bool:
        leading, others = _split_leading(body["messages"])
        merged = _one_content(system, leading) if merges else None
        if merged is not None:
            body["messages"] = [{"role": "system", "content": merged}, *others]
            return False
        # OpenAI's newer models take system and developer messages, but not both in one request.
        role = leading[0]["role"] if leading else "system"
        body["messages"] = [{"role": role, "content": system}, *leading, *others]
        return bool(leading)

    @override
    def drop_private(self, body: Body) -> None:
        # Sessions and templates read metadata; OpenAI's chat refuses it unless the answer is to be stored.
        if "metadata" in body and not body.get("store"):
            del body["metadata"]


class ResponsesFormat(Format):
    """OpenAI's responses."""

    @override
    def conversation(self, body: Body) -> list[Any]:
        # An input may also hold calls and their results, which are not messages.
        given = body.get("input")
        if isinstance(given, str):
            return [{"role": "user", "content": given}]
        items = given if isinstance(given, list) else []
        return [item for item in items if isinstance(item, dict) and "role" in item]

    @override
    def add_system(self, body: Body, system: str, merges: bool) -> bool:
        given = body.get("instructions")
        texts = [system, *([given] if given else [])]
        items = body.get("input")
        leading, others = _split_leading(items) if isinstance(items, list) else ([], [])
        told = [text for message in leading if (text := _plain_text(message.get("content"))) is not None]
        is_merged = merges and bool(leading) and len(told) == len(leading)
        if is_merged:
            body["input"] = others
            texts += told
        body["instructions"] = "\n\n".join(texts)
        return bool(leading) and not is_merged

    @override
    def drop_private(self, body: Body) -> None:
        pass  # OpenAI's responses take metadata


class MessagesFormat(Format):
    """Anthropic's messages."""

    @override
    def conversation(self, body: Body) -> list[Any]:
        messages: list[Any] = body["messages"]
        return messages

    @override
    def add_system(self, body: Body, system: str, merges: bool) -> bool:
        # The format has one place for instructions, whatever the caller sent.
        given = body.get("system")
        if isinstance(given, list):
            body["system"] = [{"type": "text", "text": system}, *given]
        else:
            body["system"] = f"{system}\n\n{given}" if given else system
        return False

    @override
    def drop_private(self, body: Body) -> None:
        # other policies' models do not know a conversation that one policy's model keeps
        body.pop("thread", None)
        # Anthropic knows one field of metadata and refuses any other.
        metadata = body.pop("metadata", None) or {}
        if "user_id" in metadata:
            body["metadata"] = {"user_id": metadata["user_id"]}


def _split_leading(messages: list[Any]) -> tuple[list[dict[str, Any]], list[Any]]:
    """The instructions at the beginning of a conversation, and the rest of it."""
    place = 0
    for message in messages:
        if not isinstance(message, dict) or message.get("role") not in ("system", "developer"):
            break
        place += 1
    return messages[:place], messages[place:]


def _one_content(system: str, leading: list[dict[str, Any]]) -> str | list[Any] | None:
    """The merged content of several messages; None if one is neither text nor a list of parts."""
    contents: list[Any] = [system, *[message.get("content") for message in leading]]
    kinds = set(map(type, contents))
    if kinds == {str}:
        return "\n\n".join(contents)
    if not kinds <= {str, list}:
        return None
    return [
        part
        for content in contents
        for part in ([{"type": "text", "text": content}] if isinstance(content, str) else content)
    ]


def _plain_text(content: Any) -> str | None:
    """A message's text; None if it holds anything but text."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    found = [part.get("text") if isinstance(part, dict) else None for part in content]
    texts = [text for text in found if isinstance(text, str)]
    return "\n".join(texts) if len(texts) == len(found) else None


_SAMPLING: Final = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
_CHAT_PARAMS: Final = (
    *_SAMPLING,
    *_LENGTH_LIMITS,
    *("presence_penalty", "frequency_penalty", "seed", "stop", "logit_bias", "reasoning_effort", "verbosity"),
)

CHAT_FORMAT: Final = ChatFormat({name: name for name in _CHAT_PARAMS})
RESPONSES_FORMAT: Final = ResponsesFormat(
    {
        **{name: name for name in _SAMPLING},
        "max_tokens": "max_output_tokens",
        "max_completion_tokens": "max_output_tokens",
        "reasoning_effort": "reasoning.effort",
        "verbosity": "text.verbosity",
    },
    echoed=("instructions", *_SAMPLING, "max_output_tokens", "reasoning", "text"),
)
MESSAGES_FORMAT: Final = MessagesFormat(
    {
        "temperature": "temperature",
        "top_p": "top_p",
        "top_k": "top_k",
        "stop": "stop_sequences",
        "max_tokens": "max_tokens",
        "max_completion_tokens": "max_tokens",
    },
)

# By the surface's name. Other surfaces serve plain models only.
FORMATS: Final[Mapping[str, Format]] = {
    "chat": CHAT_FORMAT,
    "responses": RESPONSES_FORMAT,
    "messages": MESSAGES_FORMAT,
}
