"""Carries out a run: makes several comparisons at once, counts verdicts in order, and keeps everything."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

from gateway.experiments.plan_values import Decision
from gateway.judging.verdicts import Judged
from gateway.offline.answers import PolicyAnswers
from gateway.offline.checkpoint import Checkpoint
from gateway.offline.course import Course, Pairing
from gateway.offline.errors import BudgetSpentError
from gateway.offline.judges import Judge
from gateway.offline.tasks import Task

OUT_OF_TASKS: Final = "tasks"


class RunWatcher(Protocol):
    """Shows the progress of a run."""

    def planned(self, course: Course) -> None:
        """A plan was made."""
        ...

    def counted(self, course: Course) -> None:
        """A comparison was counted."""
        ...


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended.

    Attributes:
        decision: The conclusion.
        stopped_by: The limit that ended it before the evidence sufficed: `calls`, `usd` or `tasks`; None
            otherwise.
    """

    decision: Decision
    stopped_by: str | None


class Run:
    """Compares policies until the evidence suffices or a limit is reached.

    Args:
        course: Gives the next comparison.
        answers: The answers of the policies.
        judge: Decides which answer is better.
        tasks: The tasks for the policies.
        checkpoint: Keeps everything counted.
        watcher: Shows the progress.
        clock: Unix seconds.
        source: The log's name for the source of verdicts.
    """

    def __init__(
        self,
        course: Course,
        answers: PolicyAnswers,
        judge: Judge,
        tasks: Sequence[Task],
        checkpoint: Checkpoint,
        watcher: RunWatcher,
        clock: Callable[[], float],
        source: str,
    ) -> None:
        self._course = course
        self._answers = answers
        self._judge = judge
        self._tasks = tasks
        self._checkpoint = checkpoint
        self._watcher = watcher
        self._clock = clock
        self._source = source
        self._under_way: deque[tuple[Pairing, asyncio.Task[Judged]]] = deque()

    async def finish(self) -> Ended:
        """Continue until the run has ended.

        Raises:
            OfflineError: If a provider, a judge or a template fails; all counts are kept.
            BudgetSpentError: If the budget does not allow a single comparison.
        """
        try:
            return await self._go_on()
        finally:
            for _, comparing in self._under_way:
                comparing.cancel()
            for _, comparing in self._under_way:  # answers that arrived are kept
                with suppress(asyncio.CancelledError, Exception):
                    await comparing
            self._under_way.clear()

    async def _go_on(self) -> Ended:
        while True:
            if self._course.is_plan_due:
                self._checkpoint.plan(*self._course.make_plan(self._clock()))
                self._watcher.planned(self._course)
            if self._course.decision is not None:
                return Ended(self._course.decision, None)
            while self._course.may_assign:
                assigned = self._course.assign()
                self._under_way.append((assigned, asyncio.create_task(self._compare(assigned))))
            if not self._under_way:
                return self._ended_early(OUT_OF_TASKS)
            assigned, comparing = self._under_way[0]
            try:
                judged = await comparing
            except BudgetSpentError as error:
                if self._course.counted == 0:
                    raise
                return self._ended_early(error.limit)
            self._under_way.popleft()
            counted = self._course.count(assigned, judged.result, self._source, self._clock())
            self._checkpoint.comparison(assigned, counted, judged.note and judged.note.value)
            self._watcher.counted(self._course)

    def _ended_early(self, limit: str) -> Ended:
        decision = self._course.ended_early()
        return Ended(decision, limit if decision.kind == "inconclusive" else None)

    async def _compare(self, assigned: Pairing) -> Judged:
        first, second = await asyncio.gather(
            self._answers.get(assigned.first, assigned.task, assigned.first_repetition),
            self._answers.get(assigned.second, assigned.task, assigned.second_repetition),
        )
        return await self._judge.compare(
            assigned.number,
            self._tasks[assigned.task],
            (f"{assigned.first}:{assigned.first_repetition}", first),
            (f"{assigned.second}:{assigned.second_repetition}", second),
        )
