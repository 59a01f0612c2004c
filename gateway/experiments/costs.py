"""The cost of an answer of each policy: declared in the file, or measured tokens times prices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from gateway.experiments.definitions import Definition
from gateway.upstream.prices import TokenPrices
from policy_store.experiment import Experiment
from policy_store.usage import Usage

CostSource = Literal["declared", "measured"]

# Measured costs are rounded to this many digits, so that chance does not decide between equals.
_SIGNIFICANT: Final = 2


@dataclass(frozen=True, slots=True)
class AnswerCosts:
    """Costs by index of the policy.

    Attributes:
        source: `declared` costs are in a unit of the operator's, `measured` ones in USD.
        per_answer: None for a policy whose price is not known or of which no answer was measured yet.
        answers: How many answers were measured; 0 for declared costs.
    """

    source: CostSource
    per_answer: tuple[float | None, ...]
    answers: tuple[int, ...]

    @property
    def deciding(self) -> tuple[float, ...]:
        """The costs that break ties between equals; none unless the costs of all policies are known."""
        known = [cost for cost in self.per_answer if cost is not None]
        if len(known) < len(self.per_answer):
            return (0.0,) * len(self.per_answer)
        if self.source == "declared":
            return tuple(known)
        return tuple(float(f"{cost:.{_SIGNIFICANT}g}") for cost in known)

    def ratio(self, policy: int, incumbent: int) -> float | None:
        """A policy's cost as a multiple of the incumbent's; None if that is not known."""
        cost, base = self.per_answer[policy], self.per_answer[incumbent]
        return cost / base if cost is not None and base else None


def answer_costs(
    experiment: Experiment,
    definition: Definition | None,
    prices: Mapping[str, TokenPrices],
    usage: Mapping[str, Usage],
) -> AnswerCosts:
    """The costs of answers.

    Args:
        experiment: As the store runs it.
        definition: The experiment in this gateway's file, which has the policies' models.
        prices: Prices of tokens, by model.
        usage: The measured tokens, by a policy's fingerprint.
    """
    if any(experiment.costs) or (definition is not None and definition.declares_costs):
        nothing = (0,) * len(experiment.costs)
        return AnswerCosts("declared", experiment.costs, nothing)
    models = {} if definition is None else {each.fingerprint: each.model for each in definition.policies}
    measured = [usage.get(fingerprint, Usage()) for fingerprint in experiment.policy_fingerprints]
    tokens = [prices.get(models.get(fingerprint, "")) for fingerprint in experiment.policy_fingerprints]
    means = (
        price.of(used.prompt_tokens, used.completion_tokens) / used.answers
        if price is not None and used.answers
        else None
        for used, price in zip(measured, tokens, strict=True)
    )
    return AnswerCosts("measured", tuple(means), tuple(used.answers for used in measured))
