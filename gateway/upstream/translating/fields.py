"""Decides what happens to each field of a translated request.

Only the fields in `PASSED` reach litellm, so callers cannot control it through other fields. Fields in
`SHAPING` would change the answer; they are refused by name if they have an effect. The remaining fields are
hints (who asks, what to cache, how soon to answer, data of the client itself), and so are all unknown
fields. They are left out, because the answer is right without them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from gateway.upstream.surfaces import SurfaceName
from gateway.upstream.translating.errors import unsupported, untranslatable

TranslatedFields = dict[str, Any]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_CHAT: Final = _words(
    """
    audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens max_tokens
    messages modalities n parallel_tool_calls prediction presence_penalty prompt_cache_key reasoning_effort
    response_format safety_identifier seed service_tier stop stream stream_options temperature thinking
    tool_choice tools top_k top_logprobs top_p user verbosity web_search_options
    """
)
PASSED: Final[Mapping[SurfaceName, frozenset[str]]] = {
    "chat": _CHAT,
    "responses": _words(
        """
        input instructions max_output_tokens parallel_tool_calls reasoning safety_identifier stream
        temperature text tool_choice tools top_p user
        """
    ),
    "completions": _words(
        """
        best_of echo frequency_penalty logit_bias logprobs max_tokens n presence_penalty prompt seed stop
        stream stream_options suffix temperature top_p user
        """
    ),
    "embeddings": _words("dimensions encoding_format input user"),
    "messages": _words(
        """
        max_tokens messages metadata output_config output_format stop_sequences stream system temperature
        thinking tool_choice tools top_k top_p
        """
    ),
}
_DECODING: Final = _words(
    """
    allowed_token_ids bad_words continue_final_message dry_allowed_length dry_base dry_multiplier
    dry_penalty_last_n grammar guided_choice guided_grammar guided_json guided_regex ignore_eos
    include_stop_str_in_output json_schema length_penalty min_p min_tokens mirostat mirostat_eta mirostat_tau
    n_predict n_probs prompt_logprobs repeat_last_n repeat_penalty repetition_penalty return_token_ids
    samplers skip_special_tokens spaces_between_special_tokens stop_token_ids structured_outputs top_a
    top_n_sigma truncate_prompt_tokens typical_p xtc_probability xtc_threshold
    """
)
SHAPING: Final[Mapping[SurfaceName, frozenset[str]]] = {
    "chat": _DECODING | {"moderation"},
    "responses": _DECODING
    | _words(
        "conversation max_tool_calls moderation previous_response_id prompt thinking top_k top_logprobs"
    ),
    "completions": _DECODING | {"thinking", "top_k"},
    "embeddings": _words("truncate_prompt_tokens"),
    "messages": _words("compaction container inference_geo mcp_servers"),
}
# Values without effect: the API's defaults, which clients send along and few other formats can express.
_DEFAULTS: Final[Mapping[str, tuple[Any, ...]]] = {
    "best_of": (1,),
    "echo": (False,),
    "frequency_penalty": (0,),
    "functions": ([],),
    "logit_bias": ({},),
    "logprobs": (False, 0),
    "min_p": (0,),
    "modalities": (["text"],),
    "n": (1,),
    "parallel_tool_calls": (True,),
    "presence_penalty": (0,),
    "repetition_penalty": (1,),
    "response_format": ({"type": "text"},),
    "skip_special_tokens": (True,),
    "spaces_between_special_tokens": (True,),
    "stop": ([],),
    "stop_sequences": ([],),
    "suffix": ("",),
    "tools": ([],),
    "top_logprobs": (0,),
    "typical_p": (1,),
}
# Fields in `SHAPING` have no effect if they are switched off or empty.
_NONE: Final[tuple[Any, ...]] = (False, 0, [])
# Hints about how to make an answer; they are left out if the model's provider does not take them.
_HINTS: Final = _words(
    "prediction prompt_cache_key reasoning_effort safety_identifier service_tier verbosity"
)
# Hints that responses have inside other fields, and their names in chat completions.
_NESTED_HINTS: Final = (("reasoning", "effort", "reasoning_effort"), ("text", "verbosity", "verbosity"))
_LONGEST_USER: Final = 64
# OpenAI's words for thinking budgets, with litellm's own thresholds; above them the word is "high".
_EFFORTS: Final = ((2048, "low"), (4096, "medium"))
# Anthropic's words for effort, in OpenAI's terms.
_EFFORT_OF: Final = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}

TakesParameter = Callable[[str], bool]


def translated_fields(
    kind: SurfaceName,
    payload: Mapping[str, Any],
    fixed: frozenset[str],
    takes: TakesParameter,
    *,
    is_openai: bool,
) -> TranslatedFields:
    """The fields to give to litellm.

    Args:
        kind: The kind of request.
        payload: The request.
        fixed: The fields that a policy set. They are never left out, because otherwise the compared policy
            would not be the declared one.
        takes: Whether the model's provider takes a parameter of chat completions.
        is_openai: Whether the provider speaks OpenAI's format.

    Raises:
        UpstreamError: If a field that shapes the answer cannot be translated.
    """
    lost = sorted(
        name
        for name in SHAPING[kind] & payload.keys()
        if payload[name] not in _NONE and not _is_default(name, payload[name])
    )
    if lost:
        raise unsupported(str(lost))
    said = {
        name: payload[name]
        for name in PASSED[kind] & payload.keys()
        if name in fixed or not _is_default(name, payload[name])
    }
    if kind == "messages":
        return _of_messages(said, takes, is_openai=is_openai)
    for name in (_HINTS & said.keys()) - fixed:
        if not takes(name):
            del said[name]
    return _without_nested_hints(said, fixed, takes) if kind == "responses" else said


def _is_default(name: str, value: Any) -> bool:
    return value is None or value in _DEFAULTS.get(name, ())


def _without_nested_hints(
    fields: TranslatedFields, fixed: frozenset[str], takes: TakesParameter
) -> TranslatedFields:
    for holder, name, parameter in _NESTED_HINTS:
        given = fields.get(holder)
        if isinstance(given, dict) and f"{holder}.{name}" not in fixed and not takes(parameter):
            fields[holder] = {inside: value for inside, value in given.items() if inside != name}
    return fields


def _of_messages(fields: TranslatedFields, takes: TakesParameter, *, is_openai: bool) -> TranslatedFields:
    """The fields of Anthropic's format, with `reasoning_effort` if a model takes no `thinking`."""
    user = (fields.pop("metadata", None) or {}).get("user_id")
    if isinstance(user, str) and len(user) <= _LONGEST_USER:  # the longest `user` that OpenAI accepts
        fields["metadata"] = {"user_id": user}
    config = fields.pop("output_config", None)
    given: TranslatedFields = config if isinstance(config, dict) else {}
    kept = ("format", "effort") if takes("thinking") else ("format",)
    passed = {name: given[name] for name in kept if given.get(name) is not None}
    if passed:
        fields["output_config"] = passed
    if not takes("thinking"):
        effort = _effort(fields.pop("thinking", None), given.get("effort"), takes, is_openai=is_openai)
        if effort is not None:
            fields["reasoning_effort"] = effort
    return fields


def _effort(thinking: Any, effort: Any, takes: TakesParameter, *, is_openai: bool) -> str | None:
    """The reasoning effort in OpenAI's terms; None if the request asks for none that the model takes."""
    kind = thinking.get("type") if isinstance(thinking, dict) else None
    if kind == "enabled" and (is_openai or takes("reasoning_effort")):
        # litellm would use OpenAI's responses instead, which few servers of that format answer.
        budget = thinking.get("budget_tokens")
        if not isinstance(budget, int) or isinstance(budget, bool):
            raise untranslatable()
        return next((word for most, word in _EFFORTS if budget < most), "high")
    if kind == "disabled" or not isinstance(effort, str) or not takes("reasoning_effort"):
        return None
    return _EFFORT_OF.get(effort)
