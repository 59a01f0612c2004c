"""An experiment's exported log, read back: its generations, watches, and what only informed forecasts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.errors import GatewayError
from gateway.experiments.conclusions import BY_HAND
from gateway.experiments.promises import claim_of
from gateway.llm_po.errors import LlmPoError
from gateway.llm_po.lines import PROMISES
from gateway.proof.ancestry import LoggedGeneration
from gateway.proof.log_lines import LOG_SCHEMA, logged_watch, record_from
from gateway.proof.watched import RecordedWatch, summary
from policy_store.experiment import EXPERIMENT_SCHEMA, Experiment
from policy_store.log_records import Comparison, Inherited, LogRecord
from policy_store.roles import Role
from policy_store.watch_records import Watch


class UnreadableLogError(GatewayError):
    """The input is not the log of an experiment."""


@dataclass(frozen=True, slots=True)
class RecordedExperiment:
    """An experiment's log, read back.

    Attributes:
        name: Name of the experiment.
        state: Its state in the store.
        incumbent: Name of the policy that serves.
        certificate: The stored certificate, or None while undecided.
        generations: The generations that the decided one continued from, oldest first, and the decided one
        last.
        watches: The watches over its promotions, in their order.
        informing: The logs of what only informed forecasts, by role: that of the decided generation, then
            those of the generations that it went on with, newest first.
    """

    name: str
    state: str
    incumbent: str
    certificate: dict[str, Any] | None
    generations: tuple[LoggedGeneration, ...]
    watches: tuple[RecordedWatch, ...] = ()
    informing: Mapping[Role, tuple[LoggedGeneration, ...]] = field(default_factory=dict)

    @property
    def own(self) -> LoggedGeneration:
        """The decided generation's log."""
        return self.generations[-1]

    @property
    def claim(self) -> str | None:
        """The promise about the champion in words; None without a champion, or if a person decided."""
        certificate, experiment = self.certificate or {}, self.own.experiment
        champion = certificate.get("champion_name")
        if champion is None or experiment.promise not in PROMISES or certificate.get("outcome") == BY_HAND:
            return None
        return claim_of(experiment, str(champion))

    @property
    def watch_summary(self) -> dict[str, Any] | None:
        """What the latest watch counted; None without one, or if it cannot be recomputed."""
        with suppress(LlmPoError, KeyError, TypeError, ValueError):  # the differences say so
            return summary(self.watches)
        return None


def read_log(lines: Iterable[bytes | str]) -> RecordedExperiment:
    """The experiment in exported lines.

    Raises:
        UnreadableLogError: Naming the wrong line.
    """
    reader = _Reader()
    for number, line in enumerate(lines, start=1):
        try:
            if number == 1 or line.strip():
                reader.take(orjson.loads(line))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UnreadableLogError(
                f"Line {number} does not belong to an experiment's log ({error!r}). "
                "Export it with GET /v1/experiments/NAME/log."
            ) from error
    if not reader.sections:
        raise UnreadableLogError("The log is empty. Export it with GET /v1/experiments/NAME/log.")
    reader.check_beginnings()
    return reader.read()


class _Reader:
    """Takes an exported log apart: the decided generation, its watches, and those that it went on from."""

    def __init__(self) -> None:
        self.header: dict[str, Any] = {}
        self.sections: list[tuple[int, Experiment, list[LogRecord]]] = []
        self.watches: list[tuple[Watch, list[LogRecord]]] = []
        self.informing: dict[Role, list[tuple[int, Experiment, list[LogRecord]]]] = {}
        self._records: list[LogRecord] = []

    def take(self, line: dict[str, Any]) -> None:
        """Take the next line.

        Raises:
            AttributeError, KeyError, TypeError, ValueError: If the line cannot stand here.
        """
        if not self.sections:
            if line.get("type") != "experiment" or line.get("schema") != LOG_SCHEMA:
                raise ValueError("the first line must describe the experiment")
            self.header = {name: line[name] for name in ("name", "state", "incumbent", "certificate")}
        elif line.get("type") == "informing":
            number, experiment, _ = self.sections[0]
            if "experiment" in line:  # of an earlier generation
                number, experiment = line["generation"], _experiment_in(line)
            self._records = []
            logs = self.informing.setdefault(Role(line["role"]), [])
            logs.append((number, experiment, self._records))
            return
        elif line.get("type") == "watch":
            self._records = []
            self.watches.append((logged_watch(line), self._records))
            return
        elif line.get("type") != "ancestor":
            self._records.append(record_from(line))
            return
        self._records = []
        self.sections.append((line["generation"], _experiment_in(line), self._records))

    def check_beginnings(self) -> None:
        """Refuse logs whose beginning is elsewhere. Raises UnreadableLogError."""
        logs = [(f"generation {number}", records, 0) for number, _, records in self.sections]
        logs += [(f"watch {watch.run}", records, 0) for watch, records in self.watches]
        logs += list(self._informing_logs())
        for which, records, until in logs:
            numbers = (each.number for each in records if isinstance(each, Comparison))
            began = _beginning(records)
            inherited = 0 if began is None else began.comparisons
            first = next(numbers, max(inherited, until) + 1)
            if first > inherited + 1:
                raise UnreadableLogError(
                    f"Comparisons {inherited + 1} to {first - 1} of {which} are missing. The store no longer "
                    "has them: they are in an archive, which --archive names."
                )

    def _informing_logs(self) -> Iterator[tuple[str, list[LogRecord], int]]:
        """What each is, its records, and up to which comparison it has to go at least."""
        for role, logs in self.informing.items():
            until = 0
            for number, _, records in logs:
                yield f"what informed generation {number} as {role}", records, until
                began = _beginning(records)
                until = 0 if began is None else began.after

    def read(self) -> RecordedExperiment:
        """The experiment in the lines taken so far."""
        generations = _logged(reversed(self.sections))
        watches = tuple(
            RecordedWatch(watch, LoggedGeneration(watch.run, generations[-1].experiment, tuple(records)))
            for watch, records in self.watches
        )
        informing = {role: _logged(logs) for role, logs in self.informing.items()}
        return RecordedExperiment(
            **self.header, generations=generations, watches=watches, informing=informing
        )


def _beginning(records: Sequence[LogRecord]) -> Inherited | None:
    """What a log begins with, if it went on from another one."""
    first = records[0] if records else None
    return first if isinstance(first, Inherited) else None


def _experiment_in(line: dict[str, Any]) -> Experiment:
    if (schema := line["experiment"]["schema"]) != EXPERIMENT_SCHEMA or isinstance(schema, bool | float):
        raise ValueError(f"the experiment has schema {schema!r}; only {EXPERIMENT_SCHEMA} can be read")
    return Experiment.from_json(orjson.dumps(line["experiment"]))


def _logged(sections: Iterable[tuple[int, Experiment, list[LogRecord]]]) -> tuple[LoggedGeneration, ...]:
    return tuple(
        LoggedGeneration(generation, experiment, tuple(records))
        for generation, experiment, records in sections
    )
