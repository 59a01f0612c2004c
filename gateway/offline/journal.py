"""An append-only file of JSON lines that survives the death of its writer.

Each line is written in one call and stays readable even if this process is killed. A line cut short by a
crash is dropped when the file is opened again. A power cut may take the last lines.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

from gateway.offline.errors import RunDirectoryError


class Journal:
    """Opens the file for appending; `rows` holds its earlier content.

    Raises:
        RunDirectoryError: If a line before the last is not JSON.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self.rows = self._read()
        except BaseException:
            os.close(self._file)
            raise

    def append(self, row: Mapping[str, Any]) -> None:
        """Write one line.

        Raises:
            RunDirectoryError: If it cannot be written.
        """
        line = orjson.dumps(dict(row), option=orjson.OPT_APPEND_NEWLINE)
        try:
            written = os.write(self._file, line)
        except OSError as error:
            raise self._unwritable(error.strerror) from error
        if written != len(line):
            raise self._unwritable("the disk is full")

    def close(self) -> None:
        """Close the file. May be called again."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _unwritable(self, why: str | None) -> RunDirectoryError:
        return RunDirectoryError(
            f"{self._path} cannot be written: {why}. Correct this and continue with --resume."
        )

    def _read(self) -> list[dict[str, Any]]:
        content = self._path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.ftruncate(self._file, whole)
        rows = []
        for number, line in enumerate(content[:whole].splitlines(), start=1):
            try:
                rows.append(dict(orjson.loads(line)))
            except (orjson.JSONDecodeError, TypeError, ValueError) as error:
                raise RunDirectoryError(
                    f"{self._path} line {number} is damaged ({error}). Start anew in another --out."
                ) from error
        return rows
