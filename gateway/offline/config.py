"""The file of `llmpo optimize`: models and policies as in the gateway's file, tasks, a judge, limits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from gateway.config.experiments import ExperimentSpec, GridValue, PolicySpec
from gateway.config.gateway_file import GatewayConfig, ModelEntry
from gateway.config.grid import expand, expanded
from gateway.config.load import load_model
from gateway.config.params import PolicyParams
from gateway.config.promotion import PromotionSpec
from gateway.config.references import Fault, reference_faults, suggest
from gateway.config.section import Section
from gateway.config.values import ModelName, Name, fault

JUDGES: Final = ("exact_match", "regex", "python", "llm")
_CALLABLE: Final = r"[A-Za-z_][\w.]*:[A-Za-z_]\w*"
_INFERENCE: Final = ("grid", "interactions", "space", "guarantee", "stopping", "promise", "epsilon")
_RUN: Final = "this run"  # the experiment's name, as the gateway's rules see it

TargetField = Annotated[str, Field(min_length=1)]


class ExactMatchSpec(Section):
    """An answer is right if it equals the target, apart from surrounding white space."""

    target: TargetField = Field(
        default="target", description="Field of a task: the right answer, or a list of right answers."
    )
    ignore_case: bool = Field(default=True, description="Whether upper and lower case count as equal.")


class RegexSpec(Section):
    """An answer is right if the pattern finds the target in it."""

    pattern: str = Field(
        description="Python regular expression; its group, or else the whole match, is compared."
    )
    target: TargetField | None = Field(
        default="target",
        description="Field of a task: the right answer, or a list. null: any match is right.",
    )
    take: Literal["first", "last"] = Field(default="last", description="Which match counts.")
    ignore_case: bool = Field(default=True, description="Whether upper and lower case count as equal.")

    @field_validator("pattern")
    @classmethod
    def _check_pattern(cls, pattern: str) -> str:
        try:
            compiled = re.compile(pattern)
        except re.error as error:
            raise fault(
                f"{pattern!r} is not a regular expression: {error}.",
                "Correct it; write it in single quotes, so that YAML leaves backslashes unchanged.",
            ) from error
        if compiled.groups > 1:
            raise fault(f"{pattern!r} has {compiled.groups} groups.", "Keep one; make the others `(?:...)`.")
        return pattern


class PythonSpec(Section):
    """An operator's function scores each answer."""

    callable: str = Field(
        description="`module:function`, called with the task (a dict) and the answer (text); it returns a "
        "number (higher is better) or a bool. The configuration's directory is on the import path."
    )

    @field_validator("callable")
    @classmethod
    def _check_callable(cls, name: str) -> str:
        if not re.fullmatch(_CALLABLE, name):
            raise fault(
                f"{name!r} does not name a function.", "Write module:function, such as grading:score."
            )
        return name


class LlmJudgeSpec(Section):
    """A model compares the two answers in both orders; if the results disagree it is a tie."""

    model: ModelName = Field(description="A `model_name` of `model_list`.")
    question: Annotated[str, Field(min_length=1)] = Field(
        default="Which answer is more helpful and correct?", description="The question for the judge."
    )
    target: TargetField | None = Field(
        default=None, description="Field of a task that the judge sees as the reference answer, if any."
    )
    params: PolicyParams = Field(
        default_factory=lambda: PolicyParams(temperature=0.0), description="Sampling fields of the judge."
    )
    may_be_candidate: bool = Field(
        default=False, description="Accept a judge that is also a candidate's model; the report mentions it."
    )


class JudgeSpec(Section):
    """The judge of which of two answers is better: exactly one of these."""

    exact_match: ExactMatchSpec | None = Field(default=None, description="Compare with the target.")
    regex: RegexSpec | None = Field(default=None, description="Find the target with a pattern.")
    python: PythonSpec | None = Field(default=None, description="Score by a function.")
    llm: LlmJudgeSpec | None = Field(default=None, description="Ask a model.")

    @model_validator(mode="before")
    @classmethod
    def _named_alone(cls, value: Any) -> Any:
        return {value: {}} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        given = [name for name in JUDGES if getattr(self, name) is not None]
        if len(given) != 1:
            listed = ", ".join(given) or "none"
            raise fault(f"A run has one judge; given: {listed}.", f"Keep one of {', '.join(JUDGES)}.")
        return self

    @property
    def kind(self) -> str:
        """The kind of judge, one of `JUDGES`."""
        return next(name for name in JUDGES if getattr(self, name) is not None)

    @property
    def target(self) -> str | None:
        """The field of a task with the right answer; None if the judge needs none."""
        spec = self.exact_match or self.regex or self.llm
        return None if spec is None else spec.target


