"""Where a gateway's configuration comes from: the file, the templates it names, and files with secrets."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.config.environment import Environment
from gateway.config.gateway_file import GatewayConfig
from gateway.config.load import load_config
from gateway.config.read_files import ReadFiles, Stamp, stamp_of
from gateway.errors import ConfigError
from gateway.settings import Settings, read_settings


@dataclass(frozen=True, slots=True)
class Loaded:
    """A loaded configuration.

    Attributes:
        config: The file.
        settings: The settings, of which some may be in files too.
        environ: The variables in which references were looked up.
    """

    config: GatewayConfig
    settings: Settings
    environ: Environment


class ConfigSource:
    """Reads the configuration whenever it is asked to.

    Args:
        path: The configuration file.
        check: Raises ConfigError if this process cannot serve the configuration, as at the start.
        environ: The environment of the process.
    """

    def __init__(
        self,
        path: Path,
        check: Callable[[GatewayConfig, Settings], None],
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._path = path
        self._check = check
        self._environ = environ
        self._read: dict[Path, Stamp] = {}

    def read(self) -> Loaded:
        """The present configuration.

        Raises:
            ConfigError: With one issue for every fault.
        """
        environ, files = Environment(self._environ), ReadFiles()
        files.add(self._path)
        try:
            return self._load(environ, files)
        finally:  # a file that was refused is not read again until it changes
            self._read = files.stamps | environ.files.stamps

    def change(self) -> Mapping[Path, Stamp] | None:
        """How the files are now, if one is another than when it was read last."""
        now = {path: stamp_of(path) for path in self._read}
        return None if now == self._read else now

    def _load(self, environ: Environment, files: ReadFiles) -> Loaded:
        config, settings, issues = None, None, []
        try:
            config = load_config(self._path, environ, files=files)
        except ConfigError as error:
            issues += error.issues
        try:
            settings = read_settings(environ)
        except ConfigError as error:
            issues += error.issues
        if config is None or settings is None:
            raise ConfigError(issues)
        self._check(config, settings)
        return Loaded(config, settings, environ)


@dataclass(frozen=True, slots=True)
class ReadFrom:
    """How a gateway that was started from a file reads it again.

    Attributes:
        source: Reads the configuration.
        settings: The settings as they were read at the start.
        rouse: Makes the other processes behind the port reload, without the store's help.
    """

    source: ConfigSource
    settings: Settings
    rouse: Callable[[], None] = lambda: None
