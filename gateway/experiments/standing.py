"""The state of an experiment in the store, as far as the effect of another file depends on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from policy_store.generations import KeptGeneration
from policy_store.states import ExperimentState


@dataclass(frozen=True, slots=True)
class ExperimentStanding:
    """The state of one experiment.

    Attributes:
        state: State of the current generation.
        generation: Its number.
        incumbent: The policy that serves.
        comparisons: How many were counted.
        generations: Every generation the store keeps, by the fingerprint of its definition.
        took_last_look: Whether its last look was taken, so that nothing goes on from it.
    """

    state: ExperimentState
    generation: int
    incumbent: str
    comparisons: int
    generations: Mapping[str, KeptGeneration]
    took_last_look: bool = False

    @property
    def ended(self) -> str | None:
        """What keeps the current generation from being continued, or None."""
        if self.took_last_look:
            return "took its last look"
        return None if self.state.facts.may_be_continued else f"is {self.state.facts.label}"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> ExperimentStanding:
        """Inverse of `to_json`.

        Raises:
            AttributeError, KeyError, TypeError, ValueError: If it is none.
        """
        known = {
            fingerprint: KeptGeneration(each["number"], ExperimentState(each["state"]), each["serves"])
            for fingerprint, each in said["generations"].items()
        }
        return cls(
            ExperimentState(said["state"]),
            said["generation"],
            said["incumbent"],
            said["comparisons"],
            known,
            bool(said.get("took_last_look")),
        )
