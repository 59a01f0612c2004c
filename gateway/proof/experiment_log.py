"""An experiment's whole log as JSON lines: the file from which anyone can recompute a decision.

The first line says what the experiment is and what was decided; the others are the store's append-only log,
oldest first. Where the generation went on from another, that one's follows, up to the comparison it was left
at, after a line of its own; and so on. Field names are part of the outside interface.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

import orjson

from policy_store.models import (
    Comparison,
    Event,
    Experiment,
    ExperimentView,
    Inherited,
    LoggedPlan,
    LogRecord,
)
from policy_store.store import PolicyStore

LOG_SCHEMA = 1


class ExperimentLog:
    """Exports logs; see the module."""

    def __init__(self, store: PolicyStore) -> None:
        self._store = store

    async def lines(self, name: str) -> AsyncIterator[bytes]:
        """The log of the experiment's current generation and those it went on from, one JSON object a line.

        Raises:
            StoreError: Before or between lines; what was yielded until then is not the whole log.
        """
        view = await self._store.view(name)
        yield _line(_header(view))
        inherited: Inherited | None = None
        async for record in self._records(name, view.generation):
            yield _line(record_fields(record))
            if isinstance(record, Inherited):
                inherited = record
        while inherited is not None:
            generation, last, inherited = inherited.generation, inherited.after, None
            yield _line(_ancestor(generation, await self._store.experiment(name, generation)))
            async for record in self._records(name, generation):
                yield _line(record_fields(record))
                if isinstance(record, Inherited):
                    inherited = record
                if isinstance(record, Comparison) and record.number >= last:
                    break

    async def _records(self, name: str, generation: int) -> AsyncIterator[LogRecord]:
        records, position = await self._store.log(name, generation)
        while records:
            for record in records:
                yield record
            records, position = await self._store.log(name, generation, after=position)


def _line(fields: dict[str, Any]) -> bytes:
    return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)


def _header(view: ExperimentView) -> dict[str, Any]:
    return {
        "type": "experiment",
        "schema": LOG_SCHEMA,
        "name": view.experiment.name,
        "generation": view.generation,
        "state": view.state.value,
        "incumbent": view.experiment.policies[view.incumbent],
        "experiment": json.loads(view.experiment.to_json()),
        "certificate": view.certificate,
    }


def _ancestor(generation: int, experiment: Experiment) -> dict[str, Any]:
    return {
        "type": "ancestor",
        "generation": generation,
        "experiment": json.loads(experiment.to_json()),
    }


def record_fields(record: LogRecord) -> dict[str, Any]:
    """One record as the fields of its line."""
    match record:
        case Comparison():
            return {"type": "comparison", **asdict(record)}
        case LoggedPlan():
            return {"type": "plan", **asdict(record)}
        case Event():
            return {"type": "event", **asdict(record)}
        case Inherited():
            return {"type": "inherited", **asdict(record)}


def record_from(fields: dict[str, Any]) -> LogRecord:
    """Inverse of `record_fields`.

    Raises:
        KeyError, TypeError, ValueError: If the line is not one of those.
    """
    values = dict(fields)
    match values.pop("type"):
        case "comparison":
            return Comparison(**values)
        case "plan":
            values["forecasts"] = tuple((int(a), int(b), int(q)) for a, b, q in values["forecasts"])
            return LoggedPlan(**values)
        case "event":
            return Event(**values)
        case "inherited":
            return Inherited(**values)
        case other:
            raise ValueError(f"unknown type {other!r}")
