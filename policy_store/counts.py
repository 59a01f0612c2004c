"""The frozen record of everything counted in a generation.

Evidence is in integer nano-nats, so that every replica adds and every verifier recomputes exactly the same
numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

# How many outcomes of a pair's first and of its second policy wait for one of the other.
Waiting = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Trials:
    """How often each policy was asked, and failed, since a generation began or was resumed.

    Attributes:
        since: When the first was counted, in Unix seconds by the store's clock.
        asked: By policy, those without a known end included.
        failed: By policy.
    """

    since: float
    asked: tuple[int, ...]
    failed: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Builds:
    """The builds of its model that served a policy, by what the provider named in its answers.

    Attributes:
        comparisons: Comparisons whose answer named one.
        by_build: How many of them, by digest; of the first builds only, if there are many.
        different: How many builds there are; each comparison of one beyond the first counts as another.
        changes: How often one appeared after those before it had served many comparisons.
        changed_at: The number of the comparison at which one last did; None for never.
    """

    comparisons: int
    by_build: Mapping[str, int]
    different: int
    changes: int
    changed_at: int | None


class Results(NamedTuple):
    """How often each result of a pair was counted, seen from its first policy."""

    wins: int = 0
    losses: int = 0
    ties: int = 0


SegmentCounts = Mapping[tuple[int, int], Results]
"""What was counted in one segment, by pair; only pairs with comparisons."""
Segments = Mapping[tuple[str, str], SegmentCounts]
"""What was counted in a generation by path and value, without inherited comparisons."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Everything counted so far in one generation. Matrices are K x K nested tuples.

    wins[i][j]: times i was preferred to j. ties: symmetric. evidence_nano_nats[j][k]: evidence against "j is
    preferred to k with probability at least 1/2 + epsilon". `eliminated_at[j]`: the number of the comparison
    at which row j's total first reached the elimination threshold, or None. debts_nano_nats[j]: the part of
    row j's total that removed rivals left, never above 0; empty if there is none.
    evidence_at_half_nano_nats: evidence against "with probability at least 1/2", kept if the promise needs
    it; empty if it is 0 for all. Inherited comparisons are included.
    """

    comparisons: int
    wins: tuple[tuple[int, ...], ...]
    ties: tuple[tuple[int, ...], ...]
    evidence_nano_nats: tuple[tuple[int, ...], ...]
    eliminated_at: tuple[int | None, ...]
    started_at: float  # unix seconds, by the store's clock
    now: float  # the store's clock when read
    debts_nano_nats: tuple[int, ...] = ()
    evidence_at_half_nano_nats: tuple[tuple[int, ...], ...] = ()
    policies_ever: int | None = None  # number of policies ever, including removed ones; None: only these
    inherited: int = 0  # how many of the comparisons are inherited
    inherited_from: int | None = None  # from this generation, if any
    by_source: Mapping[str, int] = field(default_factory=dict)  # without inherited comparisons
    # only pairs with waiting outcomes
    waiting: Mapping[tuple[int, int], Waiting] = field(default_factory=dict)
    reports_held: int = 0  # reports that do not count yet, because their units are too young
    votes: int = 0  # two per comparison of users who saw one answer each, one of a user who saw both
    voters: int = 0  # how many gave these votes; each vote of an unknown voter counts as a voter
    largest_voter: int = 0  # most votes of one voter
    over_key_share: int = (
        0  # reports that did not count because of their API key's share, repetitions included
    )
    # reported units, by pair, kind of coin and side
    sides: Mapping[tuple[int, int, int, int], int] = field(default_factory=dict)
    builds: Mapping[int, Builds] = field(default_factory=dict)  # without inherited comparisons
    trials: Trials | None = None  # None before the first candidate's answer or failure was counted
