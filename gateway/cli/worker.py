"""One process that answers requests: uvicorn on uvloop around the app, without its own lifespan handling.

Resources are opened before the first connection is taken and closed after the last answer, and a fault in
opening them ends the program with its own message, not with a stack of the server's.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
import uvloop
from fastapi import FastAPI

from gateway.api.tuning import settle_memory
from gateway.app import create_app
from gateway.cli.sockets import shown_address
from gateway.config.load import load_config
from gateway.config.models import GatewayConfig
from gateway.settings import Settings, read_settings
from gateway.telemetry.logging import configure_logging, get_logger

_log = get_logger(__name__)

SHUTDOWN_SECONDS = 25  # less than what Kubernetes and systemd wait before they kill
BACKLOG = 2048


class Server(uvicorn.Server):
    """Stops on a signal without sending it to itself again, so that what comes after serving still runs."""

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
    config: GatewayConfig, settings: Settings, listener: socket.socket, parent_fd: int | None = None
) -> None:
    """Serve until told to stop.

    Args:
        config: What to serve.
        settings: How to run.
        listener: A bound socket; closed at the end.
        parent_fd: A pipe that closes when the supervising process ends, which ends this one too.
    """
    app = create_app(config, settings)
    server = Server(
        uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            backlog=BACKLOG,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        )
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(app, server, listener, parent_fd))


async def _serve(app: FastAPI, server: Server, listener: socket.socket, parent_fd: int | None) -> None:
    if parent_fd is not None:
        asyncio.get_running_loop().add_reader(parent_fd, _stop, server, parent_fd)
    async with app.router.lifespan_context(app):
        settle_memory()
        listener.listen(BACKLOG)
        if parent_fd is None:
            _log.info("listening", address=shown_address(listener))
        else:
            _log.info("worker ready", pid=os.getpid())
        await server.serve(sockets=[listener])


def _stop(server: Server, parent_fd: int) -> None:
    asyncio.get_running_loop().remove_reader(parent_fd)
    server.should_exit = True


def main(config: str, listener_fd: str, parent_fd: str) -> None:
    """A worker of a supervisor: `python -m gateway.cli.worker CONFIG LISTENER_FD PARENT_FD`."""
    settings = read_settings()
    configure_logging(settings.log_level, as_json=settings.log_json)
    run_worker(
        load_config(Path(config), os.environ),
        settings,
        socket.socket(fileno=int(listener_fd)),
        int(parent_fd),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
