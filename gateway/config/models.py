"""What a configuration file says, as frozen models.

`load.py` builds them from a file and says what is wrong with it; tests and the demo may build them directly.

The description of each field is its documentation: `llmpo config schema` and docs/configuration.md carry it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    WithJsonSchema,
    model_validator,
)

from gateway.config.grid import GridProblem, combinations, expand, policy_name
from gateway.config.references import MAX_POLICIES, MIN_COMPARISONS, MIN_POLICIES, reference_faults
from gateway.config.values import (
    Address,
    Credentials,
    Duration,
    Headers,
    KeyHash,
    ModelName,
    Name,
    ProviderModel,
    SecondsOrReference,
    Secret,
    TemplateFile,
    TextOrReference,
    fault,
    is_secret_header,
)

MAX_SIGNALS = 32
SIGNALS = {"thumb": 1, "score": 1, "copied": 0.5, "edited": -0.25, "regenerated": -0.5, "abandoned": -0.5}


class Section(BaseModel):
    """A block of the file: unknown keys refused, nothing converted silently, immutable once read."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
        protected_namespaces=(),  # `model` and `model_name` are words of the field here
    )


class LitellmParams(Section):
    """How to reach one model, in the words LiteLLM uses. Any value may be `os.environ/NAME`."""

    model: ProviderModel = Field(description="Provider and model, as `provider/model`.")
    api_key: Secret | None = Field(default=None, description="The provider's API key.")
    api_base: Address | None = Field(
        default=None,
        description="Address of the API, such as `http://host:8000/v1`, where it is not the provider's own.",
    )
    timeout: SecondsOrReference | None = Field(
        default=None,
        description="Seconds one request may take; `LLMPO_UPSTREAM_TIMEOUT_SECONDS` where absent.",
    )
    api_version: TextOrReference | None = Field(default=None, description="API version (Azure).")
    organization: TextOrReference | None = Field(default=None, description="Organization billed (OpenAI).")
    extra_headers: Headers = Field(
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
    aws_bedrock_runtime_endpoint: Address | None = Field(default=None, description="Bedrock endpoint.")
    vertex_project: TextOrReference | None = Field(
        default=None, description="Google Cloud project (Vertex AI)."
    )
    vertex_location: TextOrReference | None = Field(default=None, description="Google Cloud location.")
    vertex_credentials: Credentials | None = Field(
        default=None, description="Service-account credentials: a path, JSON text or a mapping."
    )

    @property
    def provider(self) -> str:
        """What stands before the first slash of `model`."""
        return self.model.partition("/")[0]

    @property
    def provider_model(self) -> str:
        """What the provider calls the model: everything after the first slash."""
        return self.model.partition("/")[2]

    def revealed(self) -> dict[str, Any]:
        """Everything that was set, secrets in the clear: arguments for a call, never for a log."""
        values = ((name, getattr(self, name)) for name in type(self).model_fields)
        return {
            name: value.get_secret_value() if isinstance(value, SecretStr) else value
            for name, value in values
            if value is not None and value != {}
        }

    def identity(self) -> dict[str, Any]:
        """What decides how the model answers: everything that was set but secrets and the timeout."""
        values = {
            name: value
            for name in type(self).model_fields
            if name != "timeout" and (value := getattr(self, name)) and not isinstance(value, SecretStr)
        }
        headers = {name: text for name, text in self.extra_headers.items() if not is_secret_header(name)}
        return {**values, "extra_headers": headers}


class ModelEntry(Section):
    """One model clients and policies can name."""

    model_name: ModelName = Field(description="The name clients send as `model` and policies refer to.")
    litellm_params: LitellmParams = Field(description="How to reach it.")
    fallbacks: list[ModelName] = Field(
        default_factory=list,
        description="Other `model_name`s asked in turn when this one fails before the first byte.",
    )
    first_byte_timeout: Annotated[float, Field(gt=0, le=86_400)] | None = Field(
        default=None,
        description="Seconds until a stream's first event; `LLMPO_FIRST_BYTE_TIMEOUT_SECONDS` where absent.",
    )
    stall_timeout: Annotated[float, Field(gt=0, le=86_400)] | None = Field(
        default=None,
        description="Seconds a stream may be silent; `LLMPO_STALL_TIMEOUT_SECONDS` where absent.",
    )


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class PolicyParams(Section):
    """Sampling fields a policy fixes, within OpenAI's bounds; they win over what the caller sends."""

    temperature: float | None = Field(default=None, ge=0, le=2, description="Randomness of sampling.")
    top_p: float | None = Field(default=None, ge=0, le=1, description="Probability mass sampled from.")
    max_tokens: int | None = Field(
        default=None, ge=1, description="Longest answer; also replaces `max_completion_tokens`."
    )
    max_completion_tokens: int | None = Field(
        default=None, ge=1, description="Longest answer, reasoning included; also replaces `max_tokens`."
    )
    presence_penalty: float | None = Field(
        default=None, ge=-2, le=2, description="Pushes towards new topics."
    )
    frequency_penalty: float | None = Field(
        default=None, ge=-2, le=2, description="Pushes against repetition."
    )
    seed: int | None = Field(
        default=None, ge=-(2**63), le=2**63 - 1, description="Seed, for providers that honour one."
    )
    stop: (
        Annotated[
            list[Annotated[str, Field(min_length=1)]],
            BeforeValidator(_as_list),
            Field(min_length=1, max_length=4),
            WithJsonSchema(
                {
                    "type": ["string", "array"],
                    "items": {"type": "string", "minLength": 1},
                    "minItems": 1,
                    "maxItems": 4,
                }
            ),
        ]
        | None
    ) = Field(default=None, description="One to four texts that end the answer.")
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = Field(
        default=None, description="Bias per token id."
    )
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = Field(
        default=None, description="How long a reasoning model thinks."
    )
    verbosity: Literal["low", "medium", "high"] | None = Field(
        default=None, description="How long the answer is."
    )
    top_k: int | None = Field(
        default=None, ge=-1, description="Tokens sampled from (servers that extend OpenAI's format)."
    )
    min_p: float | None = Field(
        default=None, ge=0, le=1, description="Smallest relative probability sampled (same servers)."
    )
    repetition_penalty: float | None = Field(
        default=None, gt=0, le=10, description="Penalty on tokens seen before (same servers)."
    )

    def request_fields(self) -> dict[str, Any]:
        """The fields that were set, as they go into a request body."""
        return self.model_dump(exclude_none=True)


class PolicySpec(Section):
    """One way to answer: model, system prompt and sampling. Change any of them and it is a new policy."""

    model: ModelName = Field(description="A `model_name` of `model_list`.")
    system: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="System prompt, put before the caller's messages."
    )
    template: TemplateFile | None = Field(
        default=None,
        description="Jinja file that gives the system prompt from `messages`, `metadata` and `user_message`.",
    )
    params: PolicyParams = Field(
        default_factory=PolicyParams, description="Sampling fields the policy fixes."
    )
    cost: float = Field(
        default=0.0,
        ge=0,
        description="Cost of a request in any one unit; the cheaper of two equals is preferred.",
    )


