"""Recognises refusals that concern the operator although they look like the caller's mistake.

Many providers answer 400 if the account has no credit, the key is wrong, the region is not served or the
model no longer exists. This table holds their wording: codes, types, states and reasons, or else the
beginnings of their messages. Only the beginning counts, because a message may quote the caller's text.

Sources, as read in November 2026.

- OpenAI: platform.openai.com/docs/guides/error-codes; `insufficient_quota` (langchainjs#1929),
  `billing_not_active` (dataline#175), `billing_hard_limit_reached` (acode-plugin-chatgpt#19), organizations
  that are not verified (chatbox#2263).
- Anthropic: docs.anthropic.com/en/api/errors; usage limits and credit balance as `invalid_request_error`
  (claude-code#2127, #66314), disabled organizations (claude-code#19028).
- Gemini: google.rpc.ErrorInfo; `API_KEY_INVALID` (openai-scala-client#109), location (gemini-cli#24641).
- Azure: `OperationNotSupported` (llama_index#16503), `DeploymentNotFound`.
- Bedrock: reference of InvokeModel; on-demand throughput (cline#2482), model identifiers (lgtmaybe#70).
- xAI: keys as 400 (continue#10778). DeepSeek: api-docs.deepseek.com/quick_start/error_codes, "Model Not
  Exist" (easy-dataset#9). DashScope: `Arrearage` (TradingAgents-CN#170). Groq: `model_decommissioned`
  (sqlmap-ai#3).
- Others: the error pages of Mistral, Moonshot, OpenRouter, Together, Hugging Face, GitHub Models,
  SiliconFlow, Zhipu, Volcengine, Perplexity and Cloudflare; how vLLM, Ollama and LM Studio name a model that
  is not there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

# In lower case. Words of several providers are listed with the first.
_WORDS: Final[dict[str, str]] = {
    "openai": """
        account_deactivated access_terminated billing_hard_limit_reached billing_not_active incorrect_api_key
        insufficient_quota insufficient_permissions invalid_api_key invalid_organization invalid_project
        ip_not_authorized mismatched_organization mismatched_project missing_scope model_not_available
        model_not_found organization_not_found project_archived unsupported_country_region_territory
        unsupported_model
    """,
    "anthropic": "authentication_error billing_error permission_error",
    "gemini, vertex": """
        access_token_expired access_token_type_unsupported account_state_invalid api_key_expired
        api_key_http_referrer_blocked api_key_invalid api_key_ip_address_blocked api_key_service_blocked
        billing_disabled consumer_invalid consumer_suspended credentials_missing iam_permission_denied
        location_policy_violated permission_denied service_disabled unauthenticated user_project_denied
    """,
    "azure": """
        accessdenied deploymentnotfound invalidapiversionparameter invalidsubscriptionkey
        operationnotsupported permissiondenied resourcenotfound unauthorized unknownmodel unknown_model
        unavailable_model
    """,
    "bedrock": """
        accessdeniedexception expiredtoken expiredtokenexception incompletesignatureexception
        invalidclienttokenid invalidsignatureexception missingauthenticationtokenexception
        optinrequiredexception resourcenotfoundexception servicequotaexceededexception
        unrecognizedclientexception
    """,
    "mistral": "invalid_model",
    "groq": """
        blocked_api_access model_decommissioned model_permission_blocked_org model_permission_blocked_project
        model_terms_required organization_restricted project_restricted
    """,
    "moonshot": """
        exceeded_current_quota_error incorrect_api_key_error invalid_authentication_error
        permission_denied_error resource_not_found_error
    """,
    "dashscope": """
        accessdenied.unpurchased allocationquota.freetieronly arrearage commoditynotpurchased invalidapikey
        modelnotfound model.accessdenied prepaidbilloverdue postpaidbilloverdue workspace.accessdenied
    """,
    "volcengine": """
        accountoverdueerror authenticationerror invalidendpointormodel.notfound modelnotopen servicenotopen
        servicequotanotenough
    """,
    "together, hugging face, openrouter": """
        credit_limit dedicated_endpoint_not_running invalid_model_id key_model_access_denied
        model_not_supported model_unavailable payment_required
    """,
    "zhipu, siliconflow": "1113 1211 1220 20012 30001",
    "lm studio, vllm": "no_model_loaded notfounderror",
}

# Beginnings of messages, for refusals with no code or an unspecific one (`invalid_request_error`).
_BEGINNINGS: Final[dict[str, tuple[str, ...]]] = {
    "anthropic": (
        r"your credit balance is too low",
        r"you have reached your specified (?:api|workspace api) usage limits",
        r"(?:your|this) (?:organization|account|workspace|api key)\b.{0,60}\bhas been (?:disabled|suspended)",
        r"(?:your|this) (?:organization|account|workspace|api key) has been (?:deactivated|restricted)",
        r"(?:your|this) (?:organization|account|workspace|api key) is (?:disabled|not active|suspended)",
        r"this credential is only authorized",
        r"(?:invalid|expired) (?:x-)?api[- ]key",
        r"oauth (?:authentication|token)",
    ),
    "openai": (
        r"(?:incorrect|invalid|missing) api key",
        r"you exceeded your current quota, please check your plan",
        r"billing hard limit",
        r"your account is not active",
        r"your organization must be verified",
        r"(?:country, region, or territory|your (?:country|region)).{0,40} not supported",
        r"you (?:do not|don't) have access to (?:this|the) (?:model|resource|organization)",
        r"no such organization",
        r"this is not a chat model",
        r"this model (?:is|has been) (?:deprecated|retired|only supported)",
        r"(?:the )?(?:requested )?model .{1,200} (?:does not exist|is not (?:found|available|supported by))",
        r"(?:the )?(?:requested )?model .{1,200} (?:has been|was) (?:de\w+ed|removed|retired)",
        r"(?:the )?(?:requested )?model .{1,200} not found",
    ),
    "gemini, vertex": (
        r"api key (?:not valid|expired|not found)",
        r"user location is not supported",
        r"(?:please enable billing|this api method requires billing)",
        r"your project has been denied",
        r"(?:gemini|generative language) api .{0,60}(?:has not been used|free tier is not available)",
        r"models?/.{1,200} is not found",
    ),
    "azure": (
        r"the \w+ operation does not work with the specified model",
        r"the api deployment for this resource does not exist",
        r"(?:unsupported|invalid) api[- ]version|api version not supported",
        r"access denied due to",
    ),
    "bedrock": (
        r"(?:the provided |this )?model (?:identifier|id|version) .{0,200}(?:invalid|end of its life)",
        r"the provided model (?:identifier is invalid|doesn.t support)",
        r"invocation of model id .{1,200} with on-demand throughput",
        r"this action doesn.t support the model that you provided",
        r"operation not allowed",
        r"the security token included in the request is (?:invalid|expired)",
        r"(?:user: \S+ is|you are) not authorized",
        r"access to this model is not available",
        r"you (?:don.t|do not) have access to the model",
        r"your account is not (?:authorized|subscribed)",
        r"too many tokens per day",
    ),
    "mistral, perplexity": (r"invalid model\b",),
    "deepseek": (r"insufficient balance", r"model not exist", r"authentication fails"),
    "dashscope, siliconflow": (
        r"access denied, please make sure your account",
        r"(?:sorry, )?your account balance is insufficient",
        r"model does not exist",
    ),
    "xai": (r"your (?:newly created )?team .{0,80}(?:credits|spending limit|licenses)",),
    "openrouter, together, hugging face": (
        r"insufficient credits",
        r"no endpoints found",
        r".{1,200} is not a valid model id",
        r"unable to access model",
        r"you (?:have )?exceeded your (?:monthly|credit)",
        r"(?:user|account|api key) (?:not found|is (?:disabled|suspended|blocked))",
    ),
    "cloudflare": (r"(?:authentication error|no such model|could not route to)",),
    "lm studio, ollama": (r"no models? (?:is |are )?loaded", r"model [\"'`].{1,200}[\"'`] not found"),
    "any": (r"payment required", r"quota exhausted", r"account (?:overdue|arrears|suspended|disabled)"),
}

# The model's template has no place for a system prompt where the policy's prompt stands. The template's
# words stand anywhere in a message, surrounded by the server's (vllm#41114, llama.cpp#20733; the templates
# of Mistral and Gemma).
_MISPLACED: Final = re.compile(
    r"system messages? (?:must|should|can only) (?:be |appear )?(?:at the beginning|(?:the )?first)"
    r"|only (?:one|a single|1) system message|multiple system messages"
    r"|(?:developer and system|system and developer) messages?"
    r"|unexpected role '?(?:system|developer)'? after role '?(?:system|developer)"
    r"|conversation roles must alternate",
    re.IGNORECASE,
)
_UNWANTED: Final = re.compile(
    r"system (?:role|messages?|prompts?|instructions?) (?:is |are )?not (?:supported|allowed|enabled)"
    r"|(?:does not|doesn.t) support system|developer instruction is not enabled",
    re.IGNORECASE,
)

_ALL_WORDS: Final = frozenset(word for words in _WORDS.values() for word in words.split())
# After a limit on requests per time the caller may try again; these are no such limits.
_ACCOUNT_WORDS: Final = frozenset(
    {
        *("1113", "access_terminated", "account_deactivated", "accountoverdueerror"),
        *("allocationquota.freetieronly", "arrearage", "billing_disabled", "billing_error"),
        *("billing_hard_limit_reached", "billing_not_active", "credit_limit", "exceeded_current_quota_error"),
        *("insufficient_quota", "payment_required", "postpaidbilloverdue", "prepaidbilloverdue"),
    }
)
_BEGINNING: Final = re.compile(
    "|".join(f"(?:{one})" for several in _BEGINNINGS.values() for one in several), re.IGNORECASE | re.DOTALL
)
# Text that a proxy or a library puts before the provider's own words.
_LEAD: Final = re.compile(r"(?:\s*(?:litellm\.)?\w*(?:Error|Exception)\s*(?::|-)\s*|\s*Error code: \d+ - )+")


def is_operators(words: Iterable[str], messages: Iterable[str]) -> bool:
    """Whether a refusal concerns the operator, whatever its status.

    Args:
        words: Its codes, types, states and reasons, in lower case.
        messages: Its texts.
    """
    if not _ALL_WORDS.isdisjoint(words):
        return True
    beginnings = ((message, _LEAD.match(message)) for message in messages)
    return any(_BEGINNING.match(message, lead.end() if lead else 0) for message, lead in beginnings)


def is_about_the_account(words: Iterable[str]) -> bool:
    """Whether the account has no credit or is closed, so that waiting a minute does not help."""
    return not _ACCOUNT_WORDS.isdisjoint(words)


def is_about_a_prompt(messages: Iterable[str], *, is_beside_another: bool) -> bool:
    """Whether a refusal is about the place or the presence of a policy's system prompt.

    Args:
        messages: The refusal's texts.
        is_beside_another: Whether the policy's prompt is a message of its own before one of the caller's.
    """
    return any(
        _UNWANTED.search(message) or (is_beside_another and _MISPLACED.search(message))
        for message in messages
    )
