"""Refusals that are the operator's matter, in the words real providers have for them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.errors import UpstreamError
from gateway.upstream.base import ModelTarget, PolicyPart, UpstreamRequest
from gateway.upstream.failures import refused, reported_in_body
from tests.gateway.upstream.asking import QUESTION

TARGET = ModelTarget("m", "openai", "openai", "small", "http://127.0.0.1:1/v1", "sk-Vw9qzR2mT7xK4pLs")
ASKED = UpstreamRequest(TARGET, QUESTION)


def openai(message: str, code: str | None = None, kind: str = "invalid_request_error", **more: Any) -> Any:
    """An error in OpenAI's shape."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code, **more}}


def anthropic(message: str, kind: str = "invalid_request_error") -> Any:
    """An error in Anthropic's shape."""
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


def google(message: str, state: str = "INVALID_ARGUMENT", reason: str | None = None) -> Any:
    """An error in Google's shape."""
    kind = "type.googleapis.com/google.rpc.ErrorInfo"
    details = [{"@type": kind, "reason": reason, "domain": "googleapis.com"}] if reason else []
    return {"error": {"code": 400, "message": message, "status": state, "details": details}}


KEY_INVALID = google("API key not valid. Please pass a valid API key.", reason="API_KEY_INVALID")
VERIFY = "Your organization must be verified to stream this model. Please go to: https://x.example"
ON_DEMAND = "Invocation of model ID anthropic.claude-x with on-demand throughput isn\u2019t supported."

