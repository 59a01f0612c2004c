"""What a generation inherited, recomputed from the logs of the generations before it.

    oldest log  ->  replay up to the comparison it was left at  ->  succeed()  ->  the next log, and so on

What a log says it started with is not taken on trust, but compared with what the log before it gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from gateway.llm_po.certificate import replay
from gateway.llm_po.errors import ReplayError
from gateway.llm_po.lines import checked_promise
from gateway.llm_po.stopping import Design
from gateway.llm_po.succession import GenerationStanding, succeed
from policy_store.models import Comparison, Experiment, Inherited, LogRecord


@dataclass(frozen=True, slots=True)
class LoggedGeneration:
    """One generation's log, read back."""

    generation: int
    experiment: Experiment
    records: tuple[LogRecord, ...]

    @property
    def inherited(self) -> Inherited | None:
        """What the log says it started with."""
        first = self.records[0] if self.records else None
        return first if isinstance(first, Inherited) else None

    @property
    def comparisons(self) -> list[Comparison]:
        """The comparisons, in the order they were counted."""
        return [record for record in self.records if isinstance(record, Comparison)]

    def standing(self, *, until: int, start: GenerationStanding | None) -> GenerationStanding:
        """Where the generation stood after its comparison number `until`, having begun from `start`.

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
        return replay(self.comparisons, design, until=until, start=start)


@dataclass(frozen=True, slots=True)
class Ancestry:
    """What the last of some generations started with (None for nothing), and where its log says otherwise."""

    start: GenerationStanding | None
    differences: tuple[str, ...]


def retrace(generations: Sequence[LoggedGeneration]) -> Ancestry:
    """What the last generation inherited, and where the logs say otherwise.

    Args:
        generations: Oldest first; each went on from the one before.

    Raises:
        ReplayError: If a log is missing or cannot be replayed.
    """
    oldest = generations[0]
    if oldest.inherited is not None:
        raise ReplayError(
            f"Generation {oldest.generation} went on from generation {oldest.inherited.generation}, "
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
            f"The log of generation {after.generation} does not go on from generation {before.generation}."
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
        # As logs have it: empty where it is zero for all.
        "evidence_at_half_nano_nats": []
        if tally.at_half is None or not tally.at_half.any()
        else tally.at_half.tolist(),
        "eliminated_at": list(found.eliminated_at),
        "sources": sources,
    }
    return found, [
        f"inherited {name}: the log of generation {after.generation} says {_plain(getattr(said, name))}, "
        f"that of generation {before.generation} gives {_plain(value)}"
        for name, value in given.items()
        if _plain(getattr(said, name)) != _plain(value)
    ]


def _plain(value: Any) -> Any:
    """`value` with every tuple in it as a list, so that what was read compares with what was computed."""
    return [_plain(each) for each in value] if isinstance(value, Iterable) else value
