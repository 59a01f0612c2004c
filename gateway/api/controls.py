"""Fields of a request that would control the gateway, its libraries or a provider.

Providers and clients add fields all the time. Fields not listed here are passed on to providers of the
requested format; `upstream/translating/fields.py` says what happens to them when a request is translated.
The listed fields are refused, by exact name and with a reason, because the operator decides about them or
pays for them. They include all of LiteLLM's own arguments that are no field of any format, because a
provider may itself be a LiteLLM proxy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_ADDRESSES: Final = """
    allowed_model_region anthropic_issuer_url anthropic_keycloak_token_url api_base api_version
    arize_otlp_protocol aws_bedrock_endpoint aws_bedrock_runtime_endpoint aws_region_name aws_sts_endpoint
    azure azure_deployment azure_endpoint base_model base_url custom_llm_provider data_residency
    dd_agent_host dd_agent_port dd_site default_headers default_query deployment_id extra_body
    extra_headers extra_query headers hf_model_name langfuse_host langsmith_base_url newrelic_region
    posthog_api_url provider_affinity_header provider_specific_header region_name s3_endpoint_url
    s3_region_name signoz_ingestion_endpoint ssl_verify use_litellm_proxy valkey_host valkey_port
    valkey_ssl vertex_ai_location vertex_location watsonx_region_name
"""
_CREDENTIALS: Final = """
    anthropic_disable_workload_identity_federation anthropic_federation_rule_id
    anthropic_federation_workspace_id anthropic_identity_source anthropic_identity_token
    anthropic_identity_token_file anthropic_issuer_audience anthropic_issuer_signing_key_ref
    anthropic_issuer_subject anthropic_issuer_ttl_seconds anthropic_keycloak_auth_method
    anthropic_keycloak_client_id anthropic_keycloak_client_secret_ref anthropic_keycloak_scope
    anthropic_organization_id anthropic_service_account_id api_key arize_api_key arize_space_id
    arize_space_key aws_access_key_id aws_batch_role_arn aws_bedrock_client aws_bedrock_project_id
    aws_external_id aws_profile_name aws_role_name aws_secret_access_key aws_session_name aws_session_tags
    aws_session_token aws_web_identity_token azure_ad_token azure_ad_token_provider azure_password
    azure_scope azure_username bucket_name client_id client_secret dd_api_key gcs_bucket_name
    gcs_path_service_account google_application_credentials humanloop_api_key langfuse_public_key
    langfuse_secret langfuse_secret_key langfuse_span_scope langsmith_api_key langsmith_project
    langsmith_tenant_id litellm_credential_name newrelic_api_key openai_identity_provider_id
    openai_identity_token_file openai_service_account_id organization posthog_api_key s3_access_key_id
    s3_bucket_name s3_bucket_owner s3_encryption_key_id s3_output_bucket_name s3_secret_access_key
    signoz_ingestion_key tenant_id valkey_password vertex_ai_credentials vertex_ai_project
    vertex_credentials vertex_project wandb_api_key weave_project_id
"""
_ROUTING: Final = """
    _router_weights adaptive_router_config adaptive_router_default_model allow_client_keepalive_override
    allowed_fails attempted_targets auto_router_config auto_router_config_path auto_router_default_model
    auto_router_embedding_model auto_router_max_input_chars auto_router_model_compression
    auto_router_routing_compression bedrock_tags client_side_timeout complexity_router_config
    complexity_router_default_model content_policy_fallbacks context_window_fallback_dict
    context_window_fallbacks cooldown_time default_fallbacks enable_tag_filtering fallback_depth
    fallback_models fallbacks fastest_response force_timeout keepalive_seconds max_fallbacks max_retries
    model_alias_map model_config model_group model_info model_list models num_retries order
    quality_router_config quality_router_default_model request_timeout retry_policy retry_strategy
    router_settings routing_strategy silent_model stream_timeout stream_timeout_by_service_tier tag_regex
    tags timeout timeout_by_service_tier weight
