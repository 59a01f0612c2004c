"""What a configuration file says, as frozen models.

`load.py` builds them from a file and reports its faults; tests and the demo may build them directly.

The description of each field is its documentation: `llmpo config schema` and docs/configuration.md carry it.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    Field,
    SecretStr,
    ValidationInfo,
    model_validator,
)

from gateway.config.access import AuthSpec
from gateway.config.experiments import ExperimentSpec
from gateway.config.references import reference_faults
from gateway.config.section import Section
from gateway.config.sendable import key_problem
from gateway.config.values import (
    ApiBase,
    Credentials,
    HeadersToSend,
    ModelName,
    Name,
    Origin,
    ProviderModel,
    SecondsOrReference,
    Secret,
    TextOrReference,
    environment,
    fault,
    is_secret_header,
)
from gateway.config.webhooks import WebhookSpec

# These may change without changing how a model answers.
_BESIDE_THE_POINT: Final = frozenset({"timeout", "input_cost_per_token", "output_cost_per_token"})

# Providers that take several system messages, or one text into which LiteLLM joins them all.
_TAKE_SEVERAL: Final = frozenset({"anthropic", "azure", "bedrock", "gemini", "vertex_ai"})


class LitellmParams(Section):
    """How to reach one model, in LiteLLM's terms. Any value may be `os.environ/NAME`."""

    model: ProviderModel = Field(description="Provider and model, as `provider/model`.")
    api_key: Secret | None = Field(default=None, description="The provider's API key.")
    api_base: ApiBase | None = Field(
        default=None,
        description="Address of the API, such as `http://host:8000/v1`, if it is not the provider's own.",
    )
    timeout: SecondsOrReference | None = Field(
        default=None,
        description="Seconds one request may take; without it, `LLMPO_UPSTREAM_TIMEOUT_SECONDS`.",
    )
    api_version: TextOrReference | None = Field(default=None, description="API version (Azure).")
    organization: TextOrReference | None = Field(default=None, description="Organization billed (OpenAI).")
    extra_headers: HeadersToSend = Field(
        default_factory=dict, description="Headers added to every request to the provider."
    )
    azure_ad_token: Secret | None = Field(default=None, description="Azure AD token.")
    tenant_id: TextOrReference | None = Field(default=None, description="Azure AD tenant.")
    client_id: TextOrReference | None = Field(default=None, description="Azure AD client.")
    client_secret: Secret | None = Field(default=None, description="Azure AD client secret.")
    aws_access_key_id: Secret | None = Field(default=None, description="AWS access key (Bedrock, SageMaker).")
    aws_secret_access_key: Secret | None = Field(default=None, description="AWS secret key.")
    aws_session_token: Secret | None = Field(default=None, description="AWS session token.")
    aws_region_name: TextOrReference | None = Field(default=None, description="AWS region.")
    aws_session_name: TextOrReference | None = Field(
        default=None, description="Name of the assumed role's session."
    )
    aws_profile_name: TextOrReference | None = Field(
        default=None, description="Profile in the AWS credentials file."
    )
    aws_role_name: TextOrReference | None = Field(default=None, description="ARN of the role to assume.")
    aws_web_identity_token: Secret | None = Field(
        default=None, description="Web identity token for the role."
    )
    aws_bedrock_runtime_endpoint: ApiBase | None = Field(default=None, description="Bedrock endpoint.")
    vertex_project: TextOrReference | None = Field(
        default=None, description="Google Cloud project (Vertex AI)."
    )
    vertex_location: TextOrReference | None = Field(default=None, description="Google Cloud location.")
    vertex_credentials: Credentials | None = Field(
        default=None, description="Service-account credentials: a path, JSON text or a mapping."
    )

    input_cost_per_token: Annotated[float, Field(ge=0)] | None = Field(
        default=None,
        description="USD per prompt token, for metrics, if LiteLLM's list does not have the price.",
    )
    output_cost_per_token: Annotated[float, Field(ge=0)] | None = Field(
        default=None, description="USD per token of the answer; needs `input_cost_per_token` too."
    )

    @model_validator(mode="after")
    def _check_prices(self) -> Self:
        if (self.input_cost_per_token is None) != (self.output_cost_per_token is None):
            raise fault(
                "Only one of input_cost_per_token and output_cost_per_token is given.", "Give both or none."
            )
        return self

    @model_validator(mode="after")
    def _check_implied_key(self, info: ValidationInfo) -> Self:
        """If the file names no key, check the one that the environment gives, for every provider."""
        name = f"{self.provider.upper()}_API_KEY"
        problem = None if self.api_key else key_problem(environment(info).get(name) or "-")
        if problem is not None:
            raise fault(
                f"The environment variable {name} {problem}, so it cannot be sent.",
                "Set it to the key alone.",
            )
        return self

    @property
    def provider(self) -> str:
        """The part of `model` before the first slash."""
        return self.model.partition("/")[0]

    @property
    def provider_model(self) -> str:
        """The provider's name for the model: everything after the first slash."""
        return self.model.partition("/")[2]

    def revealed(self) -> dict[str, Any]:
        """Everything that was set, secrets in the clear: for the arguments of a call, never for a log."""
        values = ((name, getattr(self, name)) for name in type(self).model_fields)
        return {
            name: value.get_secret_value() if isinstance(value, SecretStr) else value
            for name, value in values
            if value is not None and value != {}
        }

    def secrets(self) -> list[str]:
        """Every secret that was set, in the clear; none of them may be shown."""
        values = (getattr(self, name) for name in type(self).model_fields)
        return [value.get_secret_value() for value in values if isinstance(value, SecretStr) and value]

    def identity(self) -> dict[str, Any]:
        """What decides how the model answers: all that was set except secrets, prices and the timeout."""
        values = {
            name: value
            for name in type(self).model_fields
            if name not in _BESIDE_THE_POINT
            and (value := getattr(self, name))
            and not isinstance(value, SecretStr)
        }
        headers = {name: text for name, text in self.extra_headers.items() if not is_secret_header(name)}
        return {**values, "extra_headers": headers}


