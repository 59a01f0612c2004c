"""An experiment as the configuration defines it: its record for the store, its policies for the router."""

from __future__ import annotations

import json
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.config.experiments import ExperimentSpec
from gateway.config.feedback import Missing
from gateway.errors import ConfigError
from gateway.experiments.collecting import WAYS, Way
from gateway.experiments.declared_caps import exposure_caps, exposure_issues
from gateway.experiments.exposure import ExposureCaps
from gateway.experiments.found_signals import FoundRules, found_issues
from gateway.experiments.guardrails import Guardrail, Measure, guardrail_of
from gateway.experiments.judge import CompiledJudge, counts_verdicts
from gateway.experiments.policies import CompiledPolicy
from gateway.experiments.policy_content import shown_content
from gateway.experiments.priors import informing_roles, prior_issues, prior_of
from gateway.llm_po.lines import elimination_nano_nats
from policy_store.experiment import Experiment
from policy_store.report_records import MissingVerdict
from policy_store.roles import Role
from policy_store.view import ExperimentView


@dataclass(frozen=True, slots=True)
class Definition:
    """One experiment of the configuration.

    Attributes:
        experiment: The record that fixes what its evidence means.
        policies: The policies, by their index in the record.
        spec: The experiment's section of the configuration.
        caps: The share of units that each policy may answer. They are not part of the record, because they
            do not change the meaning of the evidence.
        judge: The model that compares answers beside the traffic; None without one.
        guardrails: What is compared with the incumbent beside preferences.
    """

    experiment: Experiment
    policies: tuple[CompiledPolicy, ...]
    spec: ExperimentSpec
    caps: ExposureCaps
    judge: CompiledJudge | None = None
    guardrails: tuple[Guardrail, ...] = ()

    @property
    def contents(self) -> dict[str, dict[str, Any]]:
        """The content of its policies by fingerprint, in the form that may be kept and shown."""
        return {policy.fingerprint: shown_content(policy.content) for policy in self.policies}

    @property
    def declares_costs(self) -> bool:
        """Whether the file declares what requests of its policies cost, even if it declares 0."""
        return any("cost" in policy.model_fields_set for policy in self.spec.policies.values())

    @property
    def way(self) -> Way:
        """The record of its way of collecting."""
        return WAYS[self.spec.traffic.collect]

    @property
    def name(self) -> str:
        """The name that clients send as `model`."""
        return self.experiment.name

    @property
    def elimination_nano_nats(self) -> int:
        """Total evidence at which a policy is eliminated."""
        return elimination_nano_nats(self.experiment.delta)

    @property
    def missing(self) -> dict[Missing, MissingVerdict]:
        """What is missing counts where implicit feedback is evidence."""
        if Role.IMPLICIT in informing_roles(self.spec):
            return {}
        rules = self.way.missing_rules(self.spec.feedback)
        return {what: MissingVerdict(verdict) for what, verdict in rules.items()}

    def unpriced(self, prices: Container[str]) -> tuple[int, ...]:
        """The policies whose answers a guardrail on costs cannot measure, because their model has no price.

        Args:
            prices: The models whose price is known.
        """
        if all(each.measure is not Measure.COST for each in self.guardrails):
            return ()
        return tuple(index for index, policy in enumerate(self.policies) if policy.model not in prices)

    @property
    def informing(self) -> dict[str, Role]:
        """The signals that only inform, with their roles."""
        roles, feedback = informing_roles(self.spec), self.spec.feedback
        return {name: role for name in feedback.signals if (role := feedback.role_of(name)) in roles}

    @property
    def found(self) -> FoundRules | None:
        """What the gateway finds itself in conversations; None if nothing."""
        return FoundRules.of(self.spec.feedback)

    def is_same_as(self, other: Experiment) -> bool:
        """Whether `other` is the same experiment, apart from its incumbent."""
        return other.fingerprint() == self.experiment.fingerprint()

    def incumbent_in(self, view: ExperimentView | None) -> int:
        """Index of the store's incumbent if the file has the same policy, otherwise of the file's."""
        mine = self.experiment
        if view is None:
            return mine.incumbent
        theirs, serving = view.experiment, view.incumbent
        wanted = (theirs.policies[serving], theirs.policy_fingerprints[serving])
        candidates = list(zip(mine.policies, mine.policy_fingerprints, strict=True))
        return candidates.index(wanted) if wanted in candidates else mine.incumbent


def define(
    name: str, spec: ExperimentSpec, policies: Sequence[CompiledPolicy], judge: CompiledJudge | None = None
) -> Definition:
    """The definition of one experiment.

    Policies are indexed in the order of their names, so their order in the file does not matter. The judge is
    part of the record where its verdicts are evidence.

    Raises:
        ConfigError: If no plan can keep the exposure caps, or `promote_on` or `prior` leaves nothing.
    """
    ordered = tuple(sorted(policies, key=lambda policy: policy.name))
    names = tuple(policy.name for policy in ordered)
    fingerprints = tuple(policy.fingerprint for policy in ordered)
    issues = [*exposure_issues(name, spec), *prior_issues(name, spec, fingerprints)]
    if issues := [*issues, *found_issues(name, spec)]:
        raise ConfigError(issues)
    way, on = WAYS[spec.traffic.collect], spec.promote_on
    rules = {"unit": spec.traffic.unit, **way.outcome_rules(spec.feedback, on)}
    if on is not None:
        rules["promote_on"] = sorted(set(on))
    if judge is not None and counts_verdicts(spec):
        rules["judge"] = judge.identity
    experiment = Experiment(
        name=name,
        policies=names,
        policy_fingerprints=fingerprints,
        costs=tuple(policy.cost for policy in ordered),
        incumbent=names.index(spec.incumbent),
        delta=spec.delta,
        epsilon=spec.epsilon,
        max_comparisons=spec.max_comparisons,
        min_comparisons=spec.promotion.min_comparisons,
        min_duration_seconds=spec.promotion.min_duration.total_seconds(),
        collect=spec.traffic.collect,
        outcome_rules=json.dumps(rules, sort_keys=True, separators=(",", ":")),
        inference=inference_of(spec, names),
        promise=spec.promise,
        last_look=spec.last_look,
        prior=prior_of(None if spec.prior is None else spec.prior.run, fingerprints),
    )
    guardrails = tuple(guardrail_of(each, guardrail) for each, guardrail in spec.guardrails.items())
    return Definition(experiment, ordered, spec, exposure_caps(spec), judge, guardrails)


def inference_of(spec: ExperimentSpec, names: Sequence[str]) -> str:
    """The assumed structure, the stopping rule and the objective as text; empty if all are the defaults."""
    if (spec.space, spec.stopping, spec.objective) == ("unstructured", "e-process", "comparisons"):
        return ""
    levels = spec.levels()
    said = {
        "space": spec.space,
        "levels": [list(levels[name].values()) for name in names] if spec.space == "linear" else None,
        "axes": list(spec.grid or {}) if spec.space == "linear" else None,
        "interactions": spec.interactions if spec.space == "linear" else [],
        "stopping": spec.stopping,
        "on_misfit": spec.promotion.on_misfit,
        "objective": spec.objective,
    }
    return json.dumps(said, sort_keys=True, separators=(",", ":"))
