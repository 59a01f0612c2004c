"""How a source that only informs stands beside the people whose comparisons are evidence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from gateway.experiments.plan_values import InformingSource
from gateway.llm_po.belief import gained_nats

_Z: Final = 1.959964  # of a 95 % interval


@dataclass(frozen=True, slots=True)
class SourceStanding:
    """A source that informs forecasts.

    Attributes:
        name: Where its comparisons come from.
        comparisons: How many decisive comparisons it has.
        used: The probability that the forecasts of the plan in force use it; None before they know of it.
        pairs: The number of pairs in which it and people each prefer one of the policies.
        agreed: In how many of them both prefer the same one.
        low: Lower end of a 95 % interval of that share, as if pairs were drawn at random; 0 without pairs.
        high: Its upper end; 1 without pairs.
        gained_nats: How much better people's comparisons were predicted with it than without it; None before
            the plan knows of it.
    """

    name: str
    comparisons: int
    used: float | None
    pairs: int
    agreed: int
    low: float
    high: float
    gained_nats: float | None


def standing(
    source: InformingSource, wins: Sequence[Sequence[int]], used: Mapping[str, float]
) -> SourceStanding:
    """How a source stands.

    Args:
        source: Its counts.
        wins: People's counts, K x K.
        used: The probability that the plan's forecasts use a source, by source.
    """
    leads = [
        (source.wins[first][second] - source.wins[second][first])
        * (wins[first][second] - wins[second][first])
        for first, second in combinations(range(len(wins)), 2)
    ]
    pairs, agreed = sum(lead != 0 for lead in leads), sum(lead > 0 for lead in leads)
    low, high = share_interval(agreed, pairs)
    believed = used.get(source.name)
    gained = None if believed is None else gained_nats(believed, len(used))
    return SourceStanding(source.name, source.comparisons, believed, pairs, agreed, low, high, gained)


def share_interval(part: int, whole: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share; from 0 to 1 of nothing."""
    if whole == 0:
        return 0.0, 1.0
    share, weight = part / whole, _Z**2 / whole
    centre = (share + weight / 2) / (1 + weight)
    spread = _Z * math.sqrt(share * (1 - share) / whole + weight / whole / 4) / (1 + weight)
    return max(0.0, centre - spread), min(1.0, centre + spread)
