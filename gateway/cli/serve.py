"""`llmpo serve`: one process, or several that share a port and a store."""

from __future__ import annotations

import socket
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import typer

from gateway.cli import complain
from gateway.cli.hangup import hold_hangups
from gateway.cli.reading import has_keys, source_of
from gateway.cli.sockets import bind
from gateway.reloading.source import Loaded, ReadFrom
from gateway.running.logs import configure_logging, get_logger
from gateway.running.memory import starting
from gateway.settings import read_settings
from policy_store.embedded import EmbeddedValkey

_log = get_logger(__name__)

_LOOPBACK: Final = "127.0.0.1"


def serve(
    config: Annotated[Path, typer.Option(help="The configuration file (YAML).")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = _LOOPBACK,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")
    ] = 8080,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Processes that answer requests.")] = 1,
) -> None:
    """Run the gateway until it is told to stop."""
    hold_hangups()
    settings = read_settings()
    configure_logging(settings.log_level, as_json=settings.log_json)
    source = source_of(config, host)
    loaded = source.read()
    if not has_keys(loaded.config, settings):
        _log.warning("no_api_keys", reachable_from="this machine only", host=host)
    listener = bind(host, port, shared=workers > 1)
    if workers == 1:
        _serve_alone(loaded, ReadFrom(source, settings), listener)
    else:
        from gateway.cli.supervisor import supervise  # noqa: PLC0415 - one process needs no supervisor

        if (fault := supervise(config, settings, listener, workers)) is not None:
            for text in fault.faults:
                complain(text)
            raise typer.Exit(fault.status)


def _serve_alone(loaded: Loaded, origin: ReadFrom, listener: socket.socket) -> None:
    """Serve in this process; an embedded store starts while the rest of the program is loaded."""
    settings = loaded.settings
    with starting(), ExitStack() as resources:
        url: Future[str] | None = None
        if settings.redis_url is None:
            valkey = EmbeddedValkey()
            resources.callback(valkey.stop)
            url = resources.enter_context(ThreadPoolExecutor(1)).submit(valkey.start, settings.data_dir)
        from gateway.cli.worker import run_worker  # noqa: PLC0415 - takes most of the start

        if url is not None:
            settings = settings.model_copy(update={"redis_url": url.result()})
        run_worker(replace(loaded, settings=settings), origin, listener)
