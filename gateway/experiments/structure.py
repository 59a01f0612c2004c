"""Translates what the store says about an experiment's structure and objective into arrays of `llm_po`.

It loads numpy, so only code that computes plans or verifies decisions imports it, never the server process.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.llm_po.stopping import Objective, StoppingRule
from gateway.llm_po.structured.features import Features, coded, one_hot


@dataclass(frozen=True, slots=True)
class Structure:
    """The part of a design that follows from an experiment's words.

    Attributes:
        features: The policies' features, or None if nothing is assumed.
        stopping: The rule that decides.
        holds_on_misfit: Whether decisions wait while the structure does not fit.
        objective: What plans keep small.
    """

    features: Features | None = None
    stopping: StoppingRule = "e-process"
    holds_on_misfit: bool = True
    objective: Objective = "comparisons"


def structure_of(inference: str, policies: Sequence[str]) -> Structure:
    """The structure that `Experiment.inference` describes for policies with these names."""
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
