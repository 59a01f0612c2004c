"""Between the store's text and the records: what scripts take and return, and what the log holds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from policy_store.models import (
    Comparison,
    Counts,
    Event,
    Experiment,
    ExperimentState,
    ExperimentView,
    Forecast,
    LoggedPlan,
    LogRecord,
    PlannedPair,
    PublishedPlan,
    Result,
)

_MICRO = 1_000_000
_SET_BY_THE_STORE = ("version", "fence", "created_at")


def dump_json(value: Any) -> str:
    """Canonical JSON: a repeated call writes the same text, by which a script recognises it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def seconds(micros: str) -> float:
    """Unix seconds from the store's microseconds."""
    return int(micros) / _MICRO


def plan_to_json(plan: PublishedPlan) -> str:
    """The planner's part of a plan."""
    fields = asdict(plan)
    for name in _SET_BY_THE_STORE:
        del fields[name]
    fields["pairs"] = [[pair.first, pair.second, pair.probability] for pair in plan.pairs]
    return dump_json(fields)


def plan_from_json(text: str, *, version: str, fence: str, at: str) -> PublishedPlan:
    """Inverse of `plan_to_json`, with what the store set."""
    fields = json.loads(text)
    fields["pairs"] = tuple(PlannedPair(*pair) for pair in fields["pairs"])
    for name in ("evidence_nats", "needed_nats"):
        fields[name] = tuple(fields[name])
    return PublishedPlan(version=int(version), fence=int(fence), created_at=seconds(at), **fields)


def forecast_fields(forecasts: Iterable[Forecast]) -> list[str]:
    """Alternating fields and values of the forecasts hash: `first:second`, `probability,increments...`."""
    fields = []
    for forecast in forecasts:
        numbers = (forecast.probability_millionths, *forecast.increments)
        fields += [
            f"{forecast.first}:{forecast.second}",
            ",".join(str(int(number)) for number in numbers),
        ]
    return fields


def logged_forecasts(forecasts: Iterable[Forecast]) -> str:
    """Forecasts as the log holds them: `first:second:probability`, separated by spaces."""
    return " ".join(f"{each.first}:{each.second}:{each.probability_millionths}" for each in forecasts)


def view_from(reply: Sequence[Any]) -> ExperimentView:
    """From what `view` in prelude.lua returns."""
    _, generation, revision, fields = reply
    experiment, state, incumbent, version, fence, at, plan, certificate = fields
    return ExperimentView(
        experiment=Experiment.from_json(experiment),
        generation=int(generation),
        revision=int(revision),
        state=ExperimentState(state),
        incumbent=int(incumbent),
        plan=plan_from_json(plan, version=version, fence=fence, at=at) if plan else None,
        certificate=json.loads(certificate) if certificate else None,
    )


def counts_from(reply: Sequence[Any]) -> Counts:
    """From what counts.lua returns."""
    _, policies, started_at, now, flat = reply
    fields: dict[str, int] = dict(zip(flat[::2], map(int, flat[1::2]), strict=True))
    indices = range(int(policies))

    def matrix(kind: str, *, symmetric: bool = False) -> tuple[tuple[int, ...], ...]:
        def entry(row: int, column: int) -> int:
            pair = sorted((row, column)) if symmetric else (row, column)
            return fields.get(f"{kind}:{pair[0]}:{pair[1]}", 0)

        return tuple(tuple(entry(row, column) for column in indices) for row in indices)

    return Counts(
        comparisons=fields.get("comparisons", 0),
        wins=matrix("wins"),
        ties=matrix("ties", symmetric=True),
        evidence_nano_nats=matrix("evidence"),
        eliminated_at=tuple(fields.get(f"eliminated:{index}") for index in indices),
        started_at=seconds(started_at),
        now=seconds(now),
    )


def comparison_from(reply: Sequence[str], first: int, second: int) -> Comparison:
    """From what `count` in prelude.lua returns."""
    _, number, result, forecast, version, source, at = reply
    return Comparison(
        number=int(number),
        first=first,
        second=second,
        result=Result(result),
        probability_millionths=int(forecast),
        plan_version=int(version),
        source=source,
        at=seconds(at),
    )


def event_from(fields: Mapping[str, str]) -> Event:
    """From an entry of the log or of the events."""
    return Event(at=seconds(fields["at"]), kind=fields["kind"], detail=json.loads(fields["detail"]))


def log_record_from(fields: Mapping[str, str]) -> LogRecord:
    """From an entry of the log."""
    if fields["type"] == "event":
        return event_from(fields)
    if fields["type"] == "plan":
        triples = (entry.split(":") for entry in fields["forecasts"].split())
        return LoggedPlan(
            version=int(fields["version"]),
            fence=int(fields["fence"]),
            comparisons=int(fields["comparisons"]),
            forecasts=tuple((int(first), int(second), int(q)) for first, second, q in triples),
            at=seconds(fields["at"]),
        )
    return Comparison(
        number=int(fields["number"]),
        first=int(fields["first"]),
        second=int(fields["second"]),
        result=Result(fields["result"]),
        probability_millionths=int(fields["forecast"]),
        plan_version=int(fields["version"]),
        source=fields["source"],
        at=seconds(fields["at"]),
    )
