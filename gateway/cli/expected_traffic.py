"""What an operator expects of an experiment's traffic, and where its comparisons will come from."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import typer
from pydantic import TypeAdapter, ValidationError

from gateway.config.experiments import ExperimentSpec
from gateway.config.gateway_file import GatewayConfig
from gateway.config.values import Duration
from gateway.errors import ConfigError
from gateway.experiments.collecting import WAYS, Takes
from gateway.experiments.declared_caps import exposure_caps, exposure_issues
from gateway.experiments.definitions import inference_of
from gateway.experiments.judge import judge_issues, judged_models
from gateway.experiments.policies import compile_policies
from gateway.experiments.priors import RUN, informing_roles, prior_of
from gateway.experiments.structure import structure_of
from gateway.judging.estimating import JudgeEstimate, judge_estimate
from gateway.llm_po.exposure import Caps
from gateway.simulation.by_source import ExpectedSource
from gateway.simulation.prospect import EstimateError, Prospect
from gateway.upstream.prices import model_prices
from policy_store.roles import Role

_TIE_RATE: Final = 0.2  # of answers side by side
_DAY: Final = timedelta(days=1)
_LEAST_SHARE: Final = 1e-9  # a share of 0 is refused in words of its own


@dataclass(frozen=True, slots=True)
class ExpectedTraffic:
    """What an operator expects of traffic, feedback and costs, by the names of the options."""

    requests_per_day: float
    feedback_rate: float
    feedback_delay: str
    success_rate: float
    tie_rate: float | None
    cost_per_request: float | None
    prompt_tokens: int
    answer_tokens: int
    implicit_rate: float | None = None

    @property
    def shortest_delay(self) -> timedelta:
        """How long feedback takes; a longer `feedback.hold` takes its place.

        Raises:
            BadParameter: If the text is no duration.
        """
        try:
            delay: timedelta = TypeAdapter(Duration).validate_python(self.feedback_delay)
        except ValidationError as error:
            raise typer.BadParameter(
                f"--feedback-delay is {self.feedback_delay!r}; write it as 30s, 10m, 2h or 1d."
            ) from error
        return delay

    def prices(self, config: GatewayConfig, spec: ExperimentSpec) -> tuple[float, ...] | None:
        """Money per request of each policy, or None where the price of a model is not known."""
        models = [spec.policies[name].model for name in sorted(spec.policies)]
        if self.cost_per_request is not None:
            return (self.cost_per_request,) * len(models)
        known = model_prices(config.entry(model) for model in set(models))
        if not known.keys() >= set(models):
            return None
        return tuple(known[model].of(self.prompt_tokens, self.answer_tokens) for model in models)

    def judge(self, config: GatewayConfig, name: str) -> JudgeEstimate | None:
        """What the judge of an experiment compares and costs; None without one.

        Raises:
            ConfigError: If the judge cannot be used, or a price is not known.
        """
        spec = config.experiments[name]
        if spec.judge is None:
            return None
        prices = model_prices(config.entry(model) for model in judged_models(config))
        if issues := list(judge_issues(config)):
            raise ConfigError(issues)
        return judge_estimate(
            spec,
            prices,
            requests_per_day=self.requests_per_day,
            prompt_tokens=self.prompt_tokens,
            answer_tokens=self.answer_tokens,
        )

    def prospect(self, config: GatewayConfig, name: str) -> Prospect:
        """An experiment as it would run, with its policies in the order of their names."""
        spec = config.experiments[name]
        names, levels = sorted(spec.policies), spec.levels()
        structure = structure_of(inference_of(spec, names), names)
        way, ties_follow = WAYS[spec.traffic.collect], self.tie_rate is None
        if issues := list(exposure_issues(name, spec)):
            raise ConfigError(issues)
        declared, incumbent = exposure_caps(spec), names.index(spec.incumbent)
        judge = self.judge(config, name)
        judged = judge.compared_per_day if judge is not None and judge.is_evidence else 0.0
        paid = judged if way.takes is Takes.VERDICT else None
        return Prospect(
            experiment=name,
            policies=len(names),
            incumbent=incumbent,
            costs=tuple(spec.policies[policy].cost for policy in names),
            delta=spec.delta,
            epsilon=spec.epsilon,
            way=way,
            share=spec.traffic.share,
            min_comparisons=spec.promotion.min_comparisons,
            min_days=spec.promotion.min_duration / _DAY,
            max_comparisons=spec.max_comparisons,
            units_per_day=self.requests_per_day
            if paid is None
            else paid / max(spec.traffic.share, _LEAST_SHARE),
            feedback_rate=self.evidence_rate(spec) if paid is None else 1.0,
            judged_per_day=judged if paid is None else 0.0,
            feedback_delay_days=max(self.shortest_delay, spec.feedback.hold or timedelta()) / _DAY,
            tie_rate=_TIE_RATE if self.tie_rate is None else self.tie_rate,
            success_rate=self.success_rate if way.rates_answers and ties_follow else None,
            prices=self.prices(config, spec) if paid is None else None,
            stopping=structure.stopping,
            features=structure.features,
            levels=tuple(tuple(levels[policy].values()) for policy in names) if levels else None,
            objective=structure.objective,
            promise=spec.promise,
            last_look=spec.last_look,
            voter_cap_per_experiment=spec.feedback.voter_cap_per_experiment,
            caps=Caps(incumbent, declared.most(names), declared.least, declared.answers_per_unit)
            if declared.are_set
            else None,
        )

    def rates(self, spec: ExperimentSpec) -> dict[Role, float]:
        """The share of the units that report in each role of users.

        Raises:
            EstimateError: If a rate is out of range.
        """
        implicit = self.feedback_rate if self.implicit_rate is None else self.implicit_rate
        if not 0 < implicit <= 1:
            raise EstimateError(f"The implicit rate is {implicit:g}; it must be in (0, 1].")
        roles = WAYS[spec.traffic.collect].roles(spec.feedback) - {Role.JUDGE}
        return {role: implicit if role is Role.IMPLICIT else self.feedback_rate for role in roles}

    def evidence_rate(self, spec: ExperimentSpec) -> float:
        """The share of the units with a report that is evidence; a unit counts once, by its first one."""
        if self.implicit_rate is None:
            return self.feedback_rate
        informing = informing_roles(spec)
        counting = (rate for role, rate in self.rates(spec).items() if role not in informing)
        return 1 - math.prod(1 - rate for rate in counting)

    def sources(self, config: GatewayConfig, name: str) -> list[ExpectedSource]:
        """The sources of an experiment, those that are evidence first."""
        spec, judge = config.experiments[name], self.judge(config, name)
        found = [*self._users(spec)]
        if judge is not None:
            counts, a_day = judge.is_evidence, judge.compared_per_day
            usd = a_day * judge.usd_each
            found.append(ExpectedSource(Role.JUDGE.value, counts, a_day, usd_per_day=usd, is_judge=True))
        if spec.prior is not None and spec.prior.run is not None:
            policies = sorted(compile_policies(config, spec), key=lambda policy: policy.name)
            text = prior_of(spec.prior.run, [policy.fingerprint for policy in policies])
            decisive = sum(map(sum, json.loads(text)[RUN])) if text else 0
            found.append(ExpectedSource(RUN, False, beforehand=decisive))
        return sorted(found, key=lambda source: not source.is_evidence)

    def _users(self, spec: ExperimentSpec) -> Iterator[ExpectedSource]:
        """What users say and do: one source if they are not told apart, and both are evidence."""
        rates, informing = self.rates(spec), informing_roles(spec)
        compared = (
            self.requests_per_day * spec.traffic.share / WAYS[spec.traffic.collect].units_per_comparison
        )
        told = {role.value: rates[role] for role in Role if role in rates and role not in informing}
        if self.implicit_rate is None and told:
            told = {" and ".join(told): self.feedback_rate}
        for name, rate in told.items():
            yield ExpectedSource(name, True, compared * rate, rate=rate)
        for role in (role for role in Role if role in rates and role in informing):
            yield ExpectedSource(role.value, False, compared * rates[role])


def has_implicit(spec: ExperimentSpec) -> bool:
    """Whether users' actions are compared in an experiment, besides what they say."""
    return Role.IMPLICIT in WAYS[spec.traffic.collect].roles(spec.feedback)