class BudgetSpec(Section):
    """The limits of a run; reaching either ends it as inconclusive."""

    usd: float | None = Field(default=None, gt=0, description="Most money, in US dollars.")
    calls: int | None = Field(default=None, ge=1, description="Most calls of providers, retries included.")


class PriceSpec(Section):
    """Prices of a model, for models that LiteLLM's list does not have."""

    prompt_usd_per_million: float = Field(ge=0, description="US dollars for a million prompt tokens.")
    completion_usd_per_million: float = Field(ge=0, description="US dollars for a million completion tokens.")


class OptimizeConfig(Section):
    """A whole file of `llmpo optimize`."""

    name: Name | None = Field(default=None, description="Name of the run; by default the file's.")
    model_list: Annotated[list[ModelEntry], Field(min_length=1)] = Field(
        description="The models, in LiteLLM's shape."
    )
    policies: dict[Name, PolicySpec] = Field(
        default_factory=dict, description="The competing policies by name, two or more; or give a `grid`."
    )
    grid: dict[str, list[GridValue] | dict[str, GridValue]] | None = Field(
        default=None, description="Instead of `policies`: all combinations, as in the gateway."
    )
    interactions: list[list[str]] = Field(
        default=[],
        description="Groups of the grid's axes whose effects may not simply add up, as in the gateway.",
    )
    space: Literal["unstructured", "bradley_terry", "linear"] | None = Field(
        default=None, description="What is assumed of preferences, as in the gateway."
    )
    guarantee: Literal["exact", "asymptotic"] | None = Field(
        default=None, description="Whether the error level is exact or asymptotic, as in the gateway."
    )
    stopping: Literal["e-process", "glr", "lr-mixture"] | None = Field(
        default=None, description="The rule that decides, as in the gateway."
    )
    incumbent: Name | None = Field(
        default=None, description="The policy in use now, preferred among equals; by default the first."
    )
    tasks: str | None = Field(
        default=None, description="JSON-lines file of tasks, relative to this file; or `--tasks`."
    )
    judge: JudgeSpec = Field(description="The judge that compares two answers.")
    delta: float = Field(
        default=0.05, gt=0, lt=1, description="Largest probability of naming a wrong policy."
    )
    epsilon: float = Field(
        default=0.02,
        ge=0,
        lt=0.5,
        description="Smallest preference margin that matters; 0 looks for the one winner.",
    )
    promise: Literal["no_worse_than_any", "no_worse_than_best"] | None = Field(
        default=None, description="What is promised with a margin, as in the gateway."
    )
    max_comparisons: int = Field(
        default=10_000, ge=1, description="Stop undecided after this many comparisons."
    )
    draw: Literal["list", "population"] = Field(
        default="list",
        description="What the promise is about. `list`: a task drawn from this list; tasks come up again. "
        "`population`: the population of which the list is a random sample; each task comes up once.",
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="Fixes which tasks and pairs come up.")
    concurrency: int = Field(default=8, ge=1, le=512, description="Calls at once.")
    attempts: int = Field(
        default=5, ge=1, le=20, description="Attempts at a call that fails for a passing reason."
    )
    budget: BudgetSpec = Field(default_factory=BudgetSpec, description="Limits on calls and money.")
    prices: dict[ModelName, PriceSpec] = Field(
        default_factory=dict,
        description="Prices by `model_name`, for models that LiteLLM's list does not have.",
    )

    @model_validator(mode="after")
    def _check_references(self) -> Self:
        faults = optimize_faults(self.model_dump())
        if faults:
            text = " ".join(f"{'.'.join(map(str, found.path))}: {found.problem}" for found in faults)
            raise fault(text, faults[0].remedy)
        return self

    @property
    def experiment(self) -> ExperimentSpec:
        """An experiment of the gateway with the keys that both files share, which the judge is not."""
        shared = ExperimentSpec.model_fields.keys() - {"judge"}
        common = {name: getattr(self, name) for name in shared if hasattr(self, name)}
        if self.grid is not None:
            del common["policies"]
        incumbent = self.incumbent or next(iter(self.policies or expand(self.grid)))
        stated = {name: value for name, value in common.items() if value is not None}
        return ExperimentSpec(
            **{**stated, "incumbent": incumbent, "promotion": PromotionSpec(min_comparisons=0)}
        )

    @property
    def gateway(self) -> GatewayConfig:
        """A gateway configuration with only the models."""
        return GatewayConfig(model_list=self.model_list)


