"""Exports an experiment's whole log: the lines (`log_lines`) from which anyone can recompute a decision."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Protocol

from gateway.proof.log_lines import (
    ancestor_line,
    header_line,
    informed_before_line,
    informing_line,
    record_line,
    watch_line,
)
from policy_store.events import LoggedEvent, LookRevealed, WatchStarted
from policy_store.experiment import Experiment
from policy_store.log_records import Comparison, Inherited, LogRecord
from policy_store.roles import Role
from policy_store.view import ExperimentView
from policy_store.watch_records import Watch


class LogReader(Protocol):
    """What a log is read from: the store, or a backup (`policy_store.backed_up`)."""

    async def view(self, name: str) -> ExperimentView:
        """The current generation."""
        ...

    async def log(
        self, name: str, generation: int, *, after: str = ..., informs: Role | None = ...
    ) -> tuple[list[LogRecord], str]:
        """A page of a generation's log, and the `after` of the next page."""
        ...

    async def watch(self, name: str, run: int) -> Watch:
        """A watch, by the number of its run."""
        ...

    async def experiment(self, name: str, generation: int) -> Experiment:
        """The experiment as a generation has it."""
        ...


class ExperimentLog:
    """Writes the lines of a log, read page by page."""

    def __init__(self, store: LogReader) -> None:
        self._store = store

    async def whole(self, name: str) -> list[bytes]:
        """All `lines` at once. Raises StoreError."""
        return [line async for line in self.lines(name)]

    async def lines(self, name: str) -> AsyncIterator[bytes]:
        """The log of the experiment's current generation, one JSON object a line.

        Behind it the comparisons that only informed it, those of the watches over its promotions, and of the
        generations that it went on from.

        Raises:
            StoreError: Before or between lines; the lines yielded by then are not the whole log.
        """
        view = await self._store.view(name)
        yield header_line(
            view.experiment,
            generation=view.generation,
            state=view.state,
            incumbent=view.experiment.policies[view.incumbent],
            certificate=view.certificate,
        )
        inherited: Inherited | None = None
        watches: list[int] = []
        async for record in self._records(name, view.generation):
            yield record_line(record)
            if isinstance(record, Inherited):
                inherited = record
            elif isinstance(record, LoggedEvent) and isinstance(record.told, WatchStarted):
                watches.append(record.told.run)
        async for line in self._beside(name, view.generation, watches):
            yield line
        async for line in self._earlier(name, inherited):
            yield line

    async def _earlier(
        self, name: str, inherited: Inherited | None, informs: Role | None = None
    ) -> AsyncIterator[bytes]:
        """The logs of the generations that one went on from, newest first, each up to where it was left."""
        while inherited is not None:
            generation, last, inherited = inherited.generation, inherited.after, None
            experiment = await self._store.experiment(name, generation)
            if informs is None:
                yield ancestor_line(generation, experiment)
            else:
                yield informed_before_line(informs, generation, experiment)
            async for record in self._until(experiment, generation, last, informs):
                yield record_line(record)
                if isinstance(record, Inherited):
                    inherited = record

    async def _until(
        self, experiment: Experiment, generation: int, last: int, informs: Role | None
    ) -> AsyncIterator[LogRecord]:
        """The records up to comparison `last`; behind it only when a last look was taken, if there is one."""
        is_left = False
        async for record in self._records(experiment.name, generation, informs):
            if not is_left or (isinstance(record, LoggedEvent) and isinstance(record.told, LookRevealed)):
                yield record
            is_left = is_left or (isinstance(record, Comparison) and record.number >= last)
            if is_left and (informs is not None or not experiment.last_look):
                return

    async def _beside(self, name: str, generation: int, watches: Iterable[int]) -> AsyncIterator[bytes]:
        """What only informed the generation, and the logs of watches."""
        for role in Role:
            async for line in self._informing(name, generation, role):
                yield line
        for run in watches:
            yield watch_line(await self._store.watch(name, run))
            async for record in self._records(name, run):
                yield record_line(record)

    async def _informing(self, name: str, generation: int, role: Role) -> AsyncIterator[bytes]:
        """What only informed the generation in a role, and behind it what it went on with."""
        inherited: Inherited | None = None
        is_begun = False
        async for record in self._records(name, generation, role):
            if not is_begun:
                yield informing_line(role)
                is_begun = True
            yield record_line(record)
            if isinstance(record, Inherited):
                inherited = record
        async for line in self._earlier(name, inherited, role):
            yield line

    async def _records(
        self, name: str, generation: int, informs: Role | None = None
    ) -> AsyncIterator[LogRecord]:
        records, position = await self._store.log(name, generation, informs=informs)
        while records:
            for record in records:
                yield record
            records, position = await self._store.log(name, generation, after=position, informs=informs)
