"""Events in words that last: the names of policies instead of their positions in one generation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from policy_store.events import EventKind, LoggedEvent
from policy_store.models import Experiment

_POLICIES: Final = (
    "policy",
    "champion",
    "incumbent",
    "incumbent_before",
)  # fields of details that hold a position


def generation_of(event: LoggedEvent) -> int | None:
    """The generation an event belongs to, where it says so."""
    generation = event.detail.get("generation")
    return generation if isinstance(generation, int) else None


def told(events: Iterable[LoggedEvent], generations: Mapping[int, Experiment]) -> list[LoggedEvent]:
    """Events as users and scripts should read them.

    With a margin no policy is ever eliminated: its evidence reaches the line, and that decides nothing alone.
    Versions before this one wrote such events all the same.

    Args:
        events: As they are stored.
        generations: The experiment in each generation. A position in one that is not known stays a number.
    """
    found = ((event, generations.get(generation_of(event) or 0)) for event in events)
    return [
        replace(event, detail=_named(event, experiment))
        for event, experiment in found
        if event.kind != EventKind.ELIMINATED or experiment is None or experiment.epsilon == 0
    ]


def _named(event: LoggedEvent, experiment: Experiment | None) -> dict[str, object]:
    policies = () if experiment is None else experiment.policies
    return {
        field: policies[value]
        if field in _POLICIES and isinstance(value, int) and 0 <= value < len(policies)
        else value
        for field, value in event.detail.items()
    }
