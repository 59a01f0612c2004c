"""The files of a run, and how it is resumed.

    DIR/run.jsonl      the identity of the run, then every plan and every counted comparison in order
    DIR/answers.jsonl  every answer and verdict that was paid for
    DIR/lock           held while the run is active

A comparison is written before anything that follows from it, so the files always hold a consistent state of
the run. A run may continue with other limits (budget, comparisons, concurrency, prices). Any other change
would make it another run, which is refused.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from gateway.offline.course import Course, Pairing
from gateway.offline.errors import RunDirectoryError
from gateway.offline.journal import Journal
from gateway.proof.log_lines import record_fields, record_from
from policy_store.events import Begun, EventKind, LoggedEvent
from policy_store.log_records import Comparison, LoggedPlan, LogRecord
from policy_store.plan_records import PlannedPair, ProposedPlan

CHECKPOINT_SCHEMA: Final = 1
_PLAN: Final = ("pairs", "evidence_nats")
_COURSE: Final = ("task", "first_repetition", "second_repetition", "note")


@dataclass(frozen=True, slots=True)
class RunFiles:
    """The paths of a run's files."""

    directory: Path

    @property
    def run(self) -> Path:
        """The journal of the run."""
        return self.directory / "run.jsonl"

    @property
    def answers(self) -> Path:
        """The journal of answers."""
        return self.directory / "answers.jsonl"

    @contextmanager
    def claimed(self, *, resumes: bool) -> Iterator[None]:
        """Hold the directory for one process.

        Raises:
            RunDirectoryError: If another process holds it, if there is a run but it should not be resumed,
                or there is none to resume.
        """
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise RunDirectoryError(
                f"{self.directory} cannot be written: {error.strerror}. Name another --out."
            ) from error
        try:
            self._check(lock, resumes=resumes)
            yield
        finally:
            os.close(lock)

    def _check(self, lock: int, *, resumes: bool) -> None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RunDirectoryError(
                f"Another process uses {self.directory}. Wait for it, or name another --out."
            ) from error
        exists = self.run.exists() and self.run.stat().st_size > 0
        if exists and not resumes:
            raise RunDirectoryError(
                f"{self.directory} holds a run already. Continue it with --resume, or name another --out."
            )
        if resumes and not exists:
            raise RunDirectoryError(f"{self.directory} holds no run to resume. Leave --resume out.")


class Checkpoint:
    """The journal of a run.

    Args:
        journal: `run.jsonl`, opened.

    Attributes:
        notes: Counts of notes on how verdicts came about.
        records: The log, oldest first.
        evidence: By number of comparisons, the evidence per policy in nats, from each plan.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.notes: dict[str, int] = {}
        self.records: list[LogRecord] = []
        self.evidence: list[tuple[int, tuple[float, ...]]] = []

    @property
    def is_empty(self) -> bool:
        """Whether nothing was kept yet, not even the identity of the run."""
        return not self._journal.rows

    def begin(self, name: str, identity: Mapping[str, str], at: float) -> None:
        """Write the identity of the run."""
        self._journal.append(
            {"type": "run", "schema": CHECKPOINT_SCHEMA, "name": name, "identity": dict(identity)}
        )
        self.event(LoggedEvent.of(at, EventKind.STARTED, Begun()))

    def restore(self, name: str, identity: Mapping[str, str], course: Course) -> None:
        """Bring `course` to the point where the run stopped.

        Raises:
            RunDirectoryError: If the run had another configuration, or its journal is inconsistent.
        """
        rows = self._journal.rows
        self._check_identity(rows[0], name, identity)
        counted = sum(row.get("type") == "comparison" for row in rows)
        most = course.experiment.max_comparisons
        if most is not None and counted > most:
            raise RunDirectoryError(
                f"The run has counted {counted} comparisons, more than max_comparisons ({most}). Raise it."
            )
        plans = [number for number, row in enumerate(rows) if row.get("type") == "plan"]
        for number, row in enumerate(rows[1:], start=1):
            try:
                self._replay(course, row, is_last_plan=bool(plans) and number == plans[-1])
            except (KeyError, TypeError, ValueError) as error:
                raise RunDirectoryError(
                    f"Line {number + 1} of the run's journal does not fit the others ({error}). "
                    "Start anew in another --out."
                ) from error

    def plan(self, logged: LoggedPlan, made: ProposedPlan) -> None:
        """Keep a plan."""
        self.records.append(logged)
        self.evidence.append((logged.comparisons, made.evidence_nats))
        drawn = {"pairs": [asdict(pair) for pair in made.pairs], "evidence_nats": made.evidence_nats}
        self._journal.append({**record_fields(logged), **drawn})

    def comparison(self, assigned: Pairing, counted: Comparison, note: str | None) -> None:
        """Keep a counted comparison and a note of how its verdict came about."""
        self.records.append(counted)
        self._note(note)
        self._journal.append(
            {
                **record_fields(counted),
                "task": assigned.task,
                "first_repetition": assigned.first_repetition,
                "second_repetition": assigned.second_repetition,
                "note": note,
            }
        )

    def event(self, event: LoggedEvent) -> None:
        """Keep an event."""
        self.records.append(event)
        self._journal.append(record_fields(event))

    def _replay(self, course: Course, row: dict[str, Any], *, is_last_plan: bool) -> None:
        extra = {field: row.pop(field) for field in (*_COURSE, *_PLAN) if field in row}
        record = record_from(row)
        if isinstance(record, LoggedPlan):
            pairs = tuple(PlannedPair(**pair) for pair in extra["pairs"])
            course.replay_plan(record, pairs, is_last=is_last_plan)
            self.evidence.append((record.comparisons, tuple(extra["evidence_nats"])))
        elif isinstance(record, Comparison):
            self._note(extra["note"])
            repetitions = (extra["first_repetition"], extra["second_repetition"])
            assigned = Pairing(record.number, record.first, record.second, extra["task"], *repetitions)
            course.replay(assigned, record)
        self.records.append(record)

    def _note(self, note: str | None) -> None:
        if note is not None:
            self.notes[note] = self.notes.get(note, 0) + 1

    def _check_identity(self, first: dict[str, Any], name: str, identity: Mapping[str, str]) -> None:
        if first.get("type") != "run" or first.get("schema") != CHECKPOINT_SCHEMA:
            raise RunDirectoryError("The run was written by another version. Start anew in another --out.")
        before = {"name": first["name"], **first["identity"]}
        now = {"name": name, **identity}
        changed = sorted(part for part in before.keys() | now.keys() if before.get(part) != now.get(part))
        if changed:
            raise RunDirectoryError(
                f"This is another run than the one in --out; changed: {', '.join(changed)}. Undo the "
                "change, or start anew in another --out."
            )
