"""The frozen definition of an experiment, and which of its evidence a later definition may use.

A candidate is known in the store by its index in `Experiment.policies`; the order is fixed for a generation.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

EXPERIMENT_SCHEMA: Final = 1
_EXACT: Final = "e-process"  # rules that decide by the counts alone are not proven if policies change
_UNSTATED_PROMISE: Final = "no_worse_than_any"  # the promise of records from before there was a choice


@dataclass(frozen=True, slots=True)
class Experiment:
    """Everything that fixes the meaning of an experiment's evidence; any change makes a new generation.

    Attributes:
        name: The name clients send as `model`.
        policies: Names, in the order of their indices.
        policy_fingerprints: Content hash of each policy, in the same order; a changed policy is a new one.
        costs: Declared cost per request of each policy, all in the same unit; breaks ties between equals.
        incumbent: Index of the policy that serves until a promotion.
        delta: Error level in (0, 1).
        epsilon: Smallest preference margin that matters, in [0, 1/2).
        max_comparisons: Budget, or None.
        min_comparisons: No decision before this many comparisons.
        min_duration_seconds: No decision before this time after the start.
        collect: `matched` or `side_by_side`.
        outcome_rules: Canonical JSON of the rules that turn feedback into outcomes (signals and their
            weights, ties, units). Evidence collected under other rules has another meaning.
        inference: Canonical JSON of the assumed structure, the stopping rule and the objective; empty if
            nothing is assumed and the exact evidence decides.
        promise: With a margin: which policies may not be preferred to the promoted one by more than the
            margin.
        last_look: Whether the end of the budget is a last look at a lower line.
        prior: Canonical JSON of counts from elsewhere that inform forecasts; empty if there are none.
    """

    name: str
    policies: tuple[str, ...]
    policy_fingerprints: tuple[str, ...]
    costs: tuple[float, ...]
    incumbent: int
    delta: float
    epsilon: float
    max_comparisons: int | None
    min_comparisons: int
    min_duration_seconds: float
    collect: str
    outcome_rules: str
    inference: str = ""
    promise: str = _UNSTATED_PROMISE
    last_look: bool = False
    prior: str = ""

    def to_json(self) -> str:
        """Canonical JSON: equal experiments give equal text."""
        content = {"schema": EXPERIMENT_SCHEMA, **asdict(self)}
        unstated_fields = (
            ("inference", ""),
            ("promise", _UNSTATED_PROMISE),
            ("last_look", False),
            ("prior", ""),
        )
        for name, unstated in unstated_fields:
            # as in records from before there was a choice, so that running experiments continue
            if content[name] == unstated:
                del content[name]
        return json.dumps(content, sort_keys=True, separators=(",", ":"))

    def fingerprint(self) -> str:
        """The name of a generation; equal for experiments that differ only in name and incumbent."""
        text = replace(self, name="", incumbent=0).to_json()
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def decides_by_evidence(self) -> bool:
        """Whether the exact evidence decides, and not a rule on the counts alone."""
        inference = json.loads(self.inference) if self.inference else {}
        return bool(inference.get("stopping", _EXACT) == _EXACT)

    def sources(self, before: Experiment) -> tuple[int | None, ...] | None:
        """Where an earlier definition has the counts between these policies.

        Returns:
            For each policy its index in `before`, or None for a newcomer; a policy is the same if name and
            content are. None for all if fewer than two are the same, if evidence has another meaning there,
            or if the decision does not depend on it.
        """
        return None if self.breaks_with(before) else self.places_in(before)

    def breaks_with(self, before: Experiment) -> tuple[str, ...]:
        """What keeps everything counted in an earlier definition from counting here; empty if nothing does.

        Returns:
            Names of the fields that give evidence another meaning; `stopping` where a rule does not allow it,
            `policies` where fewer than two are the same.
        """
        mine, earlier = _meaning(self), _meaning(before)
        broken = [name for name, value in mine.items() if value != earlier[name]]
        if not (self.decides_by_evidence and before.decides_by_evidence):
            broken.append("stopping")
        if not self.places_in(before):
            broken.append("policies")
        return tuple(broken)

    def places_in(self, before: Experiment) -> tuple[int | None, ...]:
        """For each policy its index in an earlier definition, or None for one that is new by name or content.

        Empty if fewer than two are the same, so that nothing was counted between them.
        """
        there = {
            policy: index
            for index, policy in enumerate(zip(before.policies, before.policy_fingerprints, strict=True))
        }
        here = zip(self.policies, self.policy_fingerprints, strict=True)
        places = tuple(there.get(policy) for policy in here)
        return places if len(places) - places.count(None) >= _FEWEST_KEPT else ()

    @classmethod
    def from_json(cls, text: str | bytes) -> Experiment:
        """The experiment in a text from `to_json`."""
        fields: dict[str, Any] = json.loads(text)
        fields.pop("schema")
        for name in ("policies", "policy_fingerprints", "costs"):
            fields[name] = tuple(fields[name])
        return cls(**fields)


_FEWEST_KEPT: Final = 2
# Only these fields may change while the evidence between two policies keeps its meaning.
_FREE_FIELDS: Final = (
    *("name", "policies", "policy_fingerprints", "costs", "incumbent"),
    *("max_comparisons", "min_comparisons", "min_duration_seconds"),
    "last_look",  # nothing goes on from a generation whose look was taken; the store checks that
    *("inference", "prior"),  # these change forecasts, and any forecast keeps the evidence exact
)


def _meaning(experiment: Experiment) -> dict[str, Any]:
    return {name: value for name, value in asdict(experiment).items() if name not in _FREE_FIELDS}
