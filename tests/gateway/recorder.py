"""A hook that remembers what a gateway told, in the words tests ask in."""

from __future__ import annotations

from typing import TypeVar

from gateway.instrumentation.records import (
    AttemptEnded,
    Ejected,
    EjectionEnded,
    FellBack,
    GatewayEvent,
    ModelFellBack,
    PolicyFailed,
    RequestFinished,
    RetryRefused,
    StickySkipped,
)

Kind = TypeVar("Kind")


class Recorder:
    """A hook that remembers."""

    def __init__(self) -> None:
        self.events: list[GatewayEvent] = []

    def __call__(self, event: GatewayEvent) -> None:
        """Remember."""
        self.events.append(event)

    def of(self, kind: type[Kind]) -> list[Kind]:
        """The events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def forget(self) -> None:
        """Begin anew."""
        self.events.clear()

    @property
    def finished(self) -> list[tuple[str, int]]:
        """The endpoint and status of every request."""
        return [(event.endpoint, event.status) for event in self.of(RequestFinished)]

    @property
    def overheads(self) -> list[float]:
        """What every answered request cost."""
        seconds = [event.overhead_seconds for event in self.of(RequestFinished)]
        return [each for each in seconds if each is not None]

    @property
    def answers(self) -> list[AttemptEnded]:
        """Attempts at policies that came to their end."""
        return [event for event in self.of(AttemptEnded) if event.policy and event.ending == "answered"]

    @property
    def answered(self) -> list[tuple[str, str, str | None]]:
        """Who gave them, as what."""
        return [(event.experiment, event.policy, event.role) for event in self.answers]

    @property
    def tokens(self) -> list[tuple[str, str, int, int]]:
        """What was reported of them."""
        return [(event.experiment, event.policy, *event.tokens) for event in self.answers if event.tokens]

    @property
    def failed(self) -> list[tuple[str, str, str]]:
        """Policies that failed."""
        return [(event.experiment, event.policy, event.reason) for event in self.of(PolicyFailed)]

    @property
    def fallbacks(self) -> list[tuple[str, str]]:
        """Requests another policy answered."""
        return [(event.experiment, event.reason) for event in self.of(FellBack)]

    @property
    def model_failures(self) -> list[tuple[str, str]]:
        """Failures of models asked by their names."""
        return [
            (event.model, event.reason)
            for event in self.of(AttemptEnded)
            if event.ending == "failed" and not event.policy
        ]

    @property
    def model_fallbacks(self) -> list[tuple[str, str, str]]:
        """Requests a model's fallback answered."""
        return [(event.model, event.fallback, event.reason) for event in self.of(ModelFellBack)]

    @property
    def skipped(self) -> list[str]:
        """Experiments whose sessions were assigned without the store."""
        return [event.experiment for event in self.of(StickySkipped)]

    @property
    def ejected(self) -> list[Ejected]:
        """The respondents that were ejected."""
        return self.of(Ejected)

    @property
    def readmitted(self) -> list[EjectionEnded]:
        """Who came back."""
        return self.of(EjectionEnded)

    @property
    def refused_retries(self) -> int:
        """How many there were."""
        return len(self.of(RetryRefused))
