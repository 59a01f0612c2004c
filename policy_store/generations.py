"""The generations of an experiment that the store keeps; a file that defines one of them returns to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from policy_store.experiment import Experiment
from policy_store.scripting import StorePart
from policy_store.states import ExperimentState

_FINGERPRINT: Final = "fingerprint:"


@dataclass(frozen=True, slots=True)
class KeptGeneration:
    """A stored generation.

    Attributes:
        number: Its number.
        state: Its state.
        serves: The policy that serves in it.
    """

    number: int
    state: ExperimentState
    serves: str


class GenerationBook(StorePart):
    """Reads the data by which `register.lua` decides."""

    async def read(self, name: str) -> dict[str, KeptGeneration]:
        """The generations of an experiment, by the fingerprint of the definition that leads back to them."""
        control: dict[str, str] = await self._answer(
            self._redis.hgetall(self._names.experiment(name).control)
        )
        kept = {}
        for field, number in control.items():
            if field.startswith(_FINGERPRINT):
                policies = Experiment.from_json(control[f"{number}:experiment"]).policies
                serves = policies[int(control[f"{number}:incumbent"])]
                state = ExperimentState(control[f"{number}:state"])
                kept[field.removeprefix(_FINGERPRINT)] = KeptGeneration(int(number), state, serves)
        return kept