def load_optimize(path: Path, environ: Mapping[str, str]) -> OptimizeConfig:
    """The configuration in a YAML file; without a name it gets that of the file.

    Raises:
        ConfigError: With one issue for every fault of the file.
    """
    config = load_model(path, environ, OptimizeConfig, optimize_faults)
    if config.name:
        return config
    return config.model_copy(update={"name": re.sub(r"[^A-Za-z0-9._-]", "-", path.stem)[:64] or "run"})


def optimize_faults(data: Any) -> list[Fault]:
    """Faults between parts of the file: by the gateway's rules for policies, and in the judge's model."""
    plain = PlainOptimize(data if isinstance(data, dict) else {})
    return [*plain.policy_faults(), *plain.inference_faults(), *plain.judge_faults()]


def _named_in(problem: str, stated: Mapping[str, Any]) -> str:
    """The key that a problem names first or, if it names none, the first key that is set."""
    named = [key for key in stated if f"`{key}" in problem]
    return min(named, key=lambda key: problem.index(f"`{key}"), default=next(iter(stated), "policies"))


class PlainOptimize:
    """A file of `llmpo optimize` as plain data, before validation."""

    def __init__(self, content: dict[str, Any]) -> None:
        self._content = content

    def policy_faults(self) -> list[Fault]:
        """Faults that the gateway's rules find in the policies."""
        content = self._content
        keys = ("policies", "grid", "incumbent")
        experiment = {key: content[key] for key in keys if content.get(key) is not None}
        pretended = {"model_list": content.get("model_list"), "experiments": {_RUN: experiment}}
        prefix = ("experiments", _RUN)
        return [
            replace(found, path=found.path[2:]) if found.path[:2] == prefix else found
            for found in reference_faults(pretended)
        ]

    def inference_faults(self) -> list[Fault]:
        """Faults that the gateway's own model finds in the combination of assumption, rule and promise."""
        content = self._content
        stated = {key: content[key] for key in _INFERENCE if content.get(key) is not None}
        policies = {} if "grid" in stated else {"policies": {"stand-in": {"model": "stand-in"}}}
        if content.get("policies") and "grid" in stated:
            policies = {"policies": content["policies"]}
        try:
            ExperimentSpec.model_validate({**stated, **policies, "incumbent": "stand-in"})
        except ValidationError as error:
            found = [details.get("ctx", {}) for details in error.errors() if not details["loc"]]
            return [
                Fault((_named_in(context["problem"], stated),), context["problem"], context["remedy"])
                for context in found
                if "problem" in context
            ]
        return []

    def judge_faults(self) -> list[Fault]:
        """Faults of a judging model that does not exist or is also a candidate."""
        content = self._content
        judge = content.get("judge")
        spec = judge.get("llm") if isinstance(judge, dict) else None
        model = spec.get("model") if isinstance(spec, dict) else None
        if not isinstance(spec, dict) or not isinstance(model, str):
            return []
        reached = self.reached_models()
        path = ("judge", "llm", "model")
        if model not in reached:
            return [
                Fault(path, f"There is no model {model!r}.", suggest(model, reached, "Models in model_list"))
            ]
        policies = content.get("policies") or expanded(content.get("grid"))
        rivals = [
            name
            for name, policy in (policies.items() if isinstance(policies, dict) else ())
            if isinstance(policy, dict) and reached.get(str(policy.get("model"))) == reached[model]
        ]
        if rivals and not spec.get("may_be_candidate"):
            return [
                Fault(
                    path,
                    f"{model!r} is also the model of policy {rivals[0]!r}: judges favour their own answers.",
                    "Name another model, or set may_be_candidate: true to allow it.",
                )
            ]
        return []

    def reached_models(self) -> dict[str, tuple[str, str]]:
        """The provider, model and address behind each `model_name`."""
        entries = self._content.get("model_list")
        reached: dict[str, tuple[str, str]] = {}
        for entry in entries if isinstance(entries, list) else []:
            name = entry.get("model_name") if isinstance(entry, dict) else None
            params = entry.get("litellm_params") if isinstance(entry, dict) else None
            if isinstance(name, str) and isinstance(params, dict):
                reached[name] = (str(params.get("model")), str(params.get("api_base")))
        return reached
