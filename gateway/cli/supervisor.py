"""Several worker processes on one port: the supervisor owns only the address and the store.

Each worker gets a socket of its own on the shared port, so the kernel spreads connections evenly. A worker
that dies is replaced. When the supervisor ends, for any reason, the pipe that the workers inherited closes,
and the workers end too.
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

from gateway.cli.hangup import handled_hangups, hangups_wait
from gateway.cli.sockets import can_connect, share, shown_address
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


@dataclass
class _Slot:
    """The place of one worker."""

    process: subprocess.Popen[bytes]
    started_at: float
    wait_seconds: float = FIRST_RESTART_SECONDS
    restart_at: float | None = None


@dataclass
class Supervisor:
    """Keeps `workers` processes running until told to stop.

    Attributes:
        start_worker: Starts one worker process.
        workers: The number of workers.
        accepts: Whether a worker accepts connections on the port.
        announce: Called once, as soon as a worker accepts connections.
        bury: Called with the process id of a worker that died.
        stop_seconds: How long workers may take to end before they are killed.
        clock: Monotonic seconds.
    """

    start_worker: Callable[[], subprocess.Popen[bytes]]
    workers: int
    accepts: Callable[[], bool]
    announce: Callable[[], None]
    bury: Callable[[int], None]
    stop_seconds: float = STOP_MARGIN_SECONDS
    clock: Callable[[], float] = time.monotonic
    is_stopping: bool = False
    _slots: list[_Slot] = field(default_factory=list)

    def run(self) -> None:
        """Start the workers, replace the ones that die, and end them all when stopped."""
        try:
            self._slots = [_Slot(self.start_worker(), self.clock()) for _ in range(self.workers)]
            is_announced = False
            while not self.is_stopping:
                time.sleep(POLL_SECONDS)
                if not is_announced and self.accepts():
                    is_announced = True
                    self.announce()
                for slot in self._slots:
                    self._look_after(slot)
        finally:
            self._end_all()

    def stop(self, _signal: int = 0, _frame: FrameType | None = None) -> None:
        """Ask the supervisor to end; a signal handler."""
        self.is_stopping = True

    def reload(self) -> None:
        """Let every worker read the configuration anew; one that is starting does so once it is ready."""
        for slot in self._slots:
            if slot.process.poll() is None:
                slot.process.send_signal(signal.SIGHUP)

    def _look_after(self, slot: _Slot) -> None:
        now = self.clock()
        if slot.restart_at is not None:
            if now >= slot.restart_at:
                slot.process, slot.started_at, slot.restart_at = self.start_worker(), now, None
        elif (status := slot.process.poll()) is not None:
            if now - slot.started_at >= STEADY_SECONDS:
                slot.wait_seconds = FIRST_RESTART_SECONDS
            self.bury(slot.process.pid)
            _log.error("worker_died", status=status, restart_in_seconds=slot.wait_seconds)
            slot.restart_at = now + slot.wait_seconds
            slot.wait_seconds = min(2 * slot.wait_seconds, SLOWEST_RESTART_SECONDS)

    def _end_all(self) -> None:
        processes = [slot.process for slot in self._slots]
        for process in processes:
            process.terminate()
        deadline = self.clock() + self.stop_seconds
        for process in processes:
            try:
                process.wait(max(0.0, deadline - self.clock()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def supervise(config: Path, settings: Settings, reserved: socket.socket, workers: int) -> None:
    """Run workers on the address of `reserved` until SIGTERM or SIGINT.

    Args:
        config: The configuration file; every worker reads it.
        settings: How to run; workers read the same environment.
        reserved: A shared socket bound to the address. It never listens: it keeps the address ours while
            workers come and go.
        workers: How many.
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

        def start_worker() -> subprocess.Popen[bytes]:
            # The worker inherits that hangups wait, until it can handle them.
            with hangups_wait(), share(reserved.family, reserved.getsockname()) as listener:
                return subprocess.Popen(  # noqa: S603 - this program itself
                    [
                        *(sys.executable, "-m", "gateway.cli.worker"),
                        *(str(config), str(listener.fileno()), str(alive)),
                    ],
                    env=environment,
                    start_new_session=True,  # the supervisor passes Ctrl-C on
                    pass_fds=(listener.fileno(), alive),
                )

        address = shown_address(reserved)
        supervisor = Supervisor(
            start_worker,
            workers,
            accepts=lambda: can_connect(reserved),
            announce=lambda: _log.info("listening", address=address, workers=workers),
            # Keep the dead worker's counters, but drop gauges that describe a living process.
            bury=lambda pid: mark_process_dead(pid, metrics),  # type: ignore[no-untyped-call]
            stop_seconds=settings.drain_notice_seconds + settings.drain_seconds + STOP_MARGIN_SECONDS,
        )
        signal.signal(signal.SIGTERM, supervisor.stop)
        signal.signal(signal.SIGINT, supervisor.stop)
        with handled_hangups(supervisor.reload):
            supervisor.run()
