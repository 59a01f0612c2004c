"""The function of litellm for each kind of request. `fields.py` has the fields that reach it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.upstream.surfaces import SurfaceName
from gateway.upstream.translating.errors import untranslatable

# Providers to which litellm sends the prompt of a completion unchanged.
_NATIVE: Final = frozenset(
    {
        "azure",
        "azure_text",
        "huggingface",
        "openai",
        "text-completion-codestral",
        "text-completion-openai",
    }
)
# Fields that a response repeats: litellm checks them only after the provider has begun to answer.
_REPEATED: Final[Mapping[str, type | tuple[type, ...]]] = {
    "max_output_tokens": int,
    "parallel_tool_calls": bool,
    "temperature": (int, float),
    "tool_choice": (str, dict),
    "tools": list,
    "top_p": (int, float),
}
_HELLO: Final = [{"role": "user", "content": "Hello"}]


@dataclass(frozen=True, slots=True)
class Library:
    """litellm, imported.

    Attributes:
        root: The package.
        responses_bridge: Answers a response by way of a chat completion. The package's own function for
            responses looks for tool servers of its proxy first, and needs more packages for that.
    """

    root: Any
    responses_bridge: Any


@dataclass(frozen=True, slots=True)
class LibraryCall:
    """How to ask one kind of request.

    Attributes:
        start: Calls litellm with the fields and the operator's arguments.
        smallest: Fields of the smallest valid request.
    """

    start: Callable[[Library, dict[str, Any], dict[str, Any]], Awaitable[Any]]
    smallest: Mapping[str, Any]


def _function(name: str) -> Callable[[Library, dict[str, Any], dict[str, Any]], Awaitable[Any]]:
    def start(library: Library, fields: dict[str, Any], arguments: dict[str, Any]) -> Awaitable[Any]:
        called: Awaitable[Any] = getattr(library.root, name)(**fields, **arguments)
        return called

    return start


def _start_response(library: Library, fields: dict[str, Any], arguments: dict[str, Any]) -> Awaitable[Any]:
    if not all(isinstance(fields[name], kinds) for name, kinds in _REPEATED.items() if name in fields):
        raise untranslatable()
    is_streamed = fields.pop("stream", None)
    called: Awaitable[Any] = library.responses_bridge.response_api_handler(
        input=fields.pop("input"),
        responses_api_request=fields,
        stream=is_streamed,
        _is_async=True,
        **arguments,
    )
    return called


def _start_completion(library: Library, fields: dict[str, Any], arguments: dict[str, Any]) -> Awaitable[Any]:
    prompt = fields.get("prompt")
    if not isinstance(prompt, list):
        is_readable = isinstance(prompt, str)
    elif arguments["model"].partition("/")[0] in _NATIVE:
        is_readable = bool(prompt) and isinstance(prompt[0], str | int | list)
    else:
        # Others do not have the vocabulary of tokens, and litellm would answer several texts with one.
        is_readable = len(prompt) == 1 and isinstance(prompt[0], str)
    if not is_readable:
        raise untranslatable()
    return _function("atext_completion")(library, fields, arguments)


def _start_messages(library: Library, fields: dict[str, Any], arguments: dict[str, Any]) -> Awaitable[Any]:
    effort = fields.pop("reasoning_effort", None)
    if effort is not None:
        arguments = {**arguments, "reasoning_effort": effort, "allowed_openai_params": ["reasoning_effort"]}
    return _function("anthropic_messages")(library, fields, arguments)


LIBRARY_CALLS: Final[Mapping[SurfaceName, LibraryCall]] = {
    "chat": LibraryCall(_function("acompletion"), {"messages": _HELLO}),
    "responses": LibraryCall(_start_response, {"input": "Hello"}),
    "completions": LibraryCall(_start_completion, {"prompt": "Hello"}),
    "embeddings": LibraryCall(_function("aembedding"), {"input": "Hello"}),
    "messages": LibraryCall(_start_messages, {"max_tokens": 1, "messages": _HELLO}),
}
