"""What the experiments API shows of guardrails."""

from __future__ import annotations

from pydantic import BaseModel, Field

from gateway.config.guardrails import Then
from gateway.experiments.guardrails import GuardReading, Measure
from gateway.learning.progress import ExperimentProgress
from policy_store.guard_records import Deed


class GuardrailShown(BaseModel):
    """What a guardrail says of a policy."""

    guardrail: str
    policy: str
    compared_with: str = Field(description="The policy that it is compared with.")
    finding: str = Field(description="`worse`, `not_worse` or `inconclusive`.")
    then: Then = Field(description="What happens if the policy is worse.")
    level: float = Field(description="Largest probability of ever finding a policy worse that is not.")
    pairs: int = Field(description="Pairs of answers that were counted.")
    number: float | None = Field(
        description="The policy's mean number; of latency_p95 and the like the share of slower answers."
    )
    usual: float | None = Field(description="That of the policy it is compared with.")
    nats: float = Field(description="Evidence that the policy is worse.")
    needed: float = Field(description="The evidence at which it is found worse.")
    unpriced: list[str] = Field(
        description="Of `cost`: which of the two policies have a model without a known price, so that "
        "nothing is measured."
    )
    did: Deed | None = Field(description="What was done; null unless it was found worse.")

    @classmethod
    def of(cls, reading: ExperimentProgress, found: GuardReading) -> GuardrailShown:
        """One guardrail's word on one policy."""
        experiment, numbers = reading.view.experiment, found.numbers or (None, None)
        trips = reading.view.guards.of(experiment.policy_fingerprints[found.policy])
        own = [trip.did for trip in trips if trip.guardrail == found.guardrail.name]
        return cls(
            guardrail=found.guardrail.name,
            policy=experiment.policies[found.policy],
            compared_with=experiment.policies[found.reference],
            finding=found.finding.value,
            then=found.guardrail.then,
            level=found.guardrail.level,
            pairs=found.counted,
            number=numbers[0],
            usual=numbers[1],
            nats=found.nats,
            needed=found.needed,
            unpriced=[
                experiment.policies[each]
                for each in (found.policy, found.reference)
                if found.guardrail.measure is Measure.COST and each in reading.unpriced
            ],
            did=own[-1] if own else None,
        )
