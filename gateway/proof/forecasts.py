"""Checks that every comparison in a log was counted with a forecast published before it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from gateway.llm_po.within_plan import PlanForecasts
from gateway.proof.ancestry import LoggedGeneration
from policy_store.events import LoggedEvent
from policy_store.log_records import Comparison, Inherited, LoggedPlan

_UNPLANNED_FORECAST: Final = 500_000  # the forecast in the log for an outcome counted before the first plan


def misapplied_forecasts(logged: LoggedGeneration) -> Iterable[str]:
    """Comparisons that were not counted with the forecasts of the latest plan logged before them."""
    plan, counted = _InForce(), 0
    for number, record in enumerate(logged.records):
        match record:
            case Inherited():
                if number > 0:
                    yield f"Generation {logged.generation} inherited again after it had started."
                counted = record.comparisons
            case LoggedPlan():
                if record.version <= plan.version:
                    yield f"Plan {record.version} was logged after plan {plan.version}."
                if record.comparisons != counted:
                    yield (
                        f"Plan {record.version} claims {record.comparisons} comparisons before it; "
                        f"the log has {counted}."
                    )
                plan = _InForce(record.version, record.forecasts)
            case Comparison():
                counted += 1
                if plan.said(record) != plan.expected(record):
                    yield (
                        f"Comparison {record.number} was counted with {_shown(plan.said(record))}, "
                        f"but the plan in force gives {_shown(plan.expected(record))}."
                    )
                plan.count(record)
            case LoggedEvent():
                pass


_CountedWith = tuple[int, int, int | None]
"""Version of the plan, forecast of the bet against first, and against second where forecasts go on."""


class _InForce:
    """The plan in force, with its forecasts as they go on.

    A gateway of an earlier version that shares the store counts with forecasts as published. Its lines name
    one forecast, and move none.
    """

    def __init__(self, version: int = 0, forecasts: Iterable[tuple[int, ...]] = ()) -> None:
        self.version = version
        self._forecasts = PlanForecasts(forecasts)

    @staticmethod
    def said(record: Comparison) -> _CountedWith:
        """What the line of a comparison says of it."""
        return record.plan_version, record.probability_millionths, record.second_millionths

    def expected(self, record: Comparison) -> _CountedWith:
        """What the line has to say."""
        pair = record.first, record.second
        if pair not in self._forecasts:
            return 0, _UNPLANNED_FORECAST, None
        if record.second_millionths is None or not self._forecasts.goes_on(pair):
            return self.version, self._forecasts.as_published(pair)[0], None
        return self.version, *self._forecasts.of(pair)

    def count(self, record: Comparison) -> None:
        """Let the forecasts of its pair go on."""
        if record.second_millionths is not None:
            self._forecasts.count((record.first, record.second), record.result)


def _shown(counted_with: _CountedWith) -> str:
    version, first, second = counted_with
    if second is None:
        return f"forecast {first} of plan {version}"
    return f"forecasts {first} and {second} of plan {version}"