class TrafficSpec(Section):
    """Which requests take part, and how two policies meet."""

    share: float = Field(
        default=0.3,
        ge=0,
        le=1,
        description="Share of the units that take part; the incumbent answers the rest.",
    )
    collect: Literal["matched", "side_by_side"] = Field(
        default="matched",
        description="`matched`: one answer per unit, outcomes of two units make a comparison. "
        "`side_by_side`: two answers in one response, the user names the better.",
    )
    unit: Literal["request", "session"] = Field(
        default="request",
        description="What is assigned to a policy: each request, or each session as a whole.",
    )


def _check_weight(weight: float) -> float:
    if weight == 0:
        raise fault("A weight of 0 says nothing.", "Use a number from -1 to 1, or leave the signal out.")
    return weight


class SignalSpec(Section):
    """What one feedback signal is worth. A plain number is short for its weight."""

    weight: Annotated[float, Field(ge=-1, le=1), AfterValidator(_check_weight)] = Field(
        description="The outcome is the weight times the value reported (true: 1, false: -1)."
    )


def _as_signal(value: Any) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return {"weight": value} if is_number else value


_WEIGHT_SCHEMA = {"type": "number", "minimum": -1, "maximum": 1, "not": {"const": 0}}
_SIGNAL_SCHEMA = {
    "anyOf": [
        _WEIGHT_SCHEMA,
        {
            "type": "object",
            "properties": {"weight": _WEIGHT_SCHEMA},
            "required": ["weight"],
            "additionalProperties": False,
        },
    ]
}
Signal = Annotated[SignalSpec, BeforeValidator(_as_signal), WithJsonSchema(_SIGNAL_SCHEMA)]


def _check_positive(duration: Any) -> Any:
    if not duration:
        raise fault("Feedback needs some time to arrive.", "Use a duration greater than 0, such as 24h.")
    return duration


