"""A request's body: read within bounds, parsed, and checked for what the gateway itself relies on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import orjson
from starlette.types import Receive

from gateway.errors import BodyTooLargeError, InvalidRequestError

# Fields of OpenAI's chat completions.
_OPENAI_FIELDS: Final = frozenset(
    """
    audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens max_tokens
    messages metadata modalities model moderation n parallel_tool_calls prediction presence_penalty
    prompt_cache_key prompt_cache_options prompt_cache_retention reasoning_effort response_format
    safety_identifier seed service_tier stop store stream stream_options temperature tool_choice tools
    top_logprobs top_p user verbosity web_search_options
    """.split()  # noqa: SIM905 - a list to be read
)
# What well-known servers of the same format accept besides: sampling, reasoning and guided decoding.
_SERVER_FIELDS: Final = frozenset(
    """
    add_generation_prompt allowed_token_ids bad_words cache_prompt chat_template_kwargs
    continue_final_message dry_allowed_length dry_base dry_multiplier dry_penalty_last_n enable_thinking
    grammar guided_choice guided_grammar guided_json guided_regex ignore_eos include_reasoning
    include_stop_str_in_output json_schema length_penalty min_p min_tokens mirostat mirostat_eta
    mirostat_tau n_probs prompt_logprobs reasoning reasoning_format repeat_last_n repeat_penalty
    repetition_penalty return_token_ids safe_prompt samplers skip_special_tokens
    spaces_between_special_tokens stop_token_ids structured_outputs thinking top_a top_k top_n_sigma
    truncate_prompt_tokens typical_p xtc_probability xtc_threshold
    """.split()  # noqa: SIM905 - a list to be read
)
KNOWN_FIELDS: Final = _OPENAI_FIELDS | _SERVER_FIELDS
_MOST_NAMED: Final = 8
_LONGEST_NAME: Final = 64


class ClientLeftError(Exception):
    """The caller hung up before the request was complete: nobody is left to answer."""


async def read_body(receive: Receive, headers: Iterable[tuple[bytes, bytes]], max_bytes: int) -> bytes:
    """The whole body.

    Raises:
        BodyTooLargeError: As soon as more than `max_bytes` are announced or received.
        ClientLeftError: If the caller hangs up first.
    """
    for name, value in headers:
        if name == b"content-length" and value.isdigit() and int(value) > max_bytes:
            raise _too_large(max_bytes)
    message = await receive()
    body: bytes = message.get("body", b"")
    parts = [body]
    size = len(body)
    while True:
        if message["type"] == "http.disconnect":
            raise ClientLeftError
        if size > max_bytes:
            raise _too_large(max_bytes)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)
        message = await receive()
        body = message.get("body", b"")
        parts.append(body)
        size += len(body)


def parse_chat(body: bytes) -> dict[str, Any]:
    """A chat request whose fields the gateway reads have the right types, and which has no others.

    Raises:
        InvalidRequestError: Naming the field at fault and what it must be.
    """
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequestError(
            f"The body of the request is not valid JSON: {error}.", code="invalid_json"
        ) from None
    if not isinstance(request, dict):
        raise InvalidRequestError("The body of the request must be a JSON object.", code="invalid_type")
    if not request.keys() <= KNOWN_FIELDS:
        raise _unknown_fields(sorted(request.keys() - KNOWN_FIELDS))
    _check_types(request)
    return request


def _check_types(request: dict[str, Any]) -> None:
    model = request.get("model")
    _require(isinstance(model, str) and model != "", "model", "the name of a model or experiment")
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages:
        raise _invalid("messages", "a list of at least one message")
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            raise _invalid(f"messages[{index}]", "an object")
        role = message.get("role")
        _require(isinstance(role, str) and role != "", f"messages[{index}].role", "a string")
    if "n" in request:
        n = request["n"]
        is_count = isinstance(n, int) and not isinstance(n, bool) and n >= 1
        _require(n is None or is_count, "n", "an integer of at least 1")
    for name in ("stream", "store"):
        _require(isinstance(request.get(name), bool | None), name, "true or false")
    for name in ("metadata", "stream_options"):
        _require(isinstance(request.get(name), dict | None), name, "an object")
    session = (request.get("metadata") or {}).get("session_id")
    _require(isinstance(session, str | None), "metadata.session_id", "a string")


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


def _too_large(max_bytes: int) -> BodyTooLargeError:
    return BodyTooLargeError(
        f"The body of the request is larger than {max_bytes} bytes.", code="request_too_large"
    )