OPERATORS: dict[str, tuple[int, Any]] = {
    "anthropic, credit": (400, anthropic("Your credit balance is too low to access the Anthropic API.")),
    "anthropic, usage": (400, anthropic("You have reached your specified API usage limits. You will regain")),
    "anthropic, disabled": (400, anthropic("This organization has been disabled.")),
    "anthropic, credential": (400, anthropic("This credential is only authorized for use with Claude Code")),
    "anthropic, billing": (402, anthropic("There is an issue with billing.", "billing_error")),
    "openai, quota": (
        429,
        openai("You exceeded your current quota", "insufficient_quota", "insufficient_quota"),
    ),
    "openai, quota as type": (429, openai("You exceeded your current quota", None, "insufficient_quota")),
    "openai, hard limit": (400, openai("Billing hard limit has been reached", "billing_hard_limit_reached")),
    "openai, hard limit in words": (400, openai("Billing hard limit has been reached")),
    "openai, not active": (429, openai("Your account is not active", "billing_not_active")),
    "openai, deactivated": (401, openai("The account was deactivated", "account_deactivated")),
    "openai, unverified": (400, openai(VERIFY, "unsupported_value", param="stream")),
    "openai, model": (400, openai("The requested model 'x' does not exist.", "model_not_found")),
    "openai, model as field": (400, openai("Whatever is wrong with it.", param="model")),
    "openai, region": (403, openai("Country not supported", "unsupported_country_region_territory")),
    "gemini, key": (400, KEY_INVALID),
    "gemini, key in a list": (400, [KEY_INVALID]),
    "gemini, key in a text": (400, {"error": {"message": json.dumps(KEY_INVALID), "code": 400}}),
    "gemini, location": (
        400,
        google("User location is not supported for the API use.", "FAILED_PRECONDITION"),
    ),
    "gemini, expired": (400, google("API key expired. Please renew the API key.", reason="API_KEY_EXPIRED")),
    "azure, deployment": (
        404,
        openai("The API deployment for this resource does not exist.", "DeploymentNotFound"),
    ),
    "azure, operation": (
        400,
        {"error": {"code": "OperationNotSupported", "message": "The chatCompletion operation does not work"}},
    ),
    "azure, version": (400, {"error": {"code": "BadRequest", "message": "API version not supported"}}),
    "bedrock, token": (
        400,
        {"__type": "com.amazon#UnrecognizedClientException", "message": "The security token"},
    ),
    "bedrock, access": (403, {"__type": "AccessDeniedException", "message": "User: arn is not authorized"}),
    "bedrock, on demand": (400, {"message": ON_DEMAND}),
    "bedrock, identifier": (400, {"message": "The provided model identifier is invalid."}),
    "bedrock, operation": (400, {"message": "Operation not allowed"}),
    "mistral, model": (
        400,
        {"object": "error", "message": "Invalid model: x", "type": "invalid_model", "code": "1500"},
    ),
    "deepseek, balance": (402, openai("Insufficient Balance", "invalid_request_error", "unknown_error")),
    "deepseek, balance as 400": (400, openai("Insufficient Balance")),
    "deepseek, model": (400, openai("Model Not Exist", "invalid_request_error")),
    "xai, key": (
        400,
        {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: sk***Ls."},
    ),
    "dashscope, arrears": (
        400,
        openai("Access denied, please make sure your account", "Arrearage", "Arrearage"),
    ),
    "groq, model": (400, openai("The model `x` has been decommissioned and is", "model_decommissioned")),
    "groq, organization": (400, openai("Organization has been restricted.", "organization_restricted")),
    "together, model": (400, openai("Unable to access model x.", "model_not_available")),
    "hugging face, model": (
        400,
        {"error": "The requested model 'x' is not supported by any provider", "code": "model_not_supported"},
    ),
    "github, model": (400, openai("Unknown model: x", "unknown_model")),
    "moonshot, quota": (429, openai("Your account is suspended", None, "exceeded_current_quota_error")),
    "zhipu, balance": (429, {"error": {"code": "1113", "message": "余额不足"}}),
    "siliconflow, model": (
        400,
        {"code": 20012, "message": "Model does not exist. Please check it carefully."},
    ),
    "openrouter, behind it": (
        400,
        {
            "error": {
                "message": "Provider returned error",
                "code": 400,
                "metadata": {"raw": json.dumps(openai(VERIFY, "unsupported_value"))},
            },
            "user_id": "user_2",
        },
    ),
    "vllm, model": (404, openai("The model `x` does not exist.", None, "NotFoundError")),
    "lm studio, nothing loaded": (400, openai("No models loaded. Please load a model", "model_not_found")),
    "litellm's proxy": (
        400,
        openai("litellm.BadRequestError: AnthropicException - Your credit balance is too low"),
    ),
    "cloudflare": (400, {"success": False, "errors": [{"code": 10000, "message": "Authentication error"}]}),
}
ACCOUNT = ("credit", "balance", "quota", "billing", "organization", "key", "account", "limit")


def check_operators(error: UpstreamError) -> None:
    """The refusal concerns the operator, and the caller learns no details."""
    assert (error.status, error.reason, error.is_callers_fault) == (502, "status_4xx", False)
    assert error.body is None
    assert not any(word in str(error).lower() for word in ACCOUNT)
    assert error.detail


@pytest.mark.parametrize(("status", "body"), OPERATORS.values(), ids=OPERATORS.keys())
def test_what_is_between_operator_and_provider_is_no_callers_mistake(status: int, body: Any) -> None:
    """A bad gateway, for which others stand in; the words are for the log."""
    check_operators(refused(status, json.dumps(body).encode(), ASKED))


@pytest.mark.parametrize(("status", "body"), OPERATORS.values(), ids=OPERATORS.keys())
def test_nor_is_it_inside_an_answer(status: int, body: Any) -> None:
    """A provider that has begun with 200 says it in an event."""
    error = reported_in_body(json.dumps(body).encode(), ASKED)
    if status not in (402, 403, 404):  # where the status alone says it, an event without one cannot
        check_operators(error)
    assert not error.is_callers_fault


CALLERS: dict[str, tuple[int, Any]] = {
    "a field": (400, openai("Unknown parameter: 'x'.", "unknown_parameter", param="x")),
    "too long": (
        400,
        openai("This model's maximum context length is 8192 tokens.", "context_length_exceeded"),
    ),
    "moderation": (400, openai("Invalid prompt: flagged.", "invalid_prompt")),
    "anthropic": (400, anthropic("messages: first message must use the user role")),
    "gemini": (400, google("Invalid JSON payload received. Unknown name 'x'", reason="BAD_FIELD")),
    "quoted": (400, openai("Invalid value: 'Your credit balance is too low'", param="messages[0].role")),
    "quoted code": (422, {"detail": [{"loc": ["body", "messages"], "msg": "bad: insufficient_quota"}]}),
    "text": (400, {"error": "messages must not be empty"}),
    "template": (400, openai("System message must be at the beginning.", None, "BadRequestError")),
    "parameter": (400, openai("'temperature' must be at most 2", param="temperature")),
}


@pytest.mark.parametrize(("status", "body"), CALLERS.values(), ids=CALLERS.keys())
def test_what_a_caller_can_mend_is_told_in_the_providers_words(status: int, body: Any) -> None:
    """A caller's text quoted in a message cannot turn the refusal into an operator's problem."""
    error = refused(status, json.dumps(body).encode(), ASKED)
    assert (error.status, error.is_callers_fault) == (status, True)


def test_an_ordinary_limit_is_passed_on_with_its_time() -> None:
    """A rate limit is passed on, unlike a refusal because the account is out of money."""
    error = refused(429, json.dumps(openai("Slow down", "rate_limit_exceeded")).encode(), ASKED, "3")
    assert (error.status, error.reason, error.retry_after) == (429, "rate_limited", "3")


@pytest.mark.parametrize(
    ("part", "body"),
    [
        (PolicyPart(fields=frozenset({"temperature"})), openai("Unsupported value", param="temperature")),
        (PolicyPart(fields=frozenset({"max_tokens"})), anthropic("max_tokens: 100000 > 8192, which is the")),
        (
            PolicyPart(fields=frozenset({"stop"})),
            {"detail": [{"loc": ["body", "stop", 0], "msg": "too long"}]},
        ),
        (PolicyPart(fields=frozenset({"reasoning.effort"})), openai("Unsupported", param="reasoning.effort")),
        (
            PolicyPart(("Be kind.",), is_beside_system=True),
            openai("System message must be at the beginning."),
        ),
        (PolicyPart(("Be kind.",)), openai("System role not supported")),
        (
            PolicyPart(("Be kind.",), is_beside_system=True),
            openai("Unable to generate parser. Jinja Exception: System message must be at the beginning."),
        ),
    ],
)
def test_what_a_policy_put_in_is_no_callers_mistake(part: PolicyPart, body: Any) -> None:
    """Refusals of a policy's parameters or of its prompt's place count against the policy."""
    raw = json.dumps(body).encode()
    check_operators(refused(400, raw, UpstreamRequest(TARGET, QUESTION, policy_part=part)))
    assert refused(400, raw, ASKED).is_callers_fault


def test_another_field_of_an_object_a_policy_fixes_a_part_of_is_the_callers() -> None:
    """`reasoning.summary`, say, beside the policy's `reasoning.effort`."""
    part = PolicyPart(fields=frozenset({"reasoning.effort"}))
    raw = json.dumps(openai("Unsupported", param="reasoning.summary")).encode()
    assert refused(400, raw, UpstreamRequest(TARGET, QUESTION, policy_part=part)).is_callers_fault
