"""One process that answers requests: uvicorn on uvloop around the app, without its own lifespan handling.

Resources are opened before the first connection is accepted and closed after the last answer. If one cannot
be opened, the program ends with that error's own message, not with a stack trace of the server.
"""

from __future__ import annotations

import asyncio
import math
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

import uvicorn
import uvloop

from gateway.api.application import GatewayApp
from gateway.app import create_app
from gateway.cli import complain, faults_of, status_of
from gateway.cli.hangup import handled_hangups
from gateway.cli.http_protocol import ArrivalLimits, bounded_protocol
from gateway.cli.reading import source_of
from gateway.cli.sockets import allow_connections, listen, shown_address
from gateway.cli.worker_report import StartFault, tell_fault, tell_ready
from gateway.errors import GatewayError
from gateway.reloading.source import Loaded, ReadFrom
from gateway.running.lifecycle import Lifecycle
from gateway.running.logs import configure_logging, get_logger
from gateway.running.memory import settle_memory
from gateway.settings import read_settings
from policy_store.errors import StoreError, StoreUnavailableError

_log = get_logger(__name__)

BACKLOG: Final = 2048
FAREWELL_SECONDS: Final = 5.0  # time for answers that were cut off to send their callers an error


@dataclass(frozen=True, slots=True)
class Supervised:
    """What ties a worker to its supervisor.

    Attributes:
        parent: A pipe that closes when the supervisor ends, which ends the worker too.
        report: Where the worker says how its start went (`worker_report`).
    """

    parent: int
    report: int


class Server(uvicorn.Server):
    """Stops in steps. It does not send the signal to itself again, so the code after serving still runs.

    After SIGTERM the server still answers everything for `notice_seconds` while readiness says no, so that
    load balancers use other replicas. Then it takes nothing new, and answers in progress have
    `drain_seconds` to finish; those that have not finished by then end with an error. SIGINT, or a second
    signal, skips the notice; one more SIGINT ends the process at once.
    """

    def __init__(
        self, config: uvicorn.Config, lifecycle: Lifecycle, *, notice_seconds: float, drain_seconds: float
    ) -> None:
        config.timeout_graceful_shutdown = math.ceil(drain_seconds + FAREWELL_SECONDS)
        super().__init__(config)
        self._lifecycle = lifecycle
        self._notice_seconds = notice_seconds
        self._drain_seconds = drain_seconds

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin the next step of stopping, one for each signal."""
        if sig == signal.SIGTERM and not self._lifecycle.is_draining:
            self._lifecycle.drain()
            asyncio.get_running_loop().call_soon_threadsafe(self._give_notice)
        else:
            self._lifecycle.drain()
            super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take nothing new, and return when the answers in progress have finished or were cut off."""
        self._lifecycle.drain()
        limit = asyncio.get_running_loop().call_later(self._drain_seconds, self._end_answers)
        try:
            await super().shutdown(sockets)
        finally:
            limit.cancel()

    def _give_notice(self) -> None:
        _log.info("draining", notice_seconds=self._notice_seconds)
        asyncio.get_running_loop().call_later(self._notice_seconds, setattr, self, "should_exit", True)

    def _end_answers(self) -> None:
        under_way = list(self.server_state.tasks)
        if under_way:
            _log.warning("answers_cut_off", count=len(under_way))
        self._lifecycle.end()
        for task in under_way:
            task.cancel()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle SIGINT and SIGTERM while serving."""
        previous = {
            number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


def run_worker(
    loaded: Loaded, origin: ReadFrom, listener: socket.socket, supervised: Supervised | None = None
) -> None:
    """Serve until told to stop.

    Args:
        loaded: What to serve, and how to run.
        origin: How that is read again.
        listener: A bound socket; closed at the end.
        supervised: What ties this process to its supervisor; None if it has none.

    Raises:
        GatewayError: If another program listens on the address.
        NewerVersionError: If a newer version wrote the store's data.
    """
    lifecycle, settings = Lifecycle(), loaded.settings
    connections = allow_connections(settings.max_connections)
    app = create_app(loaded.config, settings, lifecycle=lifecycle, origin=origin)
    server = Server(
        uvicorn.Config(
            app,
            http=bounded_protocol(ArrivalLimits(settings.receive_timeout_seconds, connections)),
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            # Proxies' headers are believed only if uvicorn's own variable names trusted proxies.
            proxy_headers="FORWARDED_ALLOW_IPS" in os.environ,
            backlog=BACKLOG,
            timeout_keep_alive=settings.keep_alive_seconds,
        ),
        lifecycle,
        notice_seconds=settings.drain_notice_seconds,
        drain_seconds=settings.drain_seconds,
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(app, server, listener, supervised))


async def _serve(
    app: GatewayApp, server: Server, listener: socket.socket, supervised: Supervised | None
) -> None:
    loop = asyncio.get_running_loop()
    if supervised is not None:

        def stop() -> None:
            loop.remove_reader(supervised.parent)
            server.should_exit = True

        loop.add_reader(supervised.parent, stop)
    async with app.router.lifespan_context(app):
        settle_memory()
        # Before anything announces that requests are accepted.
        with server.capture_signals(), handled_hangups(lambda: loop.call_soon_threadsafe(app.ask_to_reload)):
            listen(listener, BACKLOG)
            if supervised is None:
                _log.info("listening", address=shown_address(listener))
            else:
                _log.info("worker_ready", pid=os.getpid())
                tell_ready(supervised.report)
            await server.serve(sockets=[listener])


def main(config: str, listener_fd: str, parent_fd: str, report_fd: str) -> int:
    """Serve as a worker of a supervisor, started by `worker_program`; the process's exit status."""
    supervised = Supervised(int(parent_fd), int(report_fd))
    try:
        _work(Path(config), socket.socket(fileno=int(listener_fd)), supervised)
    except StoreUnavailableError as error:  # the next start may find it
        complain(str(error))
        return status_of(error)
    except (GatewayError, StoreError) as error:
        tell_fault(supervised.report, StartFault(status_of(error), faults_of(error)))
        return status_of(error)
    return 0


def _work(config: Path, listener: socket.socket, supervised: Supervised) -> None:
    settings, supervisor = read_settings(), os.getppid()
    configure_logging(settings.log_level, as_json=settings.log_json)
    source = source_of(config, listener.getsockname()[0])

    def rouse() -> None:
        if os.getppid() == supervisor:
            os.kill(supervisor, signal.SIGHUP)

    run_worker(source.read(), ReadFrom(source, settings, rouse), listener, supervised)
