"""What `/v1/experiments` shows of a promotion: its steps, and the watch over it."""

from __future__ import annotations

from pydantic import BaseModel, Field

from gateway.experiments.stages import End, comparisons_left, end_of, stage_seconds_left
from gateway.learning.progress import ExperimentProgress


class StageShown(BaseModel):
    """Where a staged promotion stands."""

    policy: str = Field(description="The certified policy.")
    step: int = Field(description="Which step it is, from 1.")
    shares: list[float] = Field(description="What the policy answers of ordinary traffic, step by step.")
    waits_for: End = Field(description="What ends the present step.")
    seconds_left: float | None = Field(description="Null where time does not end it.")
    comparisons_left: int | None = Field(description="Null where no number ends it.")

    @classmethod
    def of(cls, reading: ExperimentProgress) -> StageShown | None:
        """The stage of an experiment whose champion is promoted step by step."""
        stage, certificate = reading.view.stage, reading.view.certificate or {}
        if stage is None:
            return None
        return cls(
            policy=certificate["champion_name"],
            step=stage.step + 1,
            shares=[step.share for step in stage.steps],
            waits_for=end_of(stage.present),
            seconds_left=stage_seconds_left(stage, reading.counts.now),
            comparisons_left=comparisons_left(stage, reading.counts.comparisons),
        )


class WatchShown(BaseModel):
    """A promotion that is watched, or was."""

    is_open: bool = Field(description="Whether it goes on.")
    champion: str = Field(description="The policy promoted.")
    previous: str = Field(description="The policy it replaced.")
    share: float = Field(description="Share of the units for which the two are compared.")
    level: float = Field(description="Largest probability of rolling back although the champion is no worse.")
    margin: float = Field(description="How much less often than one half the champion may be preferred.")
    comparisons: int
    wins: int = Field(description="Comparisons in which the champion was preferred.")
    losses: int = Field(description="Comparisons in which the policy before it was.")
    comparisons_by_source: dict[str, int] = Field(description="How many comparisons came from each source.")
    nats: float = Field(description="Evidence that the champion is worse.")
    needed: float = Field(description="The evidence at which the promotion is rolled back.")
    started_at: float = Field(description="Unix seconds.")
    seconds_left: float | None = Field(description="Null where time does not end it, or it is over.")
    comparisons_left: int | None = Field(description="Null where no number ends it, or it is over.")

    @classmethod
    def of(cls, reading: ExperimentProgress) -> WatchShown | None:
        """The watch over the promotion of an experiment, if there is one."""
        found, counts = reading.watched, reading.watch_counts
        if found is None or counts is None:
            return None
        terms, figures = found.watch.terms, found.figures
        last = terms.comparisons if found.is_open else None
        return cls(
            is_open=found.is_open,
            champion=figures["champion_name"],
            previous=figures["previous_name"],
            share=terms.share,
            level=terms.level,
            margin=terms.margin,
            comparisons=figures["comparisons"],
            wins=figures["wins"],
            losses=figures["losses"],
            comparisons_by_source=dict(counts.by_source),
            nats=figures["evidence_nats"],
            needed=figures["needed_nats"],
            started_at=found.watch.started_at,
            seconds_left=found.seconds_left,
            comparisons_left=None if last is None else max(0, last - figures["comparisons"]),
        )
