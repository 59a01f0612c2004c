"""The progress of a run in the terminal: a bar per policy, calls, money, time left."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Self

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text
from typing_extensions import override

from gateway.experiments.outlook import outlook
from gateway.offline.calls import Spending
from gateway.offline.course import Course
from gateway.offline.report import headline
from gateway.offline.run import RunWatcher
from gateway.rough import rough_count, rough_duration

MOST_BARS: Final = 16


class ProgressView(RunWatcher):
    """Draws on a console; without a terminal it writes a line from time to time.

    Args:
        console: The console to draw on.
        spending: Calls and money so far.
        timer: Seconds.
    """

    def __init__(
        self, console: Console, spending: Spending, timer: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console
        self._spending = spending
        self._timer = timer
        self._started: tuple[float, int] | None = None
        self._next_line = 1
        self._bars: list[TaskID] = []
        self._status = Text()
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[nats]}"), console=console
        )
        self._live = Live(Group(self._status, self._progress), console=console, transient=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    @override
    def planned(self, course: Course) -> None:
        self._begin(course)
        if self._console.is_terminal:
            self._draw_bars(course)
        elif course.counted >= self._next_line:
            self._next_line = 2 * course.counted
            self._console.print(self._line(course), soft_wrap=True)

    @override
    def counted(self, course: Course) -> None:
        self._begin(course)
        if self._console.is_terminal:
            self._status.plain = self._line(course)

    def _begin(self, course: Course) -> None:
        if self._started is None:
            self._started = (self._timer(), course.counted)

    def _draw_bars(self, course: Course) -> None:
        if course.plan is None:
            return
        plan = course.plan.proposal
        if not self._bars:
            names = course.experiment.policies[:MOST_BARS]
            self._bars = [self._progress.add_task(escape(name), nats="") for name in names]
        meaning = "against" if course.experiment.epsilon == 0 else "for"
        for policy, bar in enumerate(self._bars):
            nats, needed = plan.evidence_nats[policy], plan.needed_nats[policy]
            shown = f"{nats:.2f} of {needed:.2f} nats {meaning} it"
            self._progress.update(bar, completed=min(max(nats, 0.0), needed), total=needed, nats=shown)

    def _line(self, course: Course) -> str:
        parts = [f"{course.counted} comparisons", f"{self._spending.calls} calls"]
        if self._spending.usd:
            parts.append(f"{self._spending.usd:.4f} USD")
        if course.plan is not None:
            parts.append(f"ahead: {course.experiment.policies[course.plan.proposal.leader]}")
            parts.append(self._left(course))
        return ", ".join(parts)

    def _left(self, course: Course) -> str:
        """The remaining effort that the posterior expects, at the pace so far."""
        ahead = course.plan and outlook(course.experiment, course.plan.proposal, course.counts())
        if not ahead or self._started is None:
            return "time left unknown so far"
        started, counted = self._started
        done = course.counted - counted
        if done == 0:
            return f"about {rough_count(ahead.comparisons):,} comparisons left"
        return f"about {rough_duration(ahead.comparisons * (self._timer() - started) / done)} left"


def summary_table(summary: Mapping[str, Any]) -> Table:
    """The policies of a finished run."""
    title = Text(f"{summary['name']}: {headline(summary)}")
    table = Table(title=title, title_justify="left")
    table.add_column("policy")
    for column in ("won", "lost", "tied", "evidence", "score", "answers"):
        table.add_column(column, justify="right")
    for row in summary["policies"]:
        score = row["mean_score"]
        table.add_row(
            Text(f"{row['name']}{' (incumbent)' if row['is_incumbent'] else ''}"),
            *(str(row[name]) for name in ("wins", "losses", "ties")),
            f"{row['evidence_nats']:.2f} / {row['needed_nats']:.2f}",
            "" if score is None else f"{score:.3f}",
            str(row["answers"]),
        )
    return table
