"""The part of a configuration file about experiments: policies, traffic, promotion.

The models are frozen. The description of each field is its documentation: `llmpo config schema` and
docs/configuration.md carry it.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, model_validator

from gateway.config.feedback import FeedbackSpec
from gateway.config.grid import GridProblem, combinations, expand, policy_name, with_caps
from gateway.config.guardrails import Guardrails, check_guardrails
from gateway.config.judging import LiveJudgeSpec
from gateway.config.params import PolicyParams
from gateway.config.prior import PriorSpec
from gateway.config.promotion import PromotionSpec
from gateway.config.references import MAX_POLICIES, MIN_POLICIES
from gateway.config.section import Section
from gateway.config.segments import Segments
from gateway.config.values import (
    Level,
    Margin,
    ModelName,
    Name,
    TemplateFile,
    fault,
)

# experiments/collecting.py holds what each way does.
Collect = Literal["matched", "side_by_side", "regenerate", "shadow"]

_LEAST_COST: Final = 1e-6
_MOST_COST: Final = 1e6


class PolicySpec(Section):
    """One way to answer: model, system prompt and sampling. Changing any of them makes a new policy."""

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
        description="Cost of a request in any unit (the same for all policies), instead of measured tokens "
        "times prices; the cheaper of two equals is preferred.",
    )
    max_share: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Largest share of all units that this policy may answer while it is a candidate.",
    )


class TrafficSpec(Section):
    """Which requests take part, and how two policies are compared."""

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
        "the better; all other callers get the incumbent's one answer. `regenerate`: who asks the same again "
        "gets the other policy's answer, and the conversation sent back shows which one was kept. `shadow`: "
        "the incumbent answers every caller; then two policies answer unseen, and the `judge` says which "
        "answer is better.",
    )
    unit: Literal["request", "session"] = Field(
        default="request",
        description="What is assigned to a policy: each request, or each session as a whole.",
    )

    @model_validator(mode="after")
    def _check_unit(self) -> Self:
        if self.collect == "regenerate" and self.unit == "session":
            raise fault(
                "With `collect: regenerate` each turn of a conversation is compared, and `unit` is session.",
                "Leave `unit` out.",
            )
        if self.collect == "shadow" and self.unit == "session":
            raise fault(
                "With `collect: shadow` each request is compared by itself, and `unit` is session.",
                "Leave `unit` out.",
            )
        return self


GridValue = str | int | float


_Roles = Annotated[list[Literal["explicit", "implicit", "judge"]], Field(min_length=1)]


class ExperimentSpec(Section):
    """Policies that compete under one name, which clients send as `model`."""

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
    max_share: dict[str, Annotated[float, Field(gt=0, le=1)]] = Field(
        default={},
        description="Exposure caps of a `grid`'s policies, as `policies.<name>.max_share`: by the name of a "
        "policy, or by a level, for all policies with that level except the incumbent. The smallest "
        "counts.",
    )
    interactions: list[list[str]] = Field(
        default=[],
        description="Groups of the grid's axes whose effects may not simply add up.",
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
        "`asymptotic`: it holds for many comparisons if the `space` is right, and takes fewer "
        "comparisons; the default of structured spaces.",
    )
    stopping: Literal["e-process", "glr", "lr-mixture"] = Field(
        default="e-process",
        description="What decides. `e-process` and `glr` are exact; `lr-mixture` is asymptotic.",
    )
    delta: Level = Field(default=0.05, description="Largest probability of promoting a wrong policy.")
    epsilon: Margin = Field(
        default=0.02,
        description="Smallest preference margin that matters; policies closer than this count as equal.",
    )
    promise: Literal["no_worse_than_any", "no_worse_than_best"] = Field(
        default="no_worse_than_any",
        description="What is promised if `epsilon` is above 0. `no_worse_than_any`: no policy at all is "
        "preferred to the promoted one by more than `epsilon`. `no_worse_than_best`: this holds only "
        "for the policy preferred to every other, if there is one; it takes fewer comparisons, and "
        "promises nothing if preferences run in a circle.",
    )
    max_comparisons: int | None = Field(
        default=None, ge=1, description="Stop undecided after this many comparisons."
    )
    last_look: bool = Field(
        default=False,
        description="Whether the evidence is compared once more at `max_comparisons`, with a line lowered by "
        "a random number that nobody knows before. Some experiments are decided that would end undecided, "
        "with the same error level; exactly `max_comparisons` are counted.",
    )
    objective: Literal["comparisons", "cost"] = Field(
        default="comparisons",
        description="What the experiment keeps small until the decision: the number of `comparisons`, or the "
        "`cost` of their requests, which every policy must then declare. The guarantee is the same.",
    )
    traffic: TrafficSpec = Field(default_factory=TrafficSpec, description="Which requests take part.")
    feedback: FeedbackSpec = Field(default_factory=FeedbackSpec, description="Which feedback counts.")
    promote_on: _Roles | None = Field(
        default=None,
        description="What is evidence: what users say (`explicit`: votes, ratings), what they do "
        "(`implicit`: kept answers, implicit signals, what is missing), and beside them the verdicts of the "
        "`judge`. Unless given, all that users say and do is; what is left out only informs forecasts.",
    )
    segments: Segments | None = Field(
        default=None,
        description="Up to three keys of the requests' metadata, such as `metadata.plan`: comparisons record "
        "their values, and win rates are also shown by value. Values are stored and shown as they are, so "
        "name nothing personal. What is decided does not depend on them.",
    )
    prior: PriorSpec | None = Field(
        default=None,
        description="What was compared elsewhere, to forecast with; never evidence.",
    )
    judge: LiveJudgeSpec | None = Field(
        default=None,
        description="A model that compares answers after callers have been served. With `collect: shadow` "
        "its verdicts are the evidence; otherwise they inform forecasts, or count too if `promote_on` lists "
        "`judge`.",
    )
    promotion: PromotionSpec = Field(
        default_factory=PromotionSpec, description="When and how the incumbent changes."
    )

    guardrails: Guardrails = Field(
        default={},
        description="Metrics in which no policy may be worse than the incumbent, by name: `error_rate`, "
        "`refusal_rate`, `latency`, `latency_p95` (or another percentage), `cost`, `output_tokens`, or one "
        "that the application posts.",
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
            if data.get("max_share"):
                raise fault(
                    "`max_share` is for the policies of a `grid`.", "Give each policy its own `max_share`."
                )
            return filled
        if data.get("policies"):
            raise fault("There are `policies` and a `grid`.", "Keep one of them.")
        try:
            policies = expand(data["grid"])
            capped = with_caps(policies, data["grid"], data.get("max_share"), data.get("incumbent"))
        except GridProblem as problem:
            raise fault(problem.problem, problem.remedy) from problem
        return {**filled, "policies": capped}

    @model_validator(mode="after")
    def _check_inference(self) -> Self:
        if self.space == "linear" and self.grid is None:
            raise fault("`space: linear` needs a `grid`.", "Give a `grid`, or use bradley_terry.")
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
        self._check_last_look()
        self._check_costs()
        for group in self.interactions:
            if len(set(group)) < 2 or not set(group) <= set(self.grid or {}):  # noqa: PLR2004 - of a pair
                raise fault(f"{group} is no interaction.", "Name two or more axes of the grid.")
        return self

    def _check_costs(self) -> None:
        if self.objective == "comparisons":
            return
        for name, policy in self.policies.items():
            if policy.cost == 0:
                raise fault("`objective: cost` needs the cost of every policy.", "Declare a `cost` for each.")
            if not _LEAST_COST <= policy.cost <= _MOST_COST:
                raise fault(
                    f"The cost of `{name}` is {policy.cost:g}, with `objective: cost`.",
                    f"Use a unit in which every cost is between {_LEAST_COST:g} and {_MOST_COST:g}.",
                )

    def _check_last_look(self) -> None:
        if not self.last_look:
            return
        if self.max_comparisons is None:
            raise fault(
                "`last_look` is at the end of a budget, and there is none.",
                "Give `max_comparisons`, or leave `last_look` out.",
            )
        if self.stopping != "e-process":
            raise fault(
                f"`last_look` rests on exact evidence, and `stopping` is {self.stopping}.",
                "Use `guarantee: exact` with `stopping: e-process`, or leave `last_look` out.",
            )
        if any(step.comparisons is not None for step in self.promotion.steps or ()):
            raise fault(
                "With `last_look` nothing is counted after `max_comparisons`, so a step that waits for "
                "`comparisons` might never end.",
                "End the steps of `promotion` with `for` or `approval`, or leave `last_look` out.",
            )

    @model_validator(mode="after")
    def _check_judge(self) -> Self:
        is_shadow = self.traffic.collect == "shadow"
        if is_shadow and self.judge is None:
            raise fault("`collect: shadow` needs a `judge`.", "Give one: its `model` and `spend_per_day`.")
        if is_shadow and self.promote_on is not None:
            raise fault(
                "With `collect: shadow` the judge's verdicts are the evidence, and `promote_on` is given.",
                "Leave `promote_on` out.",
            )
        if self.judge is not None and is_shadow and self.judge.share is not None:
            raise fault(
                "With `collect: shadow` every request that takes part is judged, and `judge.share` is given.",
                "Leave it out; `traffic.share` says how many requests take part.",
            )
        if "judge" in (self.promote_on or ()):
            self._check_verdicts_beside_users()
        return self

    def _check_verdicts_beside_users(self) -> None:
        if self.judge is None:
            raise fault(
                "`promote_on` lists `judge`, and there is no `judge`.",
                "Give one: its `model` and `spend_per_day`; or leave `judge` out of the list.",
            )
        if set(self.promote_on or ()) == {"judge"}:
            raise fault(
                "`promote_on` lists `judge` alone: users would see candidates, and would decide nothing.",
                "Use `collect: shadow` without `promote_on`, or list `explicit` or `implicit` too.",
            )
        if self.traffic.unit == "session":
            raise fault(
                "`promote_on` lists `judge`, which compares single requests, and `unit` is session.",
                "Leave `unit` out, or `judge` out of the list.",
            )

    @model_validator(mode="after")
    def _check_guardrails(self) -> Self:
        check_guardrails(self.guardrails, self.promotion)
        return self

    def levels(self) -> dict[str, dict[str, str]]:
        """For each policy of a grid, its level on every axis."""
        return {policy_name(levels): levels for levels in combinations(self.grid)} if self.grid else {}
