"""Checks the logs of what only informed forecasts: no promise rests on them, but nothing may be made up.

Where a generation went on with what informed the one before, its log begins with the counts it took over.
They are not trusted, but compared with what the log before gives, up to the comparison at which it was left.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from gateway.proof.ancestry import LoggedGeneration, as_lists
from gateway.proof.recorded import RecordedExperiment
from policy_store.log_records import Comparison, Inherited, Result
from policy_store.roles import Role


def misinformed(recorded: RecordedExperiment) -> Iterator[str]:
    """Records among those that only informed that are no such comparisons, or do not follow."""
    for role, logs in recorded.informing.items():
        differences = [difference for log in logs for difference in _misplaced(role, log)]
        yield from differences or _misinherited(role, logs)


def _misplaced(role: Role, log: LoggedGeneration) -> Iterator[str]:
    """Records that cannot stand where they do."""
    policies, inherited = len(log.experiment.policies), log.inherited
    records, before = log.records, 0
    if inherited is not None:
        if not _is_of(policies, inherited):
            yield (
                f"What generation {log.generation} went on with as {role} are no counts of {policies} "
                "policies that only informed."
            )
            return
        records, before = records[1:], inherited.comparisons
    for number, record in enumerate(records, start=before + 1):
        if not isinstance(record, Comparison):
            yield f"Record {number} of what informed as {role} is no comparison."
        elif record.number != number or not 0 <= record.first < record.second < policies:
            yield f"Comparison {record.number} that informed as {role} stands at place {number}."
        elif record.plan_version != 0:
            yield f"Comparison {number} informed as {role}, and was counted with a forecast as well."


def _is_of(policies: int, inherited: Inherited) -> bool:
    """Whether what is inherited are counts of so many policies, and no evidence."""
    rows = [*inherited.wins, *inherited.ties]
    numbers = [inherited.after, inherited.comparisons, *(each for row in rows for each in row)]
    is_whole = len(inherited.wins) == len(inherited.ties) == policies and {*map(len, rows)} == {policies}
    is_evidence = any(map(any, inherited.evidence_nano_nats)) or any(inherited.debts_nano_nats)
    return is_whole and not is_evidence and all(isinstance(each, int) for each in numbers)


def _misinherited(role: Role, logs: Sequence[LoggedGeneration]) -> Iterator[str]:
    """What does not follow from the log before; `logs` are newest first, and no record is misplaced."""
    oldest = logs[-1]
    if oldest.inherited is not None:
        yield (
            f"Generation {oldest.generation} went on with what informed generation "
            f"{oldest.inherited.generation} as {role}, whose log is missing; export the whole log."
        )
    for after, before in pairwise(logs):
        said = after.inherited
        if said is None or said.generation != before.generation:
            yield (
                f"What informed generation {after.generation} as {role} does not go on from generation "
                f"{before.generation}."
            )
            continue
        yield from (
            f"{name} of what informed as {role}: the log of generation {after.generation} says "
            f"{getattr(said, name)}, that of generation {before.generation} gives {value}"
            for name, value in _given(before, after, said.after).items()
            if as_lists(getattr(said, name)) != value
        )


def _given(before: LoggedGeneration, after: LoggedGeneration, until: int) -> Mapping[str, Any]:
    """What a log begins with, from the one before it up to a comparison."""
    wins, ties, number = _counted(before, until)
    sources = after.experiment.places_in(before.experiment)
    wins, ties = _moved(wins, sources), _moved(ties, sources)
    comparisons = sum(map(sum, wins)) + sum(map(sum, ties)) // 2
    return {"after": number, "sources": list(sources), "comparisons": comparisons, "wins": wins, "ties": ties}


def _counted(log: LoggedGeneration, until: int) -> tuple[list[list[int]], list[list[int]], int]:
    """Wins and ties up to a comparison, and its number; the last one's if there are fewer."""
    size, start = range(len(log.experiment.policies)), log.inherited
    wins = [[0 if start is None else start.wins[row][column] for column in size] for row in size]
    ties = [[0 if start is None else start.ties[row][column] for column in size] for row in size]
    number = 0 if start is None else start.comparisons
    for each in log.comparisons:
        if each.number > until:
            break
        number, pair = each.number, (each.first, each.second)
        if each.result == Result.TIE:
            ties[each.first][each.second] += 1
            ties[each.second][each.first] += 1
        else:
            winner, loser = pair if each.result == Result.WIN else pair[::-1]
            wins[winner][loser] += 1
    return wins, ties, number


def _moved(matrix: Sequence[Sequence[int]], sources: Sequence[int | None]) -> list[list[int]]:
    """A matrix in the order of other policies, 0 for newcomers."""
    return [
        [0 if row is None or column is None else matrix[row][column] for column in sources] for row in sources
    ]
