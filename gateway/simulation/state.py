"""Keeps finished batches of a simulation line by line, so that an interrupted run can continue.

The first line has the settings, each later one a batch. Each line is written whole and flushed. An
unfinished line of a killed process is dropped when the file is opened again.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from gateway.errors import GatewayError
from gateway.llm_po.lab.simulate import RunEnding

_VERSION: Final = 1


class StateError(GatewayError):
    """A state file that cannot be read, or that belongs to another simulation."""


class StateFile:
    """An append-only file of finished batches.

    Args:
        path: The file; created if it does not exist.
        settings: The settings by the names of options; plain JSON values.

    Raises:
        StateError: If the file is not a state file, or was made with other settings, which the message names.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self._path = path
        self._batches: dict[str, tuple[str, dict[int, list[RunEnding]]]] = {}
        try:
            known = self._read() if path.exists() and path.stat().st_size else None
            if known is None:
                self._write({"version": _VERSION, "settings": dict(settings)})
        except OSError as error:
            raise StateError(f"State file {path} cannot be used: {error.strerror or error}.") from error
        if known is not None:
            self._check(known, settings)

    def finished(self, name: str, fingerprint: str) -> dict[int, list[RunEnding]]:
        """Batches of a job by the index of their first run.

        Raises:
            StateError: If the file holds another job under that name.
        """
        kept, endings = self._batches.get(name, (fingerprint, {}))
        if kept != fingerprint:
            raise StateError(
                f"State file {self._path} has results for {name} in another world or with other settings; "
                "name another file, or delete it to start again."
            )
        return endings

    def add(self, name: str, fingerprint: str, first: int, endings: list[RunEnding]) -> None:
        """Keep a finished batch."""
        fields = [list(dataclasses.astuple(ending)) for ending in endings]
        self._write({"job": name, "fingerprint": fingerprint, "first": first, "endings": fields})

    def _write(self, content: dict[str, Any]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(content, separators=(",", ":")) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _read(self) -> dict[str, Any]:
        """The first line; the others go to `_batches`.

        An unfinished last line is cut off once the others show that this is a state file: the path may name
        any file of the operator's, a world for example.
        """
        content = self._path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        try:
            header, *lines = [json.loads(line) for line in whole.splitlines()]
            if header["version"] != _VERSION:
                raise StateError(
                    f"State file {self._path} has version {header['version']}; only {_VERSION} can be read."
                )
            for line in lines:
                _, kept = self._batches.setdefault(line["job"], (line["fingerprint"], {}))
                kept[line["first"]] = [
                    # Files written before there were caps have nothing after the cost.
                    RunEnding(*map(_as_kept, fields))
                    for fields in line["endings"]
                ]
            settings = dict(header["settings"])
        except (ValueError, KeyError, TypeError) as error:
            raise StateError(
                f"{self._path} is not a state file of simulations; name another file."
            ) from error
        if len(whole) < len(content):
            os.truncate(self._path, len(whole))
        return settings

    def _check(self, known: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        differing = [
            f"{name} is {settings.get(name)}, there it is {known.get(name)}"
            for name in {**known, **settings}
            if known.get(name) != settings.get(name)
        ]
        if differing:
            raise StateError(
                f"State file {self._path} belongs to another simulation: {'; '.join(differing)}. "
                "Use the same options, or another file."
            )


def _as_kept(value: Any) -> Any:
    """The value in Python's form: JSON has lists for tuples."""
    return tuple(value) if isinstance(value, list) else value
