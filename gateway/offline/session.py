"""One run from its files back to its files: begun or taken up again, carried on, concluded."""

from __future__ import annotations

from collections.abc import Callable

from gateway.offline.answers import Answers, PolicyAnswers
from gateway.offline.assembly import Assembly
from gateway.offline.calls import ModelClient, Spending
from gateway.offline.checkpoint import Checkpoint, RunFiles
from gateway.offline.course import Course
from gateway.offline.journal import Journal
from gateway.offline.outcome import Material, Outcome, conclude, write
from gateway.offline.run import Run, Watcher
from gateway.upstream.base import Upstream
from policy_store.events import EventKind, LoggedEvent, Resumed


class Session:
    """A run in a directory.

    Args:
        assembly: What it consists of.
        files: Where it is kept.
        upstream: How providers are called.
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

    async def finish(self, watcher: Watcher, *, resumes: bool = False) -> Outcome:
        """Go on until the run has ended, and write what it came to.

        Raises:
            OfflineError: If it cannot go on; what was counted is kept.
        """
        files = self.files
        with (
            files.claimed(resumes=resumes),
            Journal(files.run) as journal,
            Journal(files.answers) as paid_for,
        ):
            answers = Answers(self._client(), paid_for)
            checkpoint, course = Checkpoint(journal), self._course()
            self._begin(checkpoint, course)
            try:
                outcome = await self._carried_on(course, checkpoint, answers, watcher)
            finally:
                await answers.aclose()
            write(files.directory, outcome)
        return outcome

    async def _carried_on(
        self, course: Course, checkpoint: Checkpoint, answers: Answers, watcher: Watcher
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

    def _begin(self, checkpoint: Checkpoint, course: Course) -> None:
        assembly, now = self.assembly, self._clock()
        if checkpoint.is_empty:
            checkpoint.begin(assembly.name, assembly.identity, now)
        else:
            checkpoint.restore(assembly.name, assembly.identity, course)
            checkpoint.event(LoggedEvent.of(now, EventKind.RESUMED, Resumed(course.counted)))

    def _client(self) -> ModelClient:
        config = self.assembly.config
        return ModelClient(
            self._upstream, self.assembly.prices, self.spending, config.concurrency, config.attempts
        )

    def _course(self) -> Course:
        assembly, config = self.assembly, self.assembly.config
        return Course(
            assembly.definition.experiment,
            len(assembly.tasks),
            assembly.is_repeatable,
            draw=config.draw,
            seed=config.seed,
            window=config.concurrency,
        )