class ModelEntry(Section):
    """One model that clients and policies can name."""

    model_name: ModelName = Field(description="The name clients send as `model` and policies refer to.")
    litellm_params: LitellmParams = Field(description="How to reach it.")
    fallbacks: list[ModelName] = Field(
        default_factory=list,
        description="Other `model_name`s, asked one after the other if this model fails before the first "
        "byte.",
    )
    first_byte_timeout: Annotated[float, Field(gt=0, le=86_400)] | None = Field(
        default=None,
        description="Seconds until a stream's first event; without it, `LLMPO_FIRST_BYTE_TIMEOUT_SECONDS`.",
    )
    stall_timeout: Annotated[float, Field(gt=0, le=86_400)] | None = Field(
        default=None,
        description="Seconds a stream may be silent; without it, `LLMPO_STALL_TIMEOUT_SECONDS`.",
    )
    merge_system: Literal["auto", "always", "never"] = Field(
        default="auto",
        description="Whether a policy's prompt is merged with the caller's system messages into one message, "
        "because many models' templates take only one. `auto`: everywhere except at OpenAI, Azure, "
        "Anthropic, Bedrock, Gemini and Vertex AI, which take several.",
    )
    messages: Literal["auto", "native"] = Field(
        default="auto",
        description="How requests in Anthropic's messages format are sent to the model's server. `native`: "
        "unchanged, to `/v1/messages` beside its `api_base` (llama.cpp, vLLM, Ollama and others have it). "
        "`auto`: unchanged for `anthropic/`, translated for all others. `llmpo config check --probe` says "
        "which servers can do it.",
    )
    http2: bool = Field(
        default=False,
        description="Ask over HTTP/2 if the provider speaks it; no effect on requests that LiteLLM "
        "translates.",
    )

    @model_validator(mode="after")
    def _check_messages(self) -> Self:
        params = self.litellm_params
        if self.messages == "native" and not (params.api_base or params.provider == "anthropic"):
            raise fault(
                f"messages: native needs the address of a server, and {self.model_name!r} has no api_base.",
                "Give litellm_params.api_base, or leave messages out.",
            )
        return self

    @property
    def merges_system(self) -> bool:
        """Whether a policy's prompt goes into one message with the caller's."""
        if self.merge_system != "auto":
            return self.merge_system == "always"
        params = self.litellm_params
        host = urlsplit(params.api_base or "").hostname or ""
        if params.provider == "openai":  # OpenAI's format is spoken by servers of any model
            return bool(host) and not host.endswith((".openai.com", ".openai.azure.com"))
        return params.provider not in _TAKE_SEVERAL


class GatewayConfig(Section):
    """A whole configuration file."""

    model_list: Annotated[list[ModelEntry], Field(min_length=1)] = Field(
        description="The models, in LiteLLM's shape."
    )
    experiments: dict[Name, ExperimentSpec] = Field(
        default_factory=dict, description="The experiments, by the name clients call."
    )
    auth: AuthSpec = Field(default_factory=AuthSpec, description="The keys that may call.")
    webhooks: list[WebhookSpec] = Field(
        default_factory=list, description="Receivers that are told what happens to experiments."
    )
    cors_origins: list[Origin] = Field(
        default_factory=list,
        description="Origins whose pages may call from a browser, as `https://app.example.com`; `*` for any.",
    )

    policies_shown: Literal["full", "names"] = Field(
        default="full",
        description="What the API, the console and certificates show admins of policies: `full` (models, "
        "prompts and parameters) or `names` only. Secrets are never shown.",
    )

    @model_validator(mode="after")
    def _check_references(self) -> Self:
        faults = reference_faults(self.model_dump())
        if faults:
            text = " ".join(f"{'.'.join(map(str, found.path))}: {found.problem}" for found in faults)
            raise fault(text, faults[0].remedy)
        return self

    def entry(self, model_name: str) -> ModelEntry:
        """The model of that name; validation made sure that policies name only existing models."""
        return next(entry for entry in self.model_list if entry.model_name == model_name)
