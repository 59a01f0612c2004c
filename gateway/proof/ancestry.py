"""Recomputes what a generation inherited from the logs of earlier generations.

    oldest log  ->  replay up to the comparison at which it was left  ->  succeed()  ->  the next log, and so
    on

What a log says it started with is not trusted, but compared with the result of the log before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from gateway.experiments.counted import CountedComparison, PlanJoin
from gateway.llm_po.certificate import replay
from gateway.llm_po.errors import ReplayError
from gateway.llm_po.lines import checked_promise
from gateway.llm_po.stopping import Design
from gateway.llm_po.succession import GenerationStanding, succeed
from policy_store.events import LoggedEvent, LookRevealed
from policy_store.experiment import Experiment
from policy_store.log_records import Comparison, Inherited, LogRecord


@dataclass(frozen=True, slots=True)
class LoggedGeneration:
    """One generation's log, read back."""

    generation: int
    experiment: Experiment
    records: tuple[LogRecord, ...]

    @property
    def inherited(self) -> Inherited | None:
        """What the generation started with, according to its log."""
        first = self.records[0] if self.records else None
        return first if isinstance(first, Inherited) else None

    @property
    def comparisons(self) -> list[Comparison]:
        """The comparisons, in the order they were counted."""
        return [record for record in self.records if isinstance(record, Comparison)]

    def counted(self) -> Iterator[CountedComparison]:
        """The comparisons, each with both forecasts of the plan logged last before it."""
        return PlanJoin().of(self.records)

    def standing(self, *, until: int, start: GenerationStanding | None) -> GenerationStanding:
        """The state of the generation after its comparison number `until`, beginning from `start`.

        Raises:
            ReplayError: If its log cannot be replayed.
        """
        experiment = self.experiment
        design = Design(
            delta=experiment.delta,
            epsilon=experiment.epsilon,
            incumbent=experiment.incumbent,
            costs=experiment.costs,
            policies_ever=None if start is None else start.policies_ever,
            promise=checked_promise(experiment.promise),
        )
        return replay(self.counted(), design, until=until, start=start)


@dataclass(frozen=True, slots=True)
class Ancestry:
    """What the last generation started with (None for nothing), and the differences to its log."""

    start: GenerationStanding | None
    differences: tuple[str, ...]


def retrace(generations: Sequence[LoggedGeneration]) -> Ancestry:
    """What the last generation inherited, and the differences to the logs.

    Args:
        generations: Oldest first; each continued from the one before.

    Raises:
        ReplayError: If a log is missing or cannot be replayed.
    """
    oldest = generations[0]
    if oldest.inherited is not None:
        raise ReplayError(
            f"Generation {oldest.generation} continued from generation {oldest.inherited.generation}, "
            "whose log is missing; export the whole log."
        )
    start: GenerationStanding | None = None
    differences: list[str] = []
    for before, after in pairwise(generations):
        start, found = _step(before, after, start)
        differences += found
    return Ancestry(start, tuple(differences))


def _step(
    before: LoggedGeneration, after: LoggedGeneration, start: GenerationStanding | None
) -> tuple[GenerationStanding, list[str]]:
    said = after.inherited
    sources = after.experiment.sources(before.experiment)
    if said is None or said.generation != before.generation or sources is None:
        raise ReplayError(
            f"The log of generation {after.generation} does not continue from generation {before.generation}."
        )
    left = before.standing(until=said.after, start=start)
    found = succeed(left, sources, before.experiment.delta)
    tally = found.tally
    given = {
        "policies_ever": found.policies_ever,
        "comparisons": tally.comparisons,
        "wins": tally.wins.tolist(),
        "ties": tally.ties.tolist(),
        "evidence_nano_nats": tally.evidence.tolist(),
        "debts_nano_nats": tally.debts.tolist(),
        # As in logs: empty if it is zero for all.
        "evidence_at_half_nano_nats": []
        if tally.at_half is None or not tally.at_half.any()
        else tally.at_half.tolist(),
        "eliminated_at": list(found.eliminated_at),
        "sources": sources,
    }
    looked = (
        f"generation {after.generation} continued from generation {before.generation} after its last look"
        for record in before.records
        if isinstance(record, LoggedEvent) and isinstance(record.told, LookRevealed) and record.at <= said.at
    )
    return found, [*looked, *_misstated(before, after, said, given)]


def _misstated(
    before: LoggedGeneration, after: LoggedGeneration, said: Inherited, given: Mapping[str, Any]
) -> list[str]:
    """Differences between what a generation says it inherited and what the log before it gives."""
    return [
        f"inherited {name}: the log of generation {after.generation} says {as_lists(getattr(said, name))}, "
        f"that of generation {before.generation} gives {as_lists(value)}"
        for name, value in given.items()
        if as_lists(getattr(said, name)) != as_lists(value)
    ]


def as_lists(value: Any) -> Any:
    """`value` with tuples turned into lists, so that read and computed values can be compared."""
    return [as_lists(each) for each in value] if isinstance(value, Iterable) else value
