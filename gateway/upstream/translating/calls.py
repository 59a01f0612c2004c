"""Which of litellm's functions answers which kind of request, and the fields that reach it.

Only what is named here is passed on: litellm's control arguments are not for callers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.upstream.surfaces import SurfaceName
from gateway.upstream.translating.errors import untranslatable


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_OPENAI: Final = "openai/"
# Providers to which litellm gives the prompt of a completion as it is.
_NATIVE: Final = _words(
    "azure azure_text huggingface openai text-completion-codestral text-completion-openai"
)
# Fields that a response repeats: litellm finds them wrong only when the provider has begun to answer.
_REPEATED: Final[Mapping[str, type | tuple[type, ...]]] = {
    "max_output_tokens": int,
    "parallel_tool_calls": bool,
    "temperature": (int, float),
    "tool_choice": (str, dict),
    "tools": list,
    "top_p": (int, float),
}
_HELLO: Final = [{"role": "user", "content": "Hello"}]
_EFFORTS: Final = ((2048, "low"), (4096, "medium"))


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
    """How one kind of request is asked.

    Attributes:
        passed: Fields passed on.
        left_out: Fields that have no effect on the answer and that other providers do not know.
        start: Calls litellm with the fields and the operator's arguments.
        smallest: Fields of a request that nothing is wrong with.
    """

    passed: frozenset[str]
    left_out: frozenset[str]
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
    provider = arguments["model"].partition("/")[0]
    if not _is_readable(fields.get("prompt"), is_native=provider in _NATIVE):
        raise untranslatable()
    return _function("atext_completion")(library, fields, arguments)


def _is_readable(prompt: Any, *, is_native: bool) -> bool:
    """Whether it comes to one text, or to whatever a provider with completions of its own understands.

    Tokens are of a vocabulary that others do not have, and litellm would answer several texts with one.
    """
    if not isinstance(prompt, list):
        return isinstance(prompt, str)
    if is_native:
        return bool(prompt) and isinstance(prompt[0], str | int | list)
    return len(prompt) == 1 and isinstance(prompt[0], str)


def _start_messages(library: Library, fields: dict[str, Any], arguments: dict[str, Any]) -> Awaitable[Any]:
    thinking = fields.get("thinking")
    is_openai = arguments["model"].startswith(_OPENAI)
    if is_openai and isinstance(thinking, dict) and thinking.get("type") == "enabled":
        # litellm would ask for a response instead, which few servers of OpenAI's format answer.
        del fields["thinking"]
        effort = _effort(thinking.get("budget_tokens"))
        arguments = {**arguments, "reasoning_effort": effort, "allowed_openai_params": ["reasoning_effort"]}
    return _function("anthropic_messages")(library, fields, arguments)


def _effort(budget_tokens: Any) -> str:
    """OpenAI's word for a budget of thinking, by litellm's own thresholds."""
    if not isinstance(budget_tokens, int) or isinstance(budget_tokens, bool):
        raise untranslatable()
    return next((word for most, word in _EFFORTS if budget_tokens < most), "high")


LIBRARY_CALLS: Final[Mapping[SurfaceName, LibraryCall]] = {
    "chat": LibraryCall(
        _words(
            """
            audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens
            max_tokens messages modalities n parallel_tool_calls prediction presence_penalty prompt_cache_key
            reasoning_effort response_format safety_identifier seed service_tier stop stream stream_options
            temperature thinking tool_choice tools top_k top_logprobs top_p user verbosity web_search_options
            """
        ),
        _words("metadata model store"),
        _function("acompletion"),
        {"messages": _HELLO},
    ),
    "responses": LibraryCall(
        _words(
            """
            input instructions max_output_tokens parallel_tool_calls reasoning safety_identifier stream
            temperature text tool_choice tools top_p user
            """
        ),
        _words("background include metadata model prompt_cache_key store truncation"),
        _start_response,
        {"input": "Hello"},
    ),
    "completions": LibraryCall(
        _words(
            """
            best_of echo frequency_penalty logit_bias logprobs max_tokens n presence_penalty prompt seed stop
            stream stream_options suffix temperature top_p user
            """
        ),
        _words("model"),
        _start_completion,
        {"prompt": "Hello"},
    ),
    "embeddings": LibraryCall(
        _words("dimensions encoding_format input user"),
        _words("model"),
        _function("aembedding"),
        {"input": "Hello"},
    ),
    "messages": LibraryCall(
        _words(
            """
            max_tokens messages metadata stop_sequences stream system temperature thinking tool_choice tools
            top_k top_p
            """
        ),
        _words("model service_tier"),
        _start_messages,
        {"max_tokens": 1, "messages": _HELLO},
    ),
}
