"""The frozen records of a watched promotion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from policy_store.models import PublishedPlan


@dataclass(frozen=True, slots=True)
class WatchTerms:
    """How a promotion is watched, fixed when the watch begins.

    Attributes:
        share: Share of the units for which the two policies are compared; the champion answers the others.
        level: Largest probability of taking back a promotion to a policy no worse.
        margin: How much less often than one half the champion may be preferred.
        seconds: How long the watch lasts at most, or None.
        comparisons: After how many comparisons it ends, or None.
    """

    share: float
    level: float
    margin: float
    seconds: float | None
    comparisons: int | None


@dataclass(frozen=True, slots=True)
class Watch:
    """A promotion being watched, or watched until it ended.

    What is compared meanwhile is counted in a run of its own, with a number from the same row as generations:
    the store's counts, plan, log and units of that number are the watch's, and touch no others.

    Attributes:
        run: That number.
        champion: Index of the policy promoted.
        previous: Index of the one it replaced.
        terms: How it is watched.
        started_at: Unix seconds, by the store's clock.
        plan: What routers draw from; None before the first.
        verdict: What it came to, once it ended by itself.
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
