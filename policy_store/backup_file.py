"""The file of a backup: lines of JSON, the first about the whole, the last with a checksum of all others.

    {"type": "backup", "schema": 1, "layout": 2, "version": "0.1.0", "made_at": ..., "store_id": ...,
     "epoch": 1, "is_whole": true}
    {"type": "experiment", "name": ..., "at": ..., "generation": 1, "revision": 7, "comparisons": 1200}
    {"type": "part", "of": ..., "name": "control", "kind": "hash", "expires_at_ms": null, "items": [...]}
    {"type": "end", "lines": 812, "sha256": ...}

The names of the fields are a public interface. Nobody but the owner may read the file, because a whole one
holds the key that seals response ids. It appears under its name only once it is whole and on the disk.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

from policy_store.backup_records import KeyPart, Moment
from policy_store.errors import BackupFileError

BACKUP_SCHEMA: Final = 1
_UNFINISHED: Final = ".unfinished"


@dataclass(frozen=True, slots=True)
class About:
    """What a backup says of itself.

    Attributes:
        layout: The layout of the store's data, a number of `layout.LAYOUT`.
        version: The program that wrote it.
        made_at: Unix seconds by the store's clock, before anything was read.
        store_id: The id of the store that was read.
        epoch: Its epoch.
        is_whole: Whether it holds all experiments and what they share.
    """

    layout: int
    version: str
    made_at: float
    store_id: str
    epoch: int
    is_whole: bool


class BackupWriter:
    """Writes a backup. Leaving the `with` block by an error leaves no file.

    Args:
        path: Where the file appears.
        about: Its first line.

    Raises:
        BackupFileError: The file cannot be written.
    """

    def __init__(self, path: Path, about: About) -> None:
        self._path = path = Path(os.path.realpath(path)) if path.is_symlink() else path
        self._unfinished = path.with_name(path.name + _UNFINISHED)
        self._about = about
        self._file: BinaryIO | None = None
        self._sum = hashlib.sha256()
        self._lines = 0

    def __enter__(self) -> Self:
        path = self._path
        if (path.exists() or path.is_symlink()) and not path.is_file():  # renaming would take its place
            raise BackupFileError(
                f"{path} is a directory, a device, a pipe or a link to itself. Name a file."
            )
        try:
            if path.exists() and path.stat().st_size > 0 and not is_backup(path):
                raise BackupFileError(
                    f"{path} is there, is no backup, and would be lost. Name another file, or remove it."
                )
            with suppress(FileNotFoundError):
                self._unfinished.unlink()  # of a backup that was killed
            descriptor = os.open(self._unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise BackupFileError(f"{self._path} cannot be written: {error.strerror}.") from error
        self._file = os.fdopen(descriptor, "wb")
        self._line({"type": "backup", "schema": BACKUP_SCHEMA, **asdict(self._about)})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is None:
            return
        try:
            if error is None:
                self._finish(self._file)
        except OSError as failed:
            raise BackupFileError(f"{self._path} cannot be written: {failed.strerror}.") from failed
        finally:
            self._file.close()
            with suppress(FileNotFoundError):
                self._unfinished.unlink()

    def add(self, what: Moment | KeyPart) -> None:
        """Write a line."""
        kind = "experiment" if isinstance(what, Moment) else "part"
        # `asdict` would copy every word.
        self._line({"type": kind, **{field.name: getattr(what, field.name) for field in fields(what)}})

    def _line(self, fields: dict[str, Any]) -> None:
        line = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        if self._file is None:
            raise ValueError("A backup is written in a with block.")
        try:
            self._file.write(line)
        except OSError as error:
            raise BackupFileError(f"{self._path} cannot be written: {error.strerror}.") from error
        self._sum.update(line)
        self._lines += 1

    def _finish(self, file: BinaryIO) -> None:
        file.write(_end(self._lines, self._sum.hexdigest()))
        file.flush()
        os.fsync(file.fileno())
        self._unfinished.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class BackupFile:
    """A backup that was read once from end to end, so that it is known to be whole and unchanged.

    Args:
        path: The file.

    Attributes:
        about: Its first line.
        moments: The experiments in it.

    Raises:
        BackupFileError: It is no backup, it is not whole, something in it was changed, or a newer version
            wrote it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        checksum, lines, end = hashlib.sha256(), 0, b""
        moments: list[dict[str, Any]] = []
        first: dict[str, Any] = {}
        for line in self._lines():
            if end:
                checksum.update(end)
                lines += 1
            end = line
            if not lines and not first:
                first = self._about(line)
            elif line.startswith(b'{"type":"experiment"'):
                moments.append(self._fields(line))
        if end != _end(lines, checksum.hexdigest()):  # byte by byte, as no checksum is of this line
            raise BackupFileError(f"{path} is not whole, or was changed: its checksum is another one.")
        self.about = About(**first)
        self.moments = tuple(Moment(**each) for each in moments)

    def parts(self) -> Iterator[KeyPart]:
        """The keys in it."""
        for line in self._lines():
            if line.startswith(b'{"type":"part"'):
                fields = self._fields(line)
                yield KeyPart(**{**fields, "items": tuple(fields["items"])})

    def _about(self, line: bytes) -> dict[str, Any]:
        fields = self._fields(line)
        if not line.startswith(b'{"type":"backup"') or not isinstance(
            schema := fields.pop("schema", None), int
        ):
            raise BackupFileError(f"{self._path} is no backup; `llmpo backup` writes one.")
        if schema > BACKUP_SCHEMA:
            raise BackupFileError(
                f"{self._path} has the form {schema}, and this version reads {BACKUP_SCHEMA}; upgrade it."
            )
        return fields

    def _lines(self) -> Iterator[bytes]:
        try:
            with self._path.open("rb") as file:
                yield from file
        except OSError as error:
            raise BackupFileError(f"{self._path} cannot be read: {error.strerror}.") from error

    def _fields(self, line: bytes) -> dict[str, Any]:
        try:
            fields: dict[str, Any] = json.loads(line)
            del fields["type"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise BackupFileError(
                f"{self._path} is not whole, or no backup: it holds what is no line of one."
            ) from error
        return fields


def _end(lines: int, checksum: str) -> bytes:
    """The last line."""
    return json.dumps({"type": "end", "lines": lines, "sha256": checksum}).encode() + b"\n"


def is_backup(path: Path) -> bool:
    """Whether a file begins like a backup."""
    try:
        with path.open("rb") as file:
            return file.read(16) == b'{"type":"backup"'
    except OSError:
        return False
