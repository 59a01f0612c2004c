"""The fields of each kind of request: which are known, and the types of those the gateway itself relies on.

What is unknown passes on to providers that may know it, unless it would steer anything (`controls.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from gateway.api.controls import is_control
from gateway.errors import InvalidRequestError
from gateway.upstream.surfaces import SurfaceName

_MOST_NAMED: Final = 8
_LONGEST_NAME: Final = 64

Request = dict[str, Any]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# What well-known servers of OpenAI's format accept besides: sampling, reasoning and guided decoding.
_SERVER_FIELDS: Final = _words(
    """
    add_generation_prompt allowed_token_ids bad_words cache_prompt chat_template_kwargs
    continue_final_message dry_allowed_length dry_base dry_multiplier dry_penalty_last_n enable_thinking
    grammar guided_choice guided_grammar guided_json guided_regex ignore_eos include_reasoning
    include_stop_str_in_output json_schema length_penalty min_p min_tokens mirostat mirostat_eta
    mirostat_tau n_probs prompt_logprobs reasoning reasoning_format repeat_last_n repeat_penalty
    repetition_penalty return_token_ids safe_prompt samplers skip_special_tokens
    spaces_between_special_tokens stop_token_ids structured_outputs thinking top_a top_k top_n_sigma
    truncate_prompt_tokens typical_p xtc_probability xtc_threshold
    """
)
KNOWN_FIELDS: Final[Mapping[SurfaceName, frozenset[str]]] = {
    "chat": _SERVER_FIELDS
    | _words(
        """
        audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens max_tokens
        messages metadata modalities model moderation n parallel_tool_calls prediction presence_penalty
        prompt_cache_key prompt_cache_options prompt_cache_retention reasoning_effort response_format
        safety_identifier seed service_tier stop store stream stream_options temperature tool_choice tools
        top_logprobs top_p user verbosity web_search_options
        """
    ),
    "responses": _SERVER_FIELDS
    | _words(
        """
        background context_management conversation include input instructions max_output_tokens max_tool_calls
        metadata model moderation parallel_tool_calls previous_response_id prompt prompt_cache_key
        prompt_cache_options prompt_cache_retention reasoning safety_identifier service_tier store stream
        stream_options temperature text tool_choice tools top_logprobs top_p truncation user
        """
    ),
    "completions": _SERVER_FIELDS
    | _words(
        """
        best_of echo frequency_penalty logit_bias logprobs max_tokens model n presence_penalty prompt seed
        stop stream stream_options suffix temperature top_p user
        """
    ),
    "embeddings": _words("dimensions encoding_format input model truncate_prompt_tokens user"),
    "messages": _words(
        """
        cache_control container context_management inference_geo max_tokens mcp_servers messages metadata
        model output_config output_format service_tier speed stop_sequences stream system temperature thinking
        tool_choice tools top_k top_p
        """
    ),
}


def check_fields(kind: SurfaceName, request: Request) -> None:
    """Refuse a request that steers, or whose fields have types the gateway cannot rely on.

    Raises:
        InvalidRequestError: Naming the field at fault and what it must be.
    """
    known = KNOWN_FIELDS[kind]
    if not request.keys() <= known:
        controls = sorted(name for name in request.keys() - known if is_control(name))
        if controls:
            raise _unknown_fields(controls)
    model = request.get("model")
    _require(isinstance(model, str) and model != "", "model", "the name of a model or experiment")
    _CHECKS[kind](request)


def _check_chat(request: Request) -> None:
    _check_messages(request.get("messages"))
    _check_common(request)
    for name in ("stream_options", "response_format"):
        _require(isinstance(request.get(name), dict | None), name, "an object")


def _check_responses(request: Request) -> None:
    given = request.get("input")
    if "prompt" not in request or given is not None:
        is_input = isinstance(given, list) and all(isinstance(item, dict) for item in given)
        _require(isinstance(given, str) or is_input, "input", "a string or a list of objects")
    _require(isinstance(request.get("instructions"), str | None), "instructions", "a string")
    for name in ("text", "reasoning", "stream_options"):
        _require(isinstance(request.get(name), dict | None), name, "an object")
    _require(not request.get("background"), "background", "absent: nothing here keeps answers for later")
    _check_common(request)


def _check_completions(request: Request) -> None:
    _require(isinstance(request.get("prompt"), str | list), "prompt", "a string or a list")
    _require(isinstance(request.get("stream_options"), dict | None), "stream_options", "an object")
    _check_common(request)


def _check_embeddings(request: Request) -> None:
    _require(isinstance(request.get("input"), str | list), "input", "a string or a list")
    _require(not request.get("stream"), "stream", "absent: embeddings are not streamed")


def _check_anthropic(request: Request) -> None:
    _check_messages(request.get("messages"))
    most = request.get("max_tokens")
    _require(_is_count(most), "max_tokens", "an integer of at least 1")
    system = request.get("system")
    is_blocks = isinstance(system, list) and all(isinstance(block, dict) for block in system)
    _require(isinstance(system, str | None) or is_blocks, "system", "a string or a list of objects")
    _check_common(request)


def _check_messages(messages: Any) -> None:
    if not isinstance(messages, list) or not messages:
        raise _invalid("messages", "a list of at least one message")
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            raise _invalid(f"messages[{index}]", "an object")
        role = message.get("role")
        if not isinstance(role, str) or not role:
            raise _invalid(f"messages[{index}].role", "a string")


def _check_common(request: Request) -> None:
    if "n" in request:
        _require(request["n"] is None or _is_count(request["n"]), "n", "an integer of at least 1")
    for name in ("stream", "store"):
        _require(isinstance(request.get(name), bool | None), name, "true or false")
    _require(isinstance(request.get("metadata"), dict | None), "metadata", "an object")
    for name in ("user", "safety_identifier"):
        _require(isinstance(request.get(name), str | None), name, "a string")
    for name in ("session_id", "user_id"):
        named = (request.get("metadata") or {}).get(name)
        _require(isinstance(named, str | None), f"metadata.{name}", "a string")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _require(holds: bool, param: str, expected: str) -> None:
    if not holds:
        raise _invalid(param, expected)


def _invalid(param: str, expected: str) -> InvalidRequestError:
    return InvalidRequestError(f"{param!r} must be {expected}.", param=param, code="invalid_value")


def _unknown_fields(names: list[str]) -> InvalidRequestError:
    shown = ", ".join(repr(name[:_LONGEST_NAME]) for name in names[:_MOST_NAMED])
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return InvalidRequestError(
        f"Unrecognized request argument: {shown}{more}.",
        param=names[0][:_LONGEST_NAME],
        code="unknown_parameter",
    )


_CHECKS: Final[Mapping[SurfaceName, Callable[[Request], None]]] = {
    "chat": _check_chat,
    "responses": _check_responses,
    "completions": _check_completions,
    "embeddings": _check_embeddings,
    "messages": _check_anthropic,
}
