"""The frozen records of a watched promotion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from policy_store.plan_records import PublishedPlan


@dataclass(frozen=True, slots=True)
class WatchTerms:
    """The terms of a watch, fixed when it begins.

    Attributes:
        share: Share of the units for which the two policies are compared; the champion answers the others.
        level: Largest probability of taking back the promotion of a policy that is no worse.
        margin: How much less often than one half the champion may be preferred.
        seconds: Longest duration of the watch, or None.
        comparisons: Number of comparisons after which it ends, or None.
    """

    share: float
    level: float
    margin: float
    seconds: float | None
    comparisons: int | None


@dataclass(frozen=True, slots=True)
class Watch:
    """A running or finished watch of a promotion.

    Its comparisons are counted in a separate run, whose number comes from the same sequence as generations.
    Counts, plan, log and units with this number belong to the watch and affect no others.

    Attributes:
        run: The number of the run.
        champion: Index of the promoted policy.
        previous: Index of the policy that it replaced.
        terms: The terms of the watch.
        started_at: Unix seconds, by the store's clock.
        plan: The plan that routers draw from; None before the first.
        verdict: The verdict, once it ended by itself.
    """

    run: int
    champion: int
    previous: int
    terms: WatchTerms
    started_at: float
    plan: PublishedPlan | None = None
    verdict: dict[str, Any] | None = None

    @property
    def pair(self) -> tuple[int, int]:
        """The two policies compared, the lower index first."""
        return min(self.champion, self.previous), max(self.champion, self.previous)
