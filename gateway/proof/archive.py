"""The files of an archive of experiments' logs: one for each log, written at the end only.

    FOLDER/EXPERIMENT/GENERATION.jsonl         (EXPERIMENT is percent-encoded)
    FOLDER/EXPERIMENT/GENERATION.ROLE.jsonl    (what only informs)

    {"type": "archive", "schema": 1, "name": ..., "log": "1"}
    {"entry": "1790000000000-0", "digest": ..., "record": {"type": "comparison", ...}}

A record is a line of an exported log (`log_lines`). The digest is of the line's entry, its record and the
digest before it, so no line can be changed, left out or put in without changing every digest that follows.
The store says the digest up to which it was archived.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import orjson

from gateway.errors import GatewayError
from gateway.proof.log_lines import record_fields
from policy_store.archives import Archived
from policy_store.log_records import LogRecord

ARCHIVE_SCHEMA: Final = 1
NO_ENTRY: Final = "0-0"
_LONGEST_LINE: Final = 64 * 1024  # at first; longer ones are looked for after that


class ArchiveError(GatewayError):
    """An archive is not what its experiment's log was, or cannot be used here."""


@dataclass(frozen=True, slots=True)
class ArchivedRecord:
    """A line of an archive: the entry's id in the store, the digest up to it, and the record as exported."""

    entry: str
    digest: str
    record: dict[str, Any]

    def is_in_place_of(self, other: dict[str, Any]) -> bool:
        """Whether another record claims the same place in the log."""
        field = {"comparison": "number", "plan": "version"}.get(other["type"], "at")
        return self.record["type"] == other["type"] and self.record.get(field) == other.get(field)


def archive_path(folder: Path, name: str, log: str) -> Path:
    """The file of a log."""
    return folder / quote(name, safe="") / f"{log.replace(':', '.')}.jsonl"


def read_archive(folder: Path, name: str, log: str) -> Iterator[ArchivedRecord]:
    """The records of a log, each checked against its digest; none if it has no file.

    Raises:
        ArchiveError: Naming the first entry that differs.
    """
    path = archive_path(folder, name, log)
    try:
        with path.open("rb") as file:
            yield from _checked(path, file, name, log)
    except FileNotFoundError:
        return
    except OSError as error:
        raise ArchiveError(f"{path} cannot be read: {error.strerror}.") from error


def _checked(path: Path, lines: Iterable[bytes], name: str, log: str) -> Iterator[ArchivedRecord]:
    digest, before = "", NO_ENTRY
    for number, line in enumerate(lines, start=1):
        if not line.endswith(b"\n"):
            return  # being written when its process was killed; never acknowledged
        try:
            fields = orjson.loads(line)
            if number == 1:
                digest = _begin(path, fields, name, log)
                continue
            found = ArchivedRecord(fields["entry"], fields["digest"], fields["record"])
        except (KeyError, TypeError, ValueError) as error:
            raise ArchiveError(
                f"{path}: line {number}, behind entry {before}, is none of an archive."
            ) from error
        if found.digest != digest_of(digest, found.entry, found.record):
            raise ArchiveError(
                f"{path}: entry {found.entry} (line {number}) differs from what was archived, or what stood "
                f"between {before} and it is missing."
            )
        digest, before = found.digest, found.entry
        yield found


def _begin(path: Path, fields: dict[str, Any], name: str, log: str) -> str:
    """The digest that the first line begins with."""
    if fields["type"] != "archive" or fields["schema"] > ARCHIVE_SCHEMA:
        raise ArchiveError(f"{path} is no archive, or a newer version wrote it.")
    if (fields["name"], fields["log"]) != (name, log):
        raise ArchiveError(f"{path} is the archive of {fields['name']!r}, log {fields['log']}.")
    return _first_digest(name, log)


def _first_digest(name: str, log: str) -> str:
    return sha256(orjson.dumps([name, log])).hexdigest()


def digest_of(before: str, entry: str, record: dict[str, Any]) -> str:
    """The digest of a line, from the one before."""
    return sha256(orjson.dumps([before, entry, record], option=orjson.OPT_SORT_KEYS)).hexdigest()


class ArchiveWriter:
    """Writes one log to the end of its file, which it reads and checks first.

    Args:
        folder: The archive.
        name: The experiment.
        log: Its log.
        acknowledged: How far the store says that it is archived.

    Attributes:
        entry: The last entry in the file.
        digest: The digest up to it.

    Raises:
        ArchiveError: The file is not what was archived, lacks some of it, or cannot be written.
    """

    def __init__(self, folder: Path, name: str, log: str, acknowledged: Archived | None) -> None:
        path = self._path = archive_path(folder, name, log)
        with _writing(path):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.entry, self.digest = NO_ENTRY, _first_digest(name, log)
        is_missing = acknowledged is not None
        for found in read_archive(folder, name, log):
            self.entry, self.digest = found.entry, found.digest
            if acknowledged is not None and found.entry == acknowledged.entry:
                is_missing = found.digest != acknowledged.digest
        if acknowledged is not None and is_missing:
            raise ArchiveError(
                f"{path} ends at entry {self.entry} and is not the archive that the store knows, which has "
                f"entry {acknowledged.entry}. Go on with that one, or copy it here. If it is lost, begin "
                "anew in an empty folder with --reset."
            )
        with _writing(path):
            self._size = _mended(path)
        if not self._size:
            head = {"type": "archive", "schema": ARCHIVE_SCHEMA, "name": name, "log": log}
            self._write(orjson.dumps(head, option=orjson.OPT_APPEND_NEWLINE))

    def append(self, entries: Iterable[tuple[str, LogRecord]]) -> None:
        """Write entries, and return once they are on the disk. Raises ArchiveError if they are not."""
        lines = []
        for entry, record in entries:
            fields = orjson.loads(orjson.dumps(record_fields(record)))
            self.digest, self.entry = digest_of(self.digest, entry, fields), entry
            line = {"entry": entry, "digest": self.digest, "record": fields}
            lines.append(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        self._write(b"".join(lines))

    def _write(self, text: bytes) -> None:
        """Write to the end of the file. It is open only meanwhile, as there may be thousands of logs."""
        with _writing(self._path), self._path.open("r+b") as file:
            if file.seek(0, os.SEEK_END) != self._size:
                raise ArchiveError(
                    f"Something else changed {self._path}. Start again; the file is checked then."
                )
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        self._size += len(text)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Name the file that could not be written."""
    try:
        yield
    except OSError as error:
        raise ArchiveError(f"{path} cannot be written: {error.strerror}.") from error


def _mended(path: Path) -> int:
    """Make the file, or cut off what a killed process had begun to write; its size then."""
    is_new = not path.exists()
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
        size = file.seek(0, os.SEEK_END)
        text, step = b"", _LONGEST_LINE
        while len(text) < size and b"\n" not in text:
            file.seek(max(0, size - step))
            text, step = file.read(), 2 * step
        if size:
            size = file.truncate(size - len(text) + text.rfind(b"\n") + 1)
    if is_new:
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
    return size
