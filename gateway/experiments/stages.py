"""A staged promotion: its steps as the file has them, and what the present one waits for."""

from __future__ import annotations

from typing import Literal

from gateway.config.promotion import PromotionSpec
from policy_store.counts import Counts
from policy_store.stage_records import Stage, StageStep
from policy_store.view import ExperimentView


def steps_of(promotion: PromotionSpec) -> tuple[StageStep, ...]:
    """The steps that the file lets promotions take; none where they take none."""
    return tuple(
        StageStep(step.share, step.seconds, step.comparisons, step.approval) for step in promotion.in_steps
    )


def is_step_over(view: ExperimentView, counts: Counts) -> bool:
    """Whether the present step of a staged promotion has ended by itself."""
    return view.stage is not None and view.stage.is_over(counts.now, counts.comparisons)


End = Literal["approval", "time", "comparisons"]


def end_of(step: StageStep) -> End:
    """What a step waits for."""
    if step.approval:
        return "approval"
    return "comparisons" if step.seconds is None else "time"


def stage_seconds_left(stage: Stage, now: float) -> float | None:
    """How long the present step lasts still; None where time does not end it."""
    seconds = stage.present.seconds
    return None if seconds is None else max(0.0, stage.started_at + seconds - now)


def comparisons_left(stage: Stage, counted: int) -> int | None:
    """How many comparisons more end the present step; None where no number ends it."""
    comparisons = stage.present.comparisons
    return None if comparisons is None else max(0, stage.comparisons + comparisons - counted)
