"""What a configuration file says about experiments: policies, traffic, feedback, promotion.

The models are frozen. The description of each field is its documentation: `llmpo config schema` and
docs/configuration.md carry it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    Field,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from gateway.config.grid import GridProblem, combinations, expand, policy_name
from gateway.config.references import MAX_POLICIES, MIN_COMPARISONS, MIN_POLICIES
from gateway.config.section import Section
from gateway.config.values import (
    Duration,
    ModelName,
    Name,
    TemplateFile,
    fault,
)

MAX_SIGNALS: Final = 32
# experiments/collecting.py holds what each way does.
Collect = Literal["matched", "side_by_side"]
SIGNALS: Final = {
    "thumb": 1,
    "score": 1,
    "copied": 0.5,
    "edited": -0.25,
    "regenerated": -0.5,
}
# Known late because of what they say: an answer is abandoned once nothing was said of it for long enough.
LATE_SIGNALS: Final = frozenset({"abandoned"})


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

    @field_validator("stop", mode="before")
    @classmethod
    def _list_of_one(cls, stop: Any) -> Any:
        return [stop] if isinstance(stop, str) else stop

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
        description="Cost of a request in any one unit, instead of measured tokens times prices; the cheaper "
        "of two equals is preferred.",
    )
    max_share: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Largest share of all units that this policy may answer while it is a candidate.",
    )


class TrafficSpec(Section):
    """Which requests take part, and how two policies meet."""

    share: float = Field(
        default=0.3,
        ge=0,
        le=1,
        description="Share of the units that take part; the incumbent answers the rest.",
    )
    min_share: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Smallest share of all units that the incumbent answers.",
    )
    collect: Collect = Field(
        default="matched",
        description="`matched`: one answer per unit, outcomes of two units make a comparison. "
        "`side_by_side`: two answers in one response to callers that ask for two (`n: 2`), the user names "
        "the better; all other callers get the incumbent's one answer.",
    )
    unit: Literal["request", "session"] = Field(
        default="request",
        description="What is assigned to a policy: each request, or each session as a whole.",
    )


class SignalSpec(Section):
    """What one feedback signal is worth. A plain number is short for its weight."""

    weight: Annotated[float, Field(ge=-1, le=1)] = Field(
        description="The outcome is the weight times the value reported (true: 1, false: -1)."
    )
    late: bool = Field(
        default=False,
        description="Whether what it says makes it late, as silence is known late; it needs a `hold` then.",
    )

    @model_validator(mode="before")
    @classmethod
    def _weight_alone(cls, value: Any) -> Any:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return {"weight": value} if is_number else value

    @field_validator("weight")
    @classmethod
    def _check_weight(cls, weight: float) -> float:
        if weight == 0:
            raise fault("A weight of 0 says nothing.", "Use a number from -1 to 1, or leave the signal out.")
        return weight


_WEIGHT_SCHEMA: Final = {"type": "number", "minimum": -1, "maximum": 1, "not": {"const": 0}}
_SIGNAL_SCHEMA: Final = {
    "anyOf": [
        _WEIGHT_SCHEMA,
        {
            "type": "object",
            "properties": {"weight": _WEIGHT_SCHEMA, "late": {"type": "boolean"}},
            "required": ["weight"],
            "additionalProperties": False,
        },
    ]
}
Signal = Annotated[SignalSpec, WithJsonSchema(_SIGNAL_SCHEMA)]


class FeedbackSpec(Section):
    """Which feedback counts, and for how long after the answer."""

    window: Duration = Field(
        default="24h", validate_default=True, description="How long after an answer feedback on it counts."
    )
    hold: Duration | None = Field(
        default=None,
        description="How old an answer is when feedback on it counts, however soon it came and whatever it "
        "says; later feedback does not count. In a session the first answer's age. Signals that come late "
        "because of what they say need it, such as `abandoned`. At most `window`.",
    )
    signals: Annotated[dict[Name, Signal], Field(min_length=1, max_length=MAX_SIGNALS)] = Field(
        default=SIGNALS,
        validate_default=True,
        description="Weight of each signal; a list given here replaces the default one.",
    )
    voter_cap: int = Field(
        default=1,
        ge=1,
        description="How many votes a user may give on a pair of policies. The guarantee is exact at 1: one "
        "person's votes are not independent.",
    )
    key_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Largest share of the votes on a pair that one API key may give, whichever users it "
        "names, from its eleventh vote on. Has no effect where the gateway knows a single client key.",
    )
    shared_ids: bool = Field(
        default=False,
        description="Whether any client key may report on an answer; else only the key that got it, and "
        "admin keys.",
    )
    tie_margin: float = Field(
        default=0.0, ge=0, le=2, description="Two outcomes no further apart than this are a tie (`matched`)."
    )

    @field_validator("window")
    @classmethod
    def _check_window(cls, window: Any) -> Any:
        if not window:
            raise fault("Feedback needs some time to arrive.", "Use a duration greater than 0, such as 24h.")
        return window

    @field_validator("hold")
    @classmethod
    def _check_hold(cls, hold: timedelta | None) -> timedelta | None:
        if hold is not None and hold < timedelta(seconds=1):
            raise fault("The age of answers is known to the second.", "Use at least 1s, such as 6h.")
        return hold

    @model_validator(mode="after")
    def _check_what_is_late(self) -> Self:
        if self.hold is not None and self.hold > self.window:
            raise fault("`hold` is longer than `window`.", "Raise `window`, in which feedback may come, too.")
        late = [name for name, signal in self.signals.items() if signal.late or name in LATE_SIGNALS]
        if late and self.hold is None:
            raise fault(
                f"The signal {late[0]!r} comes late because of what it says, and there is no `hold`.",
                "Give one, as long as it takes until the signal is known, such as `hold: 6h`, or leave the "
                "signal out.",
            )
        return self


class PromotionSpec(Section):
    """What happens once a policy is certified, and what must have happened before."""

    mode: Literal["automatic", "approval"] = Field(
        default="automatic",
        description="`automatic`: the certified policy becomes the incumbent at once. `approval`: it waits "
        "for a person (`llmpo experiments approve`), while evidence goes on being gathered.",
    )
    min_comparisons: int = Field(
        default=MIN_COMPARISONS, ge=0, description="No decision before this many comparisons."
    )
    min_duration: Duration = Field(
        default="1h",
        validate_default=True,
        description="No decision before this long after the start: time to notice false votes.",
    )
    min_voters: int = Field(
        default=10,
        ge=0,
        description="No decision while fewer voters gave the votes; votes that nothing tells apart count as "
        "one voter each where there is a single client key, else as one for each key.",
    )
    on_misfit: Literal["hold", "warn"] = Field(
        default="hold",
        description="While the structure assumed does not fit the counts: `hold` decides nothing, `warn` "
        "only says so. Exact guarantees do not rest on the fit and never wait.",
    )

    @property
    def asks_a_person(self) -> bool:
        """Whether a certified policy waits for a person."""
        return self.mode == "approval"


GridValue = str | int | float


class ExperimentSpec(Section):
    """Policies that compete for one name clients send as `model`."""

    incumbent: Name = Field(description="The policy that serves until another one is promoted.")
    policies: dict[Name, PolicySpec] = Field(
        default_factory=dict,
        json_schema_extra={
            "minProperties": MIN_POLICIES,
            "maxProperties": MAX_POLICIES,
        },  # reference_faults counts them
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
    promise: Literal["no_worse_than_any", "no_worse_than_best"] = Field(
        default="no_worse_than_any",
        description="What a margin promises. `no_worse_than_any`: no policy at all is preferred to the "
        "promoted one by more. `no_worse_than_best`: the one preferred to every other, if there is one, is "
        "not; that takes fewer comparisons, and promises nothing where preferences run in a circle.",
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
        """Fill in what follows from other keys: the policies of a grid, its space and its stopping rule."""
        if not isinstance(data, dict):
            return data
        space = data.get("space", "unstructured" if data.get("grid") is None else "linear")
        by_space = "exact" if space == "unstructured" else "asymptotic"
        by_rule = {"e-process": "exact", "glr": "exact", "lr-mixture": "asymptotic"}
        guarantee = data.get("guarantee", by_rule.get(str(data.get("stopping")), by_space))
        stopping = "lr-mixture" if guarantee == "asymptotic" else "e-process"
        filled = {"space": space, "guarantee": guarantee, "stopping": stopping, **data}
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
        if "promise" in self.model_fields_set and self.epsilon == 0:
            raise fault(
                f"`promise: {self.promise}` is about a margin, and `epsilon` is 0.",
                "Leave `promise` out to look for the winner, or give `epsilon` a margin.",
            )
        if self.promise == "no_worse_than_best" and self.stopping != "e-process":
            raise fault(
                f"`promise: no_worse_than_best` rests on exact evidence, and `stopping` is {self.stopping}.",
                "Use `guarantee: exact` with `stopping: e-process`, or no_worse_than_any.",
            )
        if self.objective == "cost" and not all(policy.cost > 0 for policy in self.policies.values()):
            raise fault("`objective: cost` needs to know what policies cost.", "Declare a `cost` for each.")
        for group in self.interactions:
            if len(set(group)) < 2 or not set(group) <= set(self.grid or {}):  # noqa: PLR2004 - of a pair
                raise fault(f"{group} is no interaction.", "Name two or more axes of the grid.")
        return self

    def levels(self) -> dict[str, dict[str, str]]:
        """For each policy of a grid, its level on every axis."""
        return {policy_name(levels): levels for levels in combinations(self.grid)} if self.grid else {}