class FeedbackSpec(Section):
    """Which feedback counts, and for how long after the answer."""

    window: Annotated[Duration, AfterValidator(_check_positive)] = Field(
        default="24h", validate_default=True, description="How long after an answer feedback on it counts."
    )
    signals: Annotated[dict[Name, Signal], Field(min_length=1, max_length=MAX_SIGNALS)] = Field(
        default=SIGNALS,
        validate_default=True,
        description="Weight of each signal; a list given here replaces the default one.",
    )
    tie_margin: float = Field(
        default=0.0, ge=0, le=2, description="Two outcomes no further apart than this are a tie (`matched`)."
    )


class PromotionSpec(Section):
    """What happens once a policy is certified, and what must have happened before."""

    mode: Literal["automatic"] = Field(
        default="automatic", description="The certified policy becomes the incumbent at once."
    )
    min_comparisons: int = Field(
        default=MIN_COMPARISONS, ge=0, description="No decision before this many comparisons."
    )
    min_duration: Duration = Field(
        default="0s", validate_default=True, description="No decision before this long after the start."
    )
    on_misfit: Literal["hold", "warn"] = Field(
        default="hold",
        description="While the structure assumed does not fit the counts: `hold` decides nothing, `warn` "
        "only says so. Exact guarantees do not rest on the fit and never wait.",
    )


GridValue = str | int | float


def _inference_defaults(data: dict[str, Any]) -> dict[str, str]:
    """Space, guarantee and stopping rule where the file leaves them out, or the first that contradicts."""
    space = data.get("space", "unstructured" if data.get("grid") is None else "linear")
    by_space = "exact" if space == "unstructured" else "asymptotic"
    by_rule = {"e-process": "exact", "glr": "exact", "lr-mixture": "asymptotic"}
    guarantee = data.get("guarantee", by_rule.get(str(data.get("stopping")), by_space))
    stopping = "lr-mixture" if guarantee == "asymptotic" else "e-process"
    return {"space": space, "guarantee": guarantee, "stopping": stopping}


class ExperimentSpec(Section):
    """Policies that compete for one name clients send as `model`."""

    incumbent: Name = Field(description="The policy that serves until another one is promoted.")
    policies: dict[Name, PolicySpec] = Field(
        default_factory=dict,
        json_schema_extra={
            "minProperties": MIN_POLICIES,
            "maxProperties": MAX_POLICIES,
        },  # see reference_faults
        description="The competing policies by name, two or more; or give a `grid`.",
    )
    grid: dict[str, list[GridValue] | dict[str, GridValue]] | None = Field(
        default=None,
        json_schema_extra={"minProperties": 1},
        description="Instead of `policies`: all combinations of some `model`s, `system` prompts or "
        "`template`s by name, and sampling fields. Policies are called by their levels: `small-short-0.7`.",
    )
    interactions: list[list[str]] = Field(
        default=[],
        description="Groups of the grid's axes that may work together better or worse than each does alone.",
    )
    space: Literal["unstructured", "bradley_terry", "linear"] = Field(
        default="unstructured",
        description="What is assumed of preferences. `unstructured`: nothing. `bradley_terry`: they follow "
        "from a score per policy. `linear`: from scores that add up over the axes of the `grid`; the default "
        "with one.",
    )
    guarantee: Literal["exact", "asymptotic"] = Field(
        default="exact",
        description="`exact`: the error level holds at every sample size, whatever preferences are. "
        "`asymptotic`: for many comparisons and if the `space` is right, with fewer comparisons; the "
        "default of structured spaces.",
    )
    stopping: Literal["e-process", "glr", "lr-mixture"] = Field(
        default="e-process",
        description="What decides. `e-process` and `glr` are exact; `lr-mixture` is asymptotic.",
    )
    delta: float = Field(
        default=0.05, gt=0, lt=1, description="Largest probability of promoting a wrong policy."
    )
    epsilon: float = Field(
        default=0.02,
        ge=0,
        lt=0.5,
        description="Smallest preference margin that matters; policies closer than this count as equal.",
    )
    max_comparisons: int | None = Field(
        default=None, ge=1, description="Stop undecided after so many comparisons."
    )
    objective: Literal["comparisons", "cost"] = Field(
        default="comparisons",
        description="What to spend as little of as possible until the decision: `comparisons`, or what their "
        "requests `cost`, which every policy then declares. The guarantee is the same.",
    )
    traffic: TrafficSpec = Field(default_factory=TrafficSpec, description="Which requests take part.")
    feedback: FeedbackSpec = Field(default_factory=FeedbackSpec, description="Which feedback counts.")
    promotion: PromotionSpec = Field(
        default_factory=PromotionSpec, description="When and how the incumbent changes."
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, data: Any) -> Any:
        """What follows from other keys: the policies of a grid, its space, and what decides there."""
        if not isinstance(data, dict):
            return data
        filled = {**_inference_defaults(data), **data}
        if data.get("grid") is None:
            return filled
        if data.get("policies"):
            raise fault("There are `policies` and a `grid`.", "Keep one of them.")
        try:
            return {**filled, "policies": expand(data["grid"])}
        except GridProblem as problem:
            raise fault(problem.problem, problem.remedy) from problem

    @model_validator(mode="after")
    def _check_inference(self) -> Self:
        if self.space == "linear" and self.grid is None:
            raise fault("`space: linear` needs a `grid`.", "Give one, or use bradley_terry.")
        if self.guarantee == "asymptotic" and self.space == "unstructured":
            raise fault("`guarantee: asymptotic` needs a structured space.", "Use exact, or name a space.")
        if (self.stopping == "lr-mixture") != (self.guarantee == "asymptotic"):
            raise fault(
                f"`stopping: {self.stopping}` is not {self.guarantee}.",
                "lr-mixture is asymptotic, e-process and glr are exact.",
            )
        if self.objective == "cost" and not all(policy.cost > 0 for policy in self.policies.values()):
            raise fault("`objective: cost` needs to know what policies cost.", "Declare a `cost` for each.")
        for group in self.interactions:
            if len(set(group)) < 2 or not set(group) <= set(self.grid or {}):  # noqa: PLR2004 - of a pair
                raise fault(f"{group} is no interaction.", "Name two or more axes of the grid.")
        return self

    def levels(self) -> dict[str, dict[str, str]]:
        """Policy to axis to level, for the policies of a grid."""
        return {policy_name(levels): levels for levels in combinations(self.grid)} if self.grid else {}


