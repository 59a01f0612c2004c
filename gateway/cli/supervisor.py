"""Several worker processes on one port: the supervisor owns only the address and the store.

Each worker gets a socket of its own on the shared port, so the kernel spreads connections evenly. A worker
that dies is replaced. If it cannot start and says why, trying again does not help: then the supervisor ends
too, unless another worker takes requests, which goes on. When the supervisor ends, for any reason, the pipe
that the workers inherited closes, and the workers end too.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Final

from prometheus_client.multiprocess import mark_process_dead

from gateway.cli import FAILED
from gateway.cli.hangup import handled_hangups, hangups_wait
from gateway.cli.sockets import share, shown_address
from gateway.cli.worker_report import StartFault, WorkerReport
from gateway.running.logs import get_logger
from gateway.settings import Settings
from policy_store.connect import EmbeddedValkey

_log = get_logger(__name__)

POLL_SECONDS: Final = 0.2
FIRST_RESTART_SECONDS: Final = 0.5
SLOWEST_RESTART_SECONDS: Final = 10.0
# After a worker has lived this long, the next restart waits only the shortest time again.
STEADY_SECONDS: Final = 30.0
STOP_MARGIN_SECONDS: Final = 10.0  # in addition to the time for draining
_NO_START: Final = StartFault(FAILED, ("Every worker ended while it was starting.",))


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker process and what it tells."""

    process: subprocess.Popen[bytes]
    report: WorkerReport


@dataclass
class _Slot:
    """The place of one worker.

    Attributes:
        failed_starts: How many workers ended here without having taken requests, since one last did.
        fault: Why the last one could not start, if it said so.
        told: The fault that was logged last, while no worker ended here for another reason.
    """

    worker: Worker
    started_at: float
    wait_seconds: float = FIRST_RESTART_SECONDS
    restart_at: float | None = None
    failed_starts: int = 0
    fault: StartFault | None = None
    told: StartFault | None = None

    @property
    def is_serving(self) -> bool:
        """Whether a worker here takes requests."""
        return self.restart_at is None and self.worker.report.is_ready


