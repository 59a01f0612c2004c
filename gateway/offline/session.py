"""One run in its directory: begins or resumes it, carries it out, and writes the outcome."""

from __future__ import annotations

from collections.abc import Callable

from gateway.offline.answers import Answers, PolicyAnswers
from gateway.offline.assembly import Assembly
from gateway.offline.calls import ModelClient, Spending
from gateway.offline.checkpoint import Checkpoint, RunFiles
from gateway.offline.course import Course
from gateway.offline.journal import Journal
from gateway.offline.outcome import Material, Outcome, conclude, write
from gateway.offline.run import Run, RunWatcher
from gateway.upstream.base import Upstream
from policy_store.events import EventKind, LoggedEvent, Resumed


class Session:
    """A run in a directory.

    Args:
        assembly: The parts of the run.
        files: The paths of its files.
        upstream: Calls providers.
        clock: Unix seconds.
    """

    def __init__(
        self, assembly: Assembly, files: RunFiles, upstream: Upstream, clock: Callable[[], float]
    ) -> None:
        self.assembly = assembly
        self.files = files
        budget = assembly.config.budget
        self.spending = Spending(budget.calls, budget.usd)
        self._upstream = upstream
        self._clock = clock

    async def finish(self, watcher: RunWatcher, *, resumes: bool = False) -> Outcome:
        """Carry the run on until it has ended, and write its outcome.

        Raises:
            OfflineError: If it cannot continue; all counts are kept.
        """
        files, assembly, config = self.files, self.assembly, self.assembly.config
        with (
            files.claimed(resumes=resumes),
            Journal(files.run) as journal,
            Journal(files.answers) as paid_for,
        ):
            client = ModelClient(
                self._upstream, assembly.prices, self.spending, config.concurrency, config.attempts
            )
            answers = Answers(client, paid_for)
            checkpoint, course = Checkpoint(journal), assembly.course()
            now = self._clock()
            if checkpoint.is_empty:
                checkpoint.begin(assembly.name, assembly.identity, now)
            else:
                checkpoint.restore(assembly.name, assembly.identity, course)
                checkpoint.event(LoggedEvent.of(now, EventKind.RESUMED, Resumed(course.counted)))
            try:
                outcome = await self._carried_on(course, checkpoint, answers, watcher)
            finally:
                await answers.aclose()
            write(files.directory, outcome)
        return outcome

    async def _carried_on(
        self, course: Course, checkpoint: Checkpoint, answers: Answers, watcher: RunWatcher
    ) -> Outcome:
        assembly, judge = self.assembly, self.assembly.judge(answers)
        policies = PolicyAnswers(answers, assembly.definition.policies, assembly.targets, assembly.tasks)
        run = Run(course, policies, judge, assembly.tasks, checkpoint, watcher, self._clock, assembly.source)
        ended = await run.finish()
        material = Material(
            assembly=assembly,
            course=course,
            ended=ended,
            judge=judge,
            kept=answers.kept,
            spending=self.spending,
            records=checkpoint.records,
            notes=checkpoint.notes,
            evidence=checkpoint.evidence,
        )
        return conclude(material, self._clock())