"""
_PRICES: Final = """
    annotation_cost_per_page annotation_cost_per_page_batches billing_policy budget_duration
    cache_creation_input_audio_token_cost cache_creation_input_token_cost
    cache_creation_input_token_cost_above_100k_tokens
    cache_creation_input_token_cost_above_100k_tokens_batches cache_creation_input_token_cost_above_1hr
    cache_creation_input_token_cost_above_1hr_above_100k_tokens
    cache_creation_input_token_cost_above_200k_tokens
    cache_creation_input_token_cost_above_200k_tokens_batches
    cache_creation_input_token_cost_above_272k_tokens
    cache_creation_input_token_cost_above_272k_tokens_batches
    cache_creation_input_token_cost_above_272k_tokens_flex
    cache_creation_input_token_cost_above_272k_tokens_priority
    cache_creation_input_token_cost_above_272k_tokens_ultrafast cache_creation_input_token_cost_batches
    cache_creation_input_token_cost_flex cache_creation_input_token_cost_priority
    cache_creation_input_token_cost_ultrafast cache_read_input_audio_token_cost
    cache_read_input_image_token_cost cache_read_input_token_cost
    cache_read_input_token_cost_above_100k_tokens cache_read_input_token_cost_above_100k_tokens_batches
    cache_read_input_token_cost_above_200k_tokens cache_read_input_token_cost_above_200k_tokens_batches
    cache_read_input_token_cost_above_200k_tokens_priority cache_read_input_token_cost_above_272k_tokens
    cache_read_input_token_cost_above_272k_tokens_batches
    cache_read_input_token_cost_above_272k_tokens_flex
    cache_read_input_token_cost_above_272k_tokens_priority
    cache_read_input_token_cost_above_272k_tokens_ultrafast cache_read_input_token_cost_above_512k_tokens
    cache_read_input_token_cost_balanced cache_read_input_token_cost_batches
    cache_read_input_token_cost_flex cache_read_input_token_cost_priority
    cache_read_input_token_cost_ultrafast citation_cost_per_token cost_per_query cost_per_second
    default_api_key_rpm_limit default_api_key_tpm_limit google_maps_grounding_cost_per_query
    input_cost_per_audio_per_second input_cost_per_audio_per_second_above_128k_tokens
    input_cost_per_audio_token input_cost_per_audio_token_batches input_cost_per_character
    input_cost_per_character_above_128k_tokens input_cost_per_image input_cost_per_image_above_128k_tokens
    input_cost_per_image_token input_cost_per_image_token_batches input_cost_per_pixel
    input_cost_per_query input_cost_per_second input_cost_per_token input_cost_per_token_above_100k_tokens
    input_cost_per_token_above_100k_tokens_batches input_cost_per_token_above_128k_tokens
    input_cost_per_token_above_200k_tokens input_cost_per_token_above_200k_tokens_batches
    input_cost_per_token_above_200k_tokens_priority input_cost_per_token_above_272k_tokens
    input_cost_per_token_above_272k_tokens_batches input_cost_per_token_above_272k_tokens_flex
    input_cost_per_token_above_272k_tokens_priority input_cost_per_token_above_272k_tokens_ultrafast
    input_cost_per_token_above_512k_tokens input_cost_per_token_balanced input_cost_per_token_batches
    input_cost_per_token_cache_hit input_cost_per_token_flex input_cost_per_token_priority
    input_cost_per_token_ultrafast input_cost_per_video_per_second
    input_cost_per_video_per_second_above_128k_tokens input_cost_per_video_per_second_above_15s_interval
    input_cost_per_video_per_second_above_8s_interval input_cost_per_video_token
    input_cost_per_video_token_batches itpm max_budget max_parallel_requests ocr_cost_per_credit
    ocr_cost_per_page ocr_cost_per_page_batches otpm output_cost_per_audio_per_second
    output_cost_per_audio_token output_cost_per_character output_cost_per_character_above_128k_tokens
    output_cost_per_image output_cost_per_image_1024 output_cost_per_image_1536 output_cost_per_image_512
    output_cost_per_image_token output_cost_per_image_token_batches output_cost_per_pixel
    output_cost_per_reasoning_token output_cost_per_reasoning_token_flex
    output_cost_per_reasoning_token_priority output_cost_per_second output_cost_per_second_1080p
    output_cost_per_second_2k output_cost_per_second_480p output_cost_per_second_4k
    output_cost_per_second_720p output_cost_per_second_768p output_cost_per_token
    output_cost_per_token_above_100k_tokens output_cost_per_token_above_100k_tokens_batches
    output_cost_per_token_above_128k_tokens output_cost_per_token_above_200k_tokens
    output_cost_per_token_above_200k_tokens_batches output_cost_per_token_above_200k_tokens_priority
    output_cost_per_token_above_272k_tokens output_cost_per_token_above_272k_tokens_batches
    output_cost_per_token_above_272k_tokens_flex output_cost_per_token_above_272k_tokens_priority
    output_cost_per_token_above_272k_tokens_ultrafast output_cost_per_token_above_512k_tokens
    output_cost_per_token_balanced output_cost_per_token_batches output_cost_per_token_flex
    output_cost_per_token_priority output_cost_per_token_ultrafast output_cost_per_video_per_second
    output_cost_per_video_token regional_endpoint_uplift_multiplier
    regional_processing_uplift_multiplier_eu regional_processing_uplift_multiplier_us rpm
    search_context_cost_per_query tiered_pricing tpm
