"""`llmpo serve`: one process, or several that share a port and a store."""

from __future__ import annotations

import os
import socket
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Final

import typer

from gateway.api.hosts import is_loopback
from gateway.cli.sockets import bind
from gateway.config.gateway_file import GatewayConfig
from gateway.config.load import load_config
from gateway.errors import ConfigError, ConfigIssue
from gateway.running.logs import configure_logging, get_logger
from gateway.settings import Settings, read_settings
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
    settings = read_settings()
    configure_logging(settings.log_level, as_json=settings.log_json)
    gateway = load_config(config, os.environ)
    check_exposure(host, has_keys=has_keys(gateway, settings))
    check_origins(gateway, has_keys=has_keys(gateway, settings))
    listener = bind(host, port, shared=workers > 1)
    if workers == 1:
        _serve_alone(gateway, settings, listener)
    else:
        from gateway.cli.supervisor import supervise  # noqa: PLC0415 - one process needs no supervisor

        supervise(config, settings, listener, workers)


def _serve_alone(gateway: GatewayConfig, settings: Settings, listener: socket.socket) -> None:
    """Serve in this process; an embedded store starts while the rest of the program is loaded."""
    with ExitStack() as resources:
        url: Future[str] | None = None
        if settings.redis_url is None:
            valkey = EmbeddedValkey()
            resources.callback(valkey.stop)
            url = resources.enter_context(ThreadPoolExecutor(1)).submit(valkey.start, settings.data_dir)
        from gateway.cli.worker import run_worker  # noqa: PLC0415 - takes most of the start

        if url is not None:
            settings = settings.model_copy(update={"redis_url": url.result()})
        run_worker(gateway, settings, listener)


def has_keys(config: GatewayConfig, settings: Settings) -> bool:
    """Whether callers must show a key."""
    return config.auth.has_keys or bool(settings.client_keys or settings.admin_keys)


def check_exposure(host: str, *, has_keys: bool) -> None:
    """Refuse to listen on an address that others can reach without a key.

    Raises:
        ConfigError: If another machine could reach a gateway that asks for no key.
    """
    if has_keys:
        return
    if not is_loopback(host):
        raise ConfigError(
            [
                ConfigIssue(
                    "--host",
                    f"Without API keys anyone who reaches {host} could use your providers.",
                    "Make keys with `llmpo keys new` and set LLMPO_CLIENT_KEYS and LLMPO_ADMIN_KEYS "
                    "(or `auth` in the file), or listen on 127.0.0.1.",
                )
            ]
        )
    _log.warning("no_api_keys", reachable_from="this machine only", host=host)


def check_origins(config: GatewayConfig, *, has_keys: bool) -> None:
    """Refuse to let any web page open in a browser of this machine use the gateway.

    Raises:
        ConfigError: If every origin is allowed and no key is asked for.
    """
    if "*" in config.cors_origins and not has_keys:
        raise ConfigError(
            [
                ConfigIssue(
                    "cors_origins",
                    "Without API keys any web page open in a browser on this machine could use your "
                    "providers.",
                    "List the origins of your own pages instead of `*`, or make keys with `llmpo keys new`.",
                )
            ]
        )
