"""Checks that every comparison in a log was counted with a forecast published before it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from gateway.proof.ancestry import LoggedGeneration
from policy_store.events import LoggedEvent
from policy_store.log_records import Comparison, Inherited, LoggedPlan

_UNPLANNED_FORECAST: Final = 500_000  # the forecast in the log for an outcome counted before the first plan


def misapplied_forecasts(logged: LoggedGeneration) -> Iterable[str]:
    """Comparisons that were not counted with the forecast of the latest plan logged before them."""
    version, forecasts, counted = 0, dict[tuple[int, int], int](), 0
    for number, record in enumerate(logged.records):
        match record:
            case Inherited():
                if number > 0:
                    yield f"Generation {logged.generation} inherited again after it had started."
                counted = record.comparisons
            case LoggedPlan():
                if record.version <= version:
                    yield f"Plan {record.version} was logged after plan {version}."
                if record.comparisons != counted:
                    yield (
                        f"Plan {record.version} claims {record.comparisons} comparisons before it; "
                        f"the log has {counted}."
                    )
                version = record.version
                forecasts = {(first, second): q for first, second, q, *_ in record.forecasts}
            case Comparison():
                counted += 1
                pair = (record.first, record.second)
                expected = (version, forecasts[pair]) if pair in forecasts else (0, _UNPLANNED_FORECAST)
                found = (record.plan_version, record.probability_millionths)
                if found != expected:
                    yield (
                        f"Comparison {record.number} was counted with forecast {found[1]} of plan "
                        f"{found[0]}; plan {expected[0]} in force said {expected[1]}."
                    )
            case LoggedEvent():
                pass
