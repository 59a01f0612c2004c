"""Logged comparisons with all that they were counted with, which is in part in the line of their plan."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from policy_store.log_records import Comparison, LoggedPlan, LogRecord


@dataclass(frozen=True, slots=True)
class CountedComparison:
    """A comparison with both forecasts, and its voters as the log has them."""

    number: int
    first: int
    second: int
    result: str
    probability_millionths: int
    second_millionths: int | None
    plan_version: int
    voters: tuple[str, ...] = ()


class PlanJoin:
    """Joins comparisons with the plan logged last before them, record by record."""

    def __init__(self) -> None:
        self._seconds: dict[tuple[int, int], int | None] = {}

    def of(self, records: Iterable[LogRecord]) -> Iterator[CountedComparison]:
        """The comparisons among the next records of a log."""
        for record in records:
            if isinstance(record, LoggedPlan):
                self._seconds = {(each[0], each[1]): (*each, None)[3] for each in record.forecasts}
            elif isinstance(record, Comparison):
                second = record.second_millionths
                yield CountedComparison(
                    record.number,
                    record.first,
                    record.second,
                    record.result,
                    record.probability_millionths,
                    self._seconds.get((record.first, record.second)) if second is None else second,
                    record.plan_version,
                    record.voters,
                )
