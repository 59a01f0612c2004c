"""The frozen records of a staged promotion."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StageStep:
    """One step of a staged promotion. All but the last say what ends them, by one of the three.

    Attributes:
        share: Share of the ordinary traffic that the champion answers; 1 for the last, the promotion itself.
        seconds: For how long.
        comparisons: Until so many comparisons more are counted.
        approval: Until a person approves.
    """

    share: float
    seconds: float | None = None
    comparisons: int | None = None
    approval: bool = False


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a staged promotion stands. Its steps are those of the file when it began.

    Attributes:
        steps: All of them.
        step: Index of the present one; the last is never present, since it is the promotion.
        started_at: When the present one began, in Unix seconds by the store's clock.
        comparisons: How many comparisons had been counted then.
    """

    steps: tuple[StageStep, ...]
    step: int
    started_at: float
    comparisons: int

    @property
    def present(self) -> StageStep:
        """The present step."""
        return self.steps[self.step]

    @property
    def is_last(self) -> bool:
        """Whether the promotion itself comes next."""
        return self.step + 2 == len(self.steps)

    def is_over(self, now: float, comparisons: int) -> bool:
        """Whether the present step ends by itself, at a moment and with so many comparisons counted."""
        step = self.present
        if step.seconds is not None:
            return now >= self.started_at + step.seconds
        return step.comparisons is not None and comparisons >= self.comparisons + step.comparisons
