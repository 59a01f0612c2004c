"""A file of reports that wait for the store: one process writes it, any other may replay it afterwards.

Each line is a checksum and a JSON object. A line counts once it is on the disk as a whole; what a process was
writing when it was killed is not acknowledged and not read. The process that writes or replays a file holds a
lock on it, which ends with the process.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from hashlib import blake2b
from pathlib import Path
from secrets import token_hex
from typing import Final

from gateway.learning.given_feedback import Feedback, Preferred

_SUFFIX: Final = ".spool"
_PAGE: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class SpooledReport:
    """A report as it waits: nothing else of it is kept.

    Attributes:
        id: The sealed id of the answer; it holds the digest of the voter.
        signal: What the report rates the answer by.
        value: What the signal says.
        preferred: Which choice of two was better.
        called: Digest of what its sender calls it, or a name of its own.
        received_at: Unix seconds by the clock of the gateway that took it.
    """

    id: str
    signal: str | None
    value: bool | float | None
    preferred: Preferred | None
    called: str
    received_at: float

    @classmethod
    def of(cls, feedback: Feedback, received_at: float) -> SpooledReport:
        """What is kept of a report."""
        called = feedback.called or token_hex(8)
        return cls(
            feedback.response_id, feedback.signal, feedback.value, feedback.preferred, called, received_at
        )

    @classmethod
    def from_line(cls, line: bytes) -> SpooledReport | None:
        """The report in a line without its end; None if the line is damaged."""
        checksum, _, text = line.partition(b" ")
        if checksum != _checksum(text):
            return None
        try:
            said = json.loads(text)
            return cls(**{field.name: said[field.name] for field in fields(cls)})
        except (KeyError, TypeError, ValueError):
            return None

    @property
    def feedback(self) -> Feedback:
        """The report."""
        return Feedback(self.id, self.signal, self.value, self.preferred, already_called=self.called)

    def line(self) -> bytes:
        """Its line."""
        text = json.dumps(asdict(self), separators=(",", ":")).encode()
        return _checksum(text) + b" " + text + b"\n"


class SpoolFile:
    """One file, locked for this process.

    Attributes:
        path: Where it is.
        size: How many bytes of whole lines it has.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size

    @classmethod
    def new(cls, folder: Path, store: str) -> SpoolFile:
        """A file of this process, empty. Raises OSError."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        while True:
            path = folder / f"{store}-{token_hex(8)}{_SUFFIX}"
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_at(path, descriptor):
                break
            os.close(descriptor)  # another process locked it first, as one that was left, and removed it
        _sync_folder(folder)
        return cls(path, descriptor)

    @classmethod
    def left(cls, folder: Path, store: str) -> Iterator[SpoolFile]:
        """The files that no process holds, each locked for this one once it is its turn."""
        for path, _ in spool_files(folder, store):
            with suppress(OSError):
                descriptor = os.open(path, os.O_RDWR | os.O_APPEND)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    is_left = _is_at(path, descriptor)
                except OSError:  # another process holds it
                    is_left = False
                if is_left:
                    yield cls(path, descriptor)
                else:
                    os.close(descriptor)

    def append(self, lines: bytes) -> None:
        """Write lines, and return once they are on the disk.

        Raises:
            OSError: None of them is in the file.
        """
        try:
            written = 0
            while written < len(lines):
                written += os.write(self._descriptor, lines[written:])
            os.fsync(self._descriptor)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self.size)
            raise
        self.size += len(lines)

    def read(self, position: int) -> list[tuple[SpooledReport | None, int]]:
        """Some reports from a position on, each with the position behind it; None for a damaged line."""
        text = os.pread(self._descriptor, _PAGE, position)
        found = []
        for line in text[: text.rfind(b"\n") + 1].splitlines(keepends=True):
            position += len(line)
            found.append((SpooledReport.from_line(line.removesuffix(b"\n")), position))
        return found

    def clear(self) -> None:
        """Forget all lines. Raises OSError."""
        os.ftruncate(self._descriptor, 0)
        os.fsync(self._descriptor)
        self.size = 0

    def remove(self) -> None:
        """Remove the file and end the lock."""
        with suppress(OSError):
            self.path.unlink()
            _sync_folder(self.path.parent)
        self.close()

    def close(self) -> None:
        """End the lock; another process may replay what is left."""
        os.close(self._descriptor)


def spool_files(folder: Path, store: str) -> list[tuple[Path, int]]:
    """The files of a store with their sizes, the one that was written to earliest first."""
    found = []
    for path in folder.glob(f"{store}-*{_SUFFIX}"):
        with suppress(OSError):  # another process has removed it
            stat = path.stat()
            found.append((stat.st_mtime, path, stat.st_size))
    return [(path, size) for _, path, size in sorted(found)]


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether the file is still there; another process may have removed it."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _checksum(text: bytes) -> bytes:
    return blake2b(text, digest_size=8).hexdigest().encode()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
