"""An experiment's whole log as JSON lines: the file from which anyone can recompute a decision.

The first line says what the experiment is and what was decided; the others are the store's append-only log,
oldest first. Field names are part of the outside interface.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any, Protocol

import orjson

from policy_store.models import Comparison, Event, ExperimentView, LoggedPlan, LogRecord

LOG_SCHEMA = 1


class LogStore(Protocol):
    """What exporting needs of the store."""

    async def view(self, name: str) -> ExperimentView:
        """One consistent read of an experiment."""
        ...

    async def log(self, name: str, generation: int, *, after: str = "-") -> tuple[list[LogRecord], str]:
        """A page of the log; an empty one at its end."""
        ...


class ExperimentLog:
    """Exports logs; see the module."""

    def __init__(self, store: LogStore) -> None:
        self._store = store

    async def lines(self, name: str) -> AsyncIterator[bytes]:
        """The log of the experiment's current generation, one JSON object a line.

        Raises:
            StoreError: Before or between lines; what was yielded until then is not the whole log.
        """
        view = await self._store.view(name)
        yield _line(_header(view))
        records, position = await self._store.log(name, view.generation)
        while records:
            for record in records:
                yield _line(record_fields(record))
            records, position = await self._store.log(name, view.generation, after=position)


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


def record_fields(record: LogRecord) -> dict[str, Any]:
    """One record as the fields of its line."""
    match record:
        case Comparison():
            return {"type": "comparison", **asdict(record)}
        case LoggedPlan():
            return {"type": "plan", **asdict(record)}
        case Event():
            return {"type": "event", **asdict(record)}


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
        case other:
            raise ValueError(f"unknown type {other!r}")