@dataclass
class Supervisor:
    """Keeps `workers` processes running until told to stop.

    Attributes:
        start_worker: Starts one worker process.
        workers: The number of workers.
        announce: Called once, as soon as a worker takes requests.
        bury: Called with the process id of a worker that died.
        stop_seconds: How long workers may take to end before they are killed.
        clock: Monotonic seconds.
        pause: Waits so many seconds.
    """

    start_worker: Callable[[], Worker]
    workers: int
    announce: Callable[[], None]
    bury: Callable[[int], None]
    stop_seconds: float = STOP_MARGIN_SECONDS
    clock: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep
    is_stopping: bool = False
    _slots: list[_Slot] = field(default_factory=list)
    _is_announced: bool = False

    def run(self) -> StartFault | None:
        """Start the workers, replace the ones that die, and end them all when stopped.

        Returns:
            Why no worker can start, if the supervisor ended because of that; None if it was told to stop.
        """
        try:
            for _ in range(self.workers):
                self._slots.append(_Slot(self.start_worker(), self.clock()))
            while not self.is_stopping:
                self.pause(POLL_SECONDS)
                for slot in self._slots:
                    self._look_after(slot)
                if not self._is_announced and any(slot.is_serving for slot in self._slots):
                    self._is_announced = True
                    self.announce()
                if (fault := self._hopeless()) is not None:
                    return fault
                self._tell_faults()
            return None
        finally:
            self._end_all()

    def stop(self, _signal: int = 0, _frame: FrameType | None = None) -> None:
        """Ask the supervisor to end; a signal handler."""
        self.is_stopping = True

    def reload(self) -> None:
        """Let every worker read the configuration anew; one that is starting does so once it is ready."""
        for slot in self._slots:
            if slot.worker.process.poll() is None:
                slot.worker.process.send_signal(signal.SIGHUP)

    def _hopeless(self) -> StartFault | None:
        """Why no worker serves or will; None while one does, or may."""
        if any(slot.is_serving or not slot.failed_starts for slot in self._slots):
            return None
        faults = [slot.fault for slot in self._slots]
        if self._is_announced and None in faults:
            return None
        return next(filter(None, faults), _NO_START)

    def _look_after(self, slot: _Slot) -> None:
        if slot.restart_at is None:
            status = slot.worker.process.poll()
            if status is not None:
                self._ended(slot, status)
            return
        if self.clock() < slot.restart_at:
            return
        try:
            slot.worker = self.start_worker()
        except OSError as error:  # no memory, or no more files or processes: the others go on meanwhile
            slot.restart_at = self.clock() + SLOWEST_RESTART_SECONDS
            _log.error("worker_not_started", error=error.strerror, restart_in_seconds=SLOWEST_RESTART_SECONDS)
        else:
            slot.started_at, slot.restart_at = self.clock(), None

    def _ended(self, slot: _Slot, status: int) -> None:
        """Note how a worker ended, and when the next one starts in its place."""
        now, report = self.clock(), slot.worker.report
        slot.failed_starts = 0 if report.is_ready else slot.failed_starts + 1
        slot.fault = report.fault
        report.close()
        self.bury(slot.worker.process.pid)
        if now - slot.started_at >= STEADY_SECONDS:
            slot.wait_seconds = FIRST_RESTART_SECONDS
        wait = slot.wait_seconds if slot.fault is None else SLOWEST_RESTART_SECONDS
        slot.restart_at = now + wait
        slot.wait_seconds = min(2 * slot.wait_seconds, SLOWEST_RESTART_SECONDS)
        if slot.fault is None:
            slot.told = None
            _log.error("worker_died", status=status, restart_in_seconds=wait)

    def _tell_faults(self) -> None:
        """Log each fault once, as soon as another worker serves; until then it may be what `run` returns."""
        if not any(slot.is_serving for slot in self._slots):
            return
        for slot in self._slots:
            if slot.restart_at is not None and slot.fault is not None and slot.fault != slot.told:
                slot.told = slot.fault
                wait = round(max(0.0, slot.restart_at - self.clock()), 1)
                _log.error("worker_cannot_start", faults=slot.fault.faults, restart_in_seconds=wait)

    def _end_all(self) -> None:
        workers = [slot.worker for slot in self._slots]
        for worker in workers:
            worker.process.terminate()
        deadline = self.clock() + self.stop_seconds
        for worker in workers:
            try:
                worker.process.wait(max(0.0, deadline - self.clock()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
            worker.report.close()


def supervise(config: Path, settings: Settings, reserved: socket.socket, workers: int) -> StartFault | None:
    """Run workers on the address of `reserved` until SIGTERM or SIGINT.

    Args:
        config: The configuration file; every worker reads it.
        settings: How to run; workers read the same environment.
        reserved: A shared socket bound to the address. It never listens: it keeps the address ours while
            workers come and go.
        workers: How many.

    Returns:
        Why no worker can start, if it ended because of that.
    """
    with ExitStack() as resources:
        environment = dict(os.environ)
        if settings.redis_url is None:
            valkey = EmbeddedValkey()
            environment["LLMPO_REDIS_URL"] = valkey.start(settings.data_dir)
            resources.callback(valkey.stop)
        metrics = resources.enter_context(tempfile.TemporaryDirectory(prefix="llmpo-metrics-"))
        environment["PROMETHEUS_MULTIPROC_DIR"] = metrics
        resources.enter_context(reserved)
        alive, held = os.pipe()  # workers read `alive`; only this process holds the other end
        resources.callback(os.close, alive)
        resources.callback(os.close, held)

        def start_worker() -> Worker:
            report = WorkerReport()
            try:
                # The worker inherits that hangups wait, until it can handle them.
                with hangups_wait(), share(reserved.family, reserved.getsockname()) as listener:
                    inherited = (listener.fileno(), alive, report.fileno())
                    program = [sys.executable, "-m", "gateway.cli.worker_program"]
                    process = subprocess.Popen(  # noqa: S603 - this program itself
                        [*program, str(config), *map(str, inherited)],
                        env=environment,
                        start_new_session=True,  # the supervisor passes Ctrl-C on
                        pass_fds=inherited,
                    )
            except OSError:
                report.close()
                raise
            return Worker(process, report)

        address = shown_address(reserved)
        supervisor = Supervisor(
            start_worker,
            workers,
            announce=lambda: _log.info("listening", address=address, workers=workers),
            # Keep the dead worker's counters, but drop gauges that describe a living process.
            bury=lambda pid: mark_process_dead(pid, metrics),  # type: ignore[no-untyped-call]
            stop_seconds=settings.drain_notice_seconds + settings.drain_seconds + STOP_MARGIN_SECONDS,
        )
        signal.signal(signal.SIGTERM, supervisor.stop)
        signal.signal(signal.SIGINT, supervisor.stop)
        with handled_hangups(supervisor.reload):
            return supervisor.run()
