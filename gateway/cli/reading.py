"""Reads the configuration for `llmpo serve` at the start and at each reload, and refuses unsafe ones."""

from __future__ import annotations

from pathlib import Path

from gateway.api.hosts import is_loopback
from gateway.config.gateway_file import GatewayConfig
from gateway.errors import ConfigError, ConfigIssue
from gateway.reloading.source import ConfigSource
from gateway.settings import Settings


def source_of(path: Path, host: str) -> ConfigSource:
    """The configuration source of a gateway that listens on this address."""

    def check(config: GatewayConfig, settings: Settings) -> None:
        check_exposure(host, has_keys=has_keys(config, settings))
        check_origins(config, has_keys=has_keys(config, settings))

    return ConfigSource(path, check)


def has_keys(config: GatewayConfig, settings: Settings) -> bool:
    """Whether callers must show a key."""
    return config.auth.has_keys or bool(settings.client_keys or settings.admin_keys)


def check_exposure(host: str, *, has_keys: bool) -> None:
    """Refuse to listen on an address that others can reach without a key.

    Raises:
        ConfigError: If another machine could reach a gateway that asks for no key.
    """
    if not has_keys and not is_loopback(host):
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