_Limit = Annotated[int, Field(ge=1, le=10**12)] | None


class LimitsSpec(Section):
    """How much an API key may use, over all replicas. What is absent is not limited."""

    concurrent_requests: _Limit = Field(default=None, description="Requests under way at once.")
    requests_per_minute: _Limit = Field(default=None, description="Requests within any minute.")
    tokens_per_minute: _Limit = Field(
        default=None, description="Tokens of prompts and answers within any minute."
    )


class KeySpec(Section):
    """One API key with a name."""

    hash: KeyHash = Field(description="Hash of the key.")
    role: Literal["client", "admin"] = Field(
        default="client", description="What it may do: as a key of `client_keys` or of `admin_keys`."
    )
    limits: LimitsSpec = Field(
        default_factory=LimitsSpec, description="Its own limits; a client key's others are the default ones."
    )


class AuthSpec(Section):
    """Who may call. Keys are listed by hash; with none anywhere, the gateway listens on loopback only."""

    client_keys: list[KeyHash] = Field(
        default_factory=list, description="Keys that may call models and report feedback."
    )
    admin_keys: list[KeyHash] = Field(
        default_factory=list, description="Keys that may also see experiments and which policy answered."
    )
    keys: dict[Name, KeySpec] = Field(
        default_factory=dict, description="Keys with names, for limits, logs and metrics."
    )
    limits: LimitsSpec = Field(
        default_factory=LimitsSpec, description="Limits of each client key that has none of its own."
    )

    @property
    def has_keys(self) -> bool:
        """Whether the file names any key at all."""
        return bool(self.client_keys or self.admin_keys or self.keys)

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        named = [key.hash for key in self.keys.values()]
        if len({*named, *self.client_keys, *self.admin_keys}) < len(named) + len(
            {*self.client_keys, *self.admin_keys}
        ):
            raise fault(
                "A key with a name is listed twice.", "List each key once: under `keys`, or without a name."
            )
        return self


class GatewayConfig(Section):
    """A whole configuration file."""

    model_list: Annotated[list[ModelEntry], Field(min_length=1)] = Field(
        description="The models, in LiteLLM's shape."
    )
    experiments: dict[Name, ExperimentSpec] = Field(
        default_factory=dict, description="The experiments, by the name clients call."
    )
    auth: AuthSpec = Field(default_factory=AuthSpec, description="Who may call.")

    @model_validator(mode="after")
    def _check_references(self) -> Self:
        faults = reference_faults(self.model_dump())
        if faults:
            text = " ".join(f"{'.'.join(map(str, found.path))}: {found.problem}" for found in faults)
            raise fault(text, faults[0].remedy)
        return self

    def entry(self, model_name: str) -> ModelEntry:
        """The model of that name; policies name only models that exist."""
        return next(entry for entry in self.model_list if entry.model_name == model_name)
