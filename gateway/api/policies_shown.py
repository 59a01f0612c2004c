"""What `/v1/experiments` shows of the policies of an experiment: content, evidence, costs and gain."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any, Literal

from pydantic import BaseModel, Field

from gateway.learning.progress import ExperimentProgress


class PolicyShown(BaseModel):
    """The content of a policy."""

    name: str
    fingerprint: str = Field(description="SHA-256 of the content's canonical JSON.")
    content: dict[str, Any] | None = Field(
        description="Everything that decides how the policy answers: model, prompt, parameters. Null if "
        "`policies_shown: names` hides it. With `redacted`, parts that look like secrets are blanked."
    )


class EvidenceOfPolicy(BaseModel):
    """How much evidence one policy has gathered towards the line."""

    policy: str
    nats: float
    needed: float | None
    eliminated_at: int | None = Field(
        description="The comparison that ruled the policy out as the winner; null with a margin."
    )

    @classmethod
    def each(cls, reading: ExperimentProgress) -> list[EvidenceOfPolicy]:
        """The evidence of every policy of an experiment."""
        plan, experiment = reading.view.plan, reading.view.experiment
        eliminates = experiment.epsilon == 0
        return [
            cls(
                policy=policy,
                nats=plan.proposal.evidence_nats[index] if plan else 0.0,
                needed=plan.proposal.needed_nats[index] if plan else None,
                eliminated_at=reading.counts.eliminated_at[index] if eliminates else None,
            )
            for index, policy in enumerate(experiment.policies)
        ]


class PolicyCost(BaseModel):
    """The cost of one answer of a policy."""

    policy: str
    per_answer: float | None = Field(description="Null if it is not known.")
    answers: int = Field(description="How many answers were measured.")


class AnswerCostsShown(BaseModel):
    """The costs of answers."""

    source: Literal["declared", "measured"] = Field(
        description="`declared` in the file, in any unit; otherwise `measured` tokens times prices, in USD."
    )
    policies: list[PolicyCost]

    @classmethod
    def of(cls, reading: ExperimentProgress) -> AnswerCostsShown:
        """The costs of every policy of an experiment."""
        costs, policies = reading.costs, reading.view.experiment.policies
        each = zip(policies, costs.per_answer, costs.answers, strict=True)
        shown = [PolicyCost(policy=name, per_answer=cost, answers=answers) for name, cost, answers in each]
        return cls(source=costs.source, policies=shown)


class ReportingShown(BaseModel):
    """How often the answers of a policy are reported, beside those of the policies it is compared with."""

    policy: str
    reported: int = Field(description="Units that it answered and that were reported.")
    expected: float = Field(description="How many there would be if all policies were reported alike.")
    times: float | None = Field(
        description="How many times as often its answers are reported as the others'; null if only its are."
    )
    low: float = Field(description="Lower end of a 95 % interval of `times`.")
    high: float | None = Field(description="Upper end; null if there is none.")

    @classmethod
    def each(cls, reading: ExperimentProgress) -> list[ReportingShown]:
        """Those of every policy of which a report tells."""
        policies = reading.view.experiment.policies
        return [
            cls(
                policy=policies[found.policy],
                reported=found.reported,
                expected=found.expected,
                times=_bounded(found.times),
                low=found.low,
                high=_bounded(found.high),
            )
            for found in reading.reporting
        ]


def _bounded(value: float) -> float | None:
    return value if math.isfinite(value) else None


class GainShown(BaseModel):
    """How much more often a policy is preferred to the incumbent, by decisive comparisons of the two."""

    policy: str = Field(description="The champion; before the decision, the policy ahead.")
    incumbent: str = Field(description="The incumbent; after the decision, the one before it.")
    wins: int
    losses: int
    preference: float | None = Field(description="Share of these comparisons that the policy won.")
    low: float = Field(
        description="Lower end of the interval for the probability that the policy is preferred."
    )
    high: float = Field(description="Upper end.")
    confidence: float = Field(
        description="Confidence with which the intervals of all rivals hold, at any time."
    )
    cost_ratio: float | None = Field(
        description="Cost of one of its answers, as a multiple of the incumbent's."
    )

    @classmethod
    def of(cls, reading: ExperimentProgress) -> GainShown | None:
        """The gain of an experiment; None while the incumbent itself is ahead, and if it won."""
        found, policies = reading.gain, reading.view.experiment.policies
        if found is None:
            return None
        ratio = reading.costs.ratio(policies.index(found.policy), policies.index(found.incumbent))
        return cls(**asdict(found), cost_ratio=ratio)
