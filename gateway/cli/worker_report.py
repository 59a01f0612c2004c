"""What a worker tells its supervisor: that it takes requests, or why starting it again does not help.

The report is an unnamed file that the worker inherits. Unlike a pipe it holds a text of any length while
nobody reads it, and it is there when the worker has ended.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from tempfile import TemporaryFile
from typing import IO, Final

_READY: Final = b"ready"


@dataclass(frozen=True, slots=True)
class StartFault:
    """Why a worker cannot start, however often it is tried.

    Attributes:
        status: The exit status of `llmpo serve` for it.
        faults: What is wrong, one text for each fault.
    """

    status: int
    faults: tuple[str, ...]


def tell_ready(report: int) -> None:
    """Say through a worker's report that it takes requests."""
    os.pwrite(report, _READY, 0)


def tell_fault(report: int, fault: StartFault) -> None:
    """Say through a worker's report why it ends."""
    os.ftruncate(report, 0)
    os.pwrite(report, json.dumps([fault.status, fault.faults]).encode(), 0)


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """The supervisor's side of a report."""

    _file: IO[bytes] = field(default_factory=TemporaryFile)

    def fileno(self) -> int:
        """The descriptor that the worker inherits."""
        return self._file.fileno()

    def close(self) -> None:
        """Forget what was told."""
        self._file.close()

    @property
    def is_ready(self) -> bool:
        """Whether the worker said that it takes requests, and nothing since."""
        return self._text() == _READY

    @property
    def fault(self) -> StartFault | None:
        """Why the worker ended; None if it did not say that it cannot start. Read once it has ended."""
        if (text := self._text()) in (b"", _READY):
            return None
        try:
            status, faults = json.loads(text)
        except ValueError:  # it was killed, or the disk became full, before it had said everything
            return None
        return StartFault(status, tuple(faults))

    def _text(self) -> bytes:
        return os.pread(self.fileno(), os.fstat(self.fileno()).st_size, 0)
