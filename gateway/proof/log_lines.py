"""The lines of an experiment's exported log. The names of the fields are a public interface.

The first line says what the experiment is and what was decided; the others are the store's append-only log,
oldest first. Where comparisons only informed forecasts, those of each role follow after a line of its own;
where those of the generation before go on informing, they follow after another one, and so on.
Where a promotion was watched, the log of the watch follows after a line of its own. Where the generation
went on from another, the other's log follows after a line of its own, up to the comparison after which it
was left; and so on.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any, Final

import orjson

from gateway.llm_po.scalars import is_real, shown
from policy_store.events import LoggedEvent
from policy_store.experiment import Experiment
from policy_store.log_records import Comparison, Inherited, LoggedPlan, LogRecord
from policy_store.roles import Role
from policy_store.states import ExperimentState
from policy_store.watch_records import Watch, WatchTerms

LOG_SCHEMA: Final = 1
_NOTED: Final = frozenset({"units", "given_at", "position", "served", "segments", "second_millionths"})
_LISTS: Final = ("voters", "units", "given_at", "served")
_WHOLE: Final = {
    "comparison": ("number", "first", "second", "probability_millionths", "plan_version"),
    "plan": ("version", "fence", "comparisons"),
    "event": (),
    "inherited": ("generation", "after", "comparisons"),
}
"""For each type of record, what is a whole number in it."""
# Later versions may say more of a comparison; no promise rests on that.
_COMPARISON: Final = frozenset(Comparison.__dataclass_fields__) - {*_LISTS, "segments"}


def header_line(
    experiment: Experiment,
    *,
    generation: int,
    state: ExperimentState,
    incumbent: str,
    certificate: dict[str, Any] | None,
) -> bytes:
    """The first line."""
    return _line(
        {
            "type": "experiment",
            "schema": LOG_SCHEMA,
            "name": experiment.name,
            "generation": generation,
            "state": state.value,
            "incumbent": incumbent,
            "experiment": json.loads(experiment.to_json()),
            "certificate": certificate,
        }
    )


def ancestor_line(generation: int, experiment: Experiment) -> bytes:
    """The line before the log of a generation that a later one continued from."""
    return _line(
        {"type": "ancestor", "generation": generation, "experiment": json.loads(experiment.to_json())}
    )


def watch_line(watch: Watch) -> bytes:
    """The line before the log of a watch."""
    return _line(
        {
            "type": "watch",
            "run": watch.run,
            "champion": watch.champion,
            "previous": watch.previous,
            "terms": asdict(watch.terms),
            "started_at": watch.started_at,
            "verdict": watch.verdict,
        }
    )


def informing_line(role: Role) -> bytes:
    """The line before the comparisons that only informed forecasts, in a role."""
    return _line({"type": "informing", "role": role.value})


def informed_before_line(role: Role, generation: int, experiment: Experiment) -> bytes:
    """The line before those of an earlier generation, which a later one went on with."""
    about = {"generation": generation, "experiment": json.loads(experiment.to_json())}
    return _line({"type": "informing", "role": role.value, **about})


def logged_watch(fields: dict[str, Any]) -> Watch:
    """Inverse of `watch_line`.

    Raises:
        KeyError, TypeError: If the line is not one of those.
    """
    values = {name: value for name, value in fields.items() if name != "type"}
    return Watch(**{**values, "terms": WatchTerms(**values["terms"])})


def record_line(record: LogRecord) -> bytes:
    """The line of one record."""
    return _line(record_fields(record))


def _line(fields: dict[str, Any]) -> bytes:
    return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)


def record_fields(record: LogRecord) -> dict[str, Any]:
    """One record as the fields of its line."""
    match record:
        case Comparison():
            # What earlier versions did not log is left out where nothing is known.
            said = asdict(record).items()
            known = {name: value for name, value in said if name not in _NOTED or value not in (None, (), {})}
            return {"type": "comparison", **known}
        case LoggedPlan():
            return {"type": "plan", **asdict(record)}
        case LoggedEvent():
            return {"type": "event", **asdict(record)}
        case Inherited():
            fields = {"type": "inherited", **asdict(record)}
            if not record.evidence_at_half_nano_nats:  # as in logs from before there was any
                del fields["evidence_at_half_nano_nats"]
            return fields


def record_from(fields: dict[str, Any]) -> LogRecord:
    """The record in a line; the inverse of `record_fields`.

    Raises:
        KeyError, TypeError, ValueError: If the line is no record.
    """
    values = dict(fields)
    kind = values.pop("type")
    is_both = values.get("second_millionths") is not None
    for name in (*_WHOLE.get(kind, ()), *(("second_millionths",) if is_both else ())):
        if type(values[name]) is not int:
            raise ValueError(f"{name} is {shown(values[name])}, which is no whole number")
    if not is_real(values.get("at", 0)):
        raise ValueError(f"at is {shown(values['at'])}, which is no time")
    match kind:
        case "comparison":
            if not isinstance(values["source"], str):
                raise TypeError(f"source is {shown(values['source'])}, which names no source")
            known = {name: value for name, value in values.items() if name in _COMPARISON}
            known.update((name, tuple(values.get(name, ()))) for name in _LISTS)
            return Comparison(**known, segments=_segments(values.get("segments", {})))
        case "plan":
            values["forecasts"] = tuple(_forecast(*each) for each in values["forecasts"])
            return LoggedPlan(**values)
        case "event":
            if not isinstance(values["kind"], str) or not isinstance(values["detail"], dict):
                raise TypeError("an event has a kind and a detail")
            return LoggedEvent(**values)
        case "inherited":
            return Inherited(**values)
        case other:
            raise ValueError(f"unknown type {other!r}")


def _segments(said: Any) -> dict[str, str]:
    """The segments of a comparison; earlier versions logged none."""
    if not isinstance(said, dict) or not all(isinstance(value, str) for value in said.values()):
        raise ValueError(f"segments is {shown(said)}, which names no segments")
    return said


def _forecast(first: int, second: int, q: int, *others: int) -> tuple[int, ...]:
    """What a plan says of a pair: one or two forecasts, as in earlier logs, or two with their weights."""
    match others:
        case () | (_,):
            pass
        case _, own, rival if min(own, rival) >= 1:
            pass
        case _:
            raise ValueError(f"the pair {first}, {second} has forecasts {shown([q, *others])}")
    return tuple(map(int, (first, second, q, *others)))
