"""What events say of reports, and of the answers that they are about."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Corrected:
    """A unit said something else, before anything was made of what it said first."""

    generation: int
    unit: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class ServedChanged:
    """Another build of its model serves a policy, after those before had served many comparisons.

    Attributes:
        build: Digest of what the provider says it is.
        comparison: Number of the first comparison that it served.
        policy: Index of the policy; gateways show its name instead.
        generation: The generation; in a watch, the one whose promotion is watched.
    """

    build: str
    comparison: int
    policy: int | str
    generation: int
