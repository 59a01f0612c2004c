"""When a supervisor starts a worker again, and when it ends because that would not help."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from gateway.cli.supervisor import SLOWEST_RESTART_SECONDS, Supervisor, Worker
from gateway.cli.worker_report import StartFault, WorkerReport, tell_fault, tell_ready

NEWER = StartFault(1, ("A newer version wrote the store's data.",))
WRONG = StartFault(2, ("experiments.support.delta: 1.5 is too large.", "models: there are none."))


class _Process:
    """A worker as its supervisor sees it; it lives until a test ends it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.status: int | None = None

    def poll(self) -> int | None:
        return self.status

    def terminate(self) -> None:
        self.status = 0 if self.status is None else self.status

    def wait(self, _seconds: float) -> int:
        assert self.status is not None
        return self.status


class _Stage:
    """A supervisor of two workers, whose time passes in steps; before each step the next act is played."""

    def __init__(self, *acts: Callable[[], None]) -> None:
        self.workers: list[Worker] = []
        self.refusals = 0
        self.buried: list[int] = []
        self.announced = 0
        self.now = 0.0
        self._acts = list(acts)
        self.supervisor = Supervisor(
            self._start, 2, self._announce, self.buried.append, clock=lambda: self.now, pause=self._pause
        )

    def then(self, *acts: Callable[[], None]) -> _Stage:
        self._acts += acts
        return self

    def _start(self) -> Worker:
        if self.refusals:
            self.refusals -= 1
            raise BlockingIOError(11, "Resource temporarily unavailable")
        self.workers.append(Worker(_Process(len(self.workers)), WorkerReport()))  # type: ignore[arg-type]
        return self.workers[-1]

    def _announce(self) -> None:
        self.announced += 1

    def _pause(self, _seconds: float) -> None:
        if not self._acts:
            self.supervisor.stop()
            return
        self._acts.pop(0)()

    def ready(self, *numbers: int) -> Callable[[], None]:
        return lambda: [tell_ready(self.workers[number].report.fileno()) for number in numbers] and None

    def ends(self, *numbers: int, status: int = -9, fault: StartFault | None = None) -> Callable[[], None]:
        def act() -> None:
            for number in numbers:
                if fault is not None:
                    tell_fault(self.workers[number].report.fileno(), fault)
                self.workers[number].process.status = status  # type: ignore[attr-defined]

        return act

    def after(self, seconds: float) -> Callable[[], None]:
        def act() -> None:
            self.now += seconds

        return act


@pytest.fixture
def lines() -> Iterator[list[Any]]:
    """What the supervisor logs."""
    with structlog.testing.capture_logs() as lines:
        yield lines


@pytest.mark.parametrize("fault", [NEWER, WRONG])
def test_a_fault_of_all_workers_ends_the_supervisor_with_their_status(
    fault: StartFault, lines: list[Any]
) -> None:
    """Whoever runs it gets the status and the texts once, and nothing is tried again."""
    stage = _Stage()
    stage.then(stage.ends(0, status=fault.status, fault=fault), stage.ends(1, fault=fault))
    assert stage.supervisor.run() == fault
    assert len(stage.workers) == 2
    assert not stage.announced
    assert not lines


def test_workers_that_never_took_a_request_and_say_nothing_end_the_supervisor(lines: list[Any]) -> None:
    """A start that fails with a stack trace fails once, as with one process."""
    stage = _Stage()
    stage.then(stage.ends(0, status=1), stage.after(1), stage.ends(1, status=1))
    found = stage.supervisor.run()
    assert found is not None
    assert found.status == 1
    assert [line["event"] for line in lines] == ["worker_died", "worker_died"]


def test_a_worker_that_serves_goes_on_while_another_cannot_be_replaced(lines: list[Any]) -> None:
    """A file that became wrong ends no answers that others give; it is said once, and tried again."""
    stage = _Stage()
    again = stage.after(SLOWEST_RESTART_SECONDS)
    stage.then(
        *(stage.ready(0, 1), stage.ends(1), again, stage.ends(2, fault=WRONG)),
        *(again, stage.ends(3, fault=WRONG), again, stage.ready(4)),
    )
    assert stage.supervisor.run() is None
    assert len(stage.workers) == 5
    assert [line["event"] for line in lines] == ["worker_died", "worker_cannot_start"]
    assert lines[1]["faults"] == WRONG.faults
    assert stage.announced == 1


def test_a_fault_from_before_another_worker_served_is_told_as_well(lines: list[Any]) -> None:
    """One may read a file that is being written, and the next one the whole of it."""
    stage = _Stage()
    again = stage.after(SLOWEST_RESTART_SECONDS)
    stage.then(stage.ends(0, fault=WRONG), stage.ready(1), again, stage.ends(2, fault=WRONG))
    assert stage.supervisor.run() is None
    assert [(line["event"], line["faults"]) for line in lines] == [("worker_cannot_start", WRONG.faults)]


def test_the_supervisor_ends_when_the_last_worker_that_served_cannot_be_replaced() -> None:
    """Nothing answers any more, and nothing would: the platform has to know."""
    stage = _Stage()
    again = stage.after(SLOWEST_RESTART_SECONDS)
    stage.then(
        *(stage.ready(0, 1), stage.ends(1), again, stage.ends(2, fault=NEWER)),
        *(stage.ends(0), again, stage.ends(3, 4, fault=NEWER)),
    )
    assert stage.supervisor.run() == NEWER


def test_workers_that_are_killed_are_started_again(lines: list[Any]) -> None:
    """Also all of them at once: what served before may serve again."""
    stage = _Stage()
    stage.then(stage.ready(0, 1), stage.ends(0, 1), stage.after(1), stage.ready(2, 3))
    assert stage.supervisor.run() is None
    assert stage.buried == [0, 1]
    assert len(stage.workers) == 4
    assert [line["event"] for line in lines] == ["worker_died", "worker_died"]


def test_a_machine_that_has_no_process_to_spare_ends_nothing(lines: list[Any]) -> None:
    """The other workers go on, and the missing one is tried again."""
    stage = _Stage()

    def short_of_processes() -> None:
        stage.refusals = 1

    again = stage.after(SLOWEST_RESTART_SECONDS)
    stage.then(stage.ready(0, 1), short_of_processes, stage.ends(0), again, again, stage.ready(2))
    assert stage.supervisor.run() is None
    assert [line["event"] for line in lines] == ["worker_died", "worker_not_started"]


def test_a_report_holds_a_text_of_any_length() -> None:
    """A file may have a thousand faults, and nobody reads them while the worker writes."""
    report = WorkerReport()
    many = StartFault(2, tuple(f"experiments.e{number}: wrong" for number in range(10_000)))
    code = (
        "import sys; from gateway.cli.worker_report import *;"
        "tell_ready(int(sys.argv[1]));"
        "faults = tuple(f'experiments.e{number}: wrong' for number in range(10_000));"
        "tell_fault(int(sys.argv[1]), StartFault(2, faults))"
    )
    command = [sys.executable, "-c", code, str(report.fileno())]
    subprocess.run(command, check=True, pass_fds=(report.fileno(),), env=dict(os.environ))
    assert not report.is_ready
    assert report.fault == many
    report.close()


def test_a_report_that_was_cut_off_gives_no_reason() -> None:
    """The worker may be killed while it writes, or the disk be full; then it is one that died."""
    report = WorkerReport()
    tell_fault(report.fileno(), NEWER)
    os.ftruncate(report.fileno(), 10)
    assert report.fault is None
    report.close()
