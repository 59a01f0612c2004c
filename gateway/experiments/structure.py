"""What an experiment assumes and saves: the store's words turned into the arrays of `llm_po`.

Imported where plans are computed and decisions verified, never by the server process: it loads numpy.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.llm_po.stopping import Objective, StoppingRule
from gateway.llm_po.structured.features import Features, coded, one_hot


@dataclass(frozen=True, slots=True)
class Structure:
    """What a design takes from an experiment's words.

    Attributes:
        features: Of the policies, or None where nothing is assumed.
        stopping: Which rule decides.
        holds_on_misfit: Whether decisions wait while the structure does not fit.
        objective: What plans spend as little of as possible.
    """

    features: Features | None = None
    stopping: StoppingRule = "e-process"
    holds_on_misfit: bool = True
    objective: Objective = "comparisons"


def structure_of(inference: str, policies: Sequence[str]) -> Structure:
    """What `Experiment.inference` says about the policies of these names."""
    if not inference:
        return Structure()
    said = json.loads(inference)
    features = None
    if said["space"] == "bradley_terry":
        features = one_hot(len(policies))
    elif said["space"] == "linear":
        axes = dict(zip(said["axes"], zip(*said["levels"], strict=True), strict=True))
        groups = tuple(tuple(group) for group in said["interactions"])
        features = coded(axes, groups, tuple(policies))
    return Structure(features, said["stopping"], said["on_misfit"] == "hold", said["objective"])