"""
_LIBRARY: Final = """
    _agentic_loop_api_surface _agentic_loop_depth _agentic_loop_fingerprints
    _code_interpreter_interception_active _code_interpreter_interception_converted_stream
    _code_interpreter_interception_sandbox_key _code_interpreter_interception_session_scoped
    _context_compaction_state _headroom_interception_converted_stream _litellm_addressed_response_id
    _litellm_strip_stream_usage _websearch_interception_converted_stream
    _websearch_interception_emit_native_blocks acompletion additional_drop_params aembedding
    aimg_generation allm_passthrough_route allowed_openai_params arize_error_sampling_rate
    arize_success_sampling_rate assistant_continue_message async_call atext_completion bos_token cache
    cache_control_injection_points cache_key caching caching_groups callbacks chat_template client
    complete_response completion_call_id configurable_clientside_auth_params custom_prompt_dict
    disable_add_transform_inline_image_block disable_global_guardrails drop_params
    enable_json_schema_validation enable_prompt_caching ensure_alternating_roles eos_token
    failure_callback final_prompt_value fireworks_forward_user_id guardrail_config guardrails id
    input_callback langfuse_environment langfuse_prompt_version langsmith_sampling_rate litellm_call_id
    litellm_disabled_callbacks litellm_logging_obj litellm_metadata litellm_params litellm_request_debug
    litellm_session_id litellm_settings litellm_system_prompt litellm_trace_id
    litellm_trusted_callback_vars log_client_error_tracebacks logger_fn max_agentic_loops max_file_size_mb
    merge_reasoning_content_in_choices milvus_db_name milvus_partition_names milvus_text_field
    mock_response mock_timeout model_file_id_mapping no-log output_vector_size policies preset_cache_key
    prompt_environment prompt_id prompt_label prompt_template prompt_variables prompt_version
    proxy_server_request roles rust search_tool_name secret_fields self shared_session stream_chunk_size
    stream_response success_callback supports_system_message text_completion ttl turn_off_message_logging
    use_chat_completions_api use_client use_in_pass_through use_xai_oauth user_config
    user_continue_message valkey_embedding_field valkey_text_field vector_store_id verbose
"""

# Every field that is refused, and why.
CONTROLS: Final[Mapping[str, str]] = {
    name: reason
    for reason, names in (
        ("it would say where requests go", _ADDRESSES),
        ("it would name accounts and credentials", _CREDENTIALS),
        ("it would choose models, attempts and time limits", _ROUTING),
        ("it would set prices and limits, or who is billed", _PRICES),
        ("it would set LiteLLM, here or at a provider that is one", _LIBRARY),
    )
    for name in names.split()
}
