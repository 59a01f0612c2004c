"""Fields that several kinds of request share."""

from __future__ import annotations

from typing import Final

from gateway.api.requests.shapes import (
    ANY_OBJECT_OR_TEXT,
    NUMBER,
    OBJECT,
    TEXT,
    TEXTS,
    YES_OR_NO,
    Fields,
    Schema,
    all_or_null,
    described,
    either,
    listed,
    number,
    one_of,
    or_null,
    record,
    whole,
)

MODEL: Final[Fields] = {
    "model": {"type": "string", "minLength": 1, "description": "A model or an experiment of the gateway."}
}
STREAM: Final[Fields] = {"stream": or_null(YES_OR_NO)}
NUCLEUS: Final[Fields] = {"temperature": or_null(number(0, 2)), "top_p": or_null(number(0, 1))}
METADATA: Final[Schema] = described(
    {
        **or_null(
            record(
                session_id=described(or_null(TEXT), "The session, for `unit: session`."),
                user_id=described(or_null(TEXT), "The user, if no session is named."),
            )
        ),
        "additionalProperties": TEXT,
    },
    "Fields of the caller's own.",
)
USERS: Final[Fields] = {
    name: described(or_null(TEXT), "The user, for `unit: session` if no session is named.")
    for name in ("user", "safety_identifier")
}
STOP: Final[Schema] = or_null(either(TEXT, TEXTS))
EFFORT: Final[Schema] = or_null(one_of("none", "minimal", "low", "medium", "high", "xhigh"))
VERBOSITY: Final[Schema] = or_null(one_of("low", "medium", "high"))
TOOL_NAME: Final[Schema] = {"type": "string", "pattern": "^[a-zA-Z0-9_-]{1,64}$"}
LOCATION: Final[Fields] = {"city": TEXT, "country": TEXT, "region": TEXT, "timezone": TEXT}
PENALTIES: Final[Fields] = all_or_null(
    {
        "frequency_penalty": number(-2, 2),
        "presence_penalty": number(-2, 2),
        "logit_bias": {"type": "object", "additionalProperties": number(-100, 100)},
        "seed": whole(),
    }
)

_MODERATED: Final[Schema] = or_null(record("mode", mode=one_of("score", "block")))
# Fields that OpenAI's newer routes share.
OPENAI: Final[Fields] = {
    "metadata": METADATA,
    **USERS,
    "moderation": or_null(
        record("model", model=TEXT, policy=or_null(record(input=_MODERATED, output=_MODERATED)))
    ),
    "parallel_tool_calls": or_null(YES_OR_NO),
    "prompt_cache_key": or_null(TEXT),
    "prompt_cache_options": or_null(record(mode=one_of("implicit", "explicit"), ttl=one_of("30m"))),
    "prompt_cache_retention": or_null(one_of("in_memory", "24h")),
    "service_tier": or_null(one_of("auto", "default", "flex", "scale", "priority", "fast")),
    "store": or_null(YES_OR_NO),
    "top_logprobs": or_null(whole(0, 20)),
}

# Further fields that well-known servers of OpenAI's format accept: sampling, reasoning and guided decoding.
SERVERS: Final[Fields] = all_or_null(
    {
        "add_generation_prompt": YES_OR_NO,
        "allowed_token_ids": listed(whole(0)),
        "bad_words": TEXTS,
        "cache_prompt": YES_OR_NO,
        "chat_template_kwargs": OBJECT,
        "continue_final_message": YES_OR_NO,
        "dry_allowed_length": whole(0),
        "dry_base": NUMBER,
        "dry_multiplier": number(0),
        "dry_penalty_last_n": whole(-1),
        "enable_thinking": YES_OR_NO,
        "grammar": TEXT,
        "guided_choice": TEXTS,
        "guided_grammar": TEXT,
        "guided_json": ANY_OBJECT_OR_TEXT,
        "guided_regex": TEXT,
        "ignore_eos": YES_OR_NO,
        "include_reasoning": YES_OR_NO,
        "include_stop_str_in_output": YES_OR_NO,
        "json_schema": OBJECT,
        "length_penalty": NUMBER,
        "min_p": number(0, 1),
        "min_tokens": whole(0),
        "mirostat": one_of(0, 1, 2),
        "mirostat_eta": NUMBER,
        "mirostat_tau": NUMBER,
        "n_predict": whole(-1),
        "n_probs": whole(0),
        "prompt_logprobs": whole(0),
        "reasoning": record(effort=EFFORT, max_tokens=whole(1), exclude=YES_OR_NO, enabled=YES_OR_NO),
        "reasoning_format": TEXT,
        "repeat_last_n": whole(-1),
        "repeat_penalty": number(0),
        "repetition_penalty": number(0),
        "return_token_ids": YES_OR_NO,
        "safe_prompt": YES_OR_NO,
        "samplers": TEXTS,
        "skip_special_tokens": YES_OR_NO,
        "spaces_between_special_tokens": YES_OR_NO,
        "stop_token_ids": listed(whole(0)),
        "structured_outputs": OBJECT,
        "thinking": record(type=one_of("enabled", "disabled", "adaptive", "auto"), budget_tokens=whole(0)),
        "top_a": number(0, 1),
        "top_k": whole(-1),
        "top_n_sigma": NUMBER,
        "truncate_prompt_tokens": whole(-1),
        "typical_p": number(0, 1),
        "xtc_probability": number(0, 1),
        "xtc_threshold": number(0, 1),
    }
)
