"""Fields of a request that would steer the gateway, its libraries or a provider instead of asking a question.

Providers add fields all the time, and clients may use them: what is unknown passes. What must never pass is
known by what it does: addresses, credentials, prices, retries and routing, hooks, and code. LiteLLM's own
arguments are among them, because a provider may itself be a LiteLLM proxy.
"""

from __future__ import annotations

import re
from typing import Final

# By the ending or the beginning of the name: what such fields name is the operator's everywhere.
_KINDS: Final = re.compile(
    r"""
    _ .*
    | azure | regional_ .*
    | (?: api | aws | azure | vertex | litellm | mock | langfuse | langsmith | s3 | gcs | dd | arize
        | anthropic | openai | auto_router | adaptive_router | complexity_router | quality_router | input_cost
        | output_cost | extra | client | default | prompt | posthog | newrelic ) _ .*
    | .* (?: cost | _cost_ .* | _key | _key_id | _token | _secret | _password | _url | _uri | _host | _base
        | _endpoint | _path | _role_name | _list | _fallbacks | _retries | _timeout | _callbacks
        | _interception .* )
    """,
    re.VERBOSE,
)
_NAMES: Final = frozenset(
    """
    acompletion additional_drop_params aembedding aimg_generation allm_passthrough_route
    allow_client_keepalive_override allowed_fails allowed_model_region allowed_openai_params
    assistant_continue_message async_call atext_completion attempted_targets base_model bedrock_tags
    budget_duration cache caching caching_groups callbacks chat_template client complete_response
    completion_call_id configurable_clientside_auth_params context_window_fallback_dict cooldown_time
    cost_per_query cost_per_second custom_llm_provider custom_prompt_dict data_residency deployment_id
    disable_add_transform_inline_image_block disable_global_guardrails drop_params
    enable_json_schema_validation enable_prompt_caching enable_tag_filtering ensure_alternating_roles
    fallback_depth fallbacks fastest_response final_prompt_value fireworks_forward_user_id
    guardrail_config guardrails headers hf_model_name hooks id itpm keepalive_seconds
    log_client_error_tracebacks logger_fn max_agentic_loops max_budget max_file_size_mb
    max_parallel_requests merge_reasoning_content_in_choices model_alias_map model_config
    model_file_id_mapping model_group model_info n_predict no-log order organization otpm
    output_vector_size policies provider_affinity_header provider_specific_header proxy_server_request
    query region_name retry_policy retry_strategy roles routing_strategy rpm rust search_tool_name
    secret_fields self shared_session silent_model ssl_verify stream_chunk_size stream_response
    stream_timeout_by_service_tier supports_system_message tag_regex tags tenant_id text_completion
    tiered_pricing timeout timeout_by_service_tier tpm ttl turn_off_message_logging
    use_chat_completions_api use_client use_in_pass_through use_litellm_proxy use_xai_oauth user_config
    user_continue_message verbose weave_project_id weight
    """.split()  # noqa: SIM905 - a list to be read
)


def is_control(name: str) -> bool:
    """Whether a field that no format has must not pass."""
    return name in _NAMES or _KINDS.fullmatch(name) is not None
