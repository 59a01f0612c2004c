"""The errors of the algorithm core; every message names the value and the remedy.

LlmPoError
+-- TallyError         counts that cannot have come from comparisons (shape, sign, symmetry)
+-- DesignError        error level, margin, budget or incumbent out of range
+-- ForecastError      a forecast that may not be published
+-- ReplayError        a comparison log that cannot be replayed
+-- FeatureError       features that are not numbers, or that cannot tell two policies apart
+-- WorldError         a malformed preference world
|   +-- NoChampionError  a world in which no policy beats every other: its hardness is undefined
+-- UnsupportedError   a method, stopping rule or space that does not exist; lists those that do
+-- SolverError        a solver did not reach an optimum

Retrying unchanged never helps.
"""

from __future__ import annotations


class LlmPoError(Exception):
    """Base of every error that the algorithm core raises on purpose."""


class TallyError(LlmPoError):
    """Counts or evidence that no sequence of comparisons can produce."""


class DesignError(LlmPoError):
    """An experiment's design is out of range."""


class ForecastError(LlmPoError):
    """A forecast outside the range in which the evidence stays bounded."""


class ReplayError(LlmPoError):
    """A comparison log with gaps, unknown policies or unknown results."""


class FeatureError(LlmPoError):
    """Features or a grid that define no structured space."""


class WorldError(LlmPoError):
    """A preference world that is malformed."""


class NoChampionError(WorldError):
    """No policy of the world beats every other, so there is nothing to identify."""


class UnsupportedError(LlmPoError):
    """A name that is not among the supported ones."""

    def __init__(self, kind: str, value: str, supported: tuple[str, ...]) -> None:
        super().__init__(f"{kind} {value!r} is not supported; use one of: {', '.join(supported)}.")
        self.supported = supported


class SolverError(LlmPoError):
    """A solver stopped without an optimum."""
