"""Where the embedded server keeps its data and its socket, and the lock that lets one gateway use them.

The server inherits the locked file, so the lock lasts until gateway and server are both gone, however they
end: two servers never write the same append-only file.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import stat
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import quote

from policy_store.errors import DataDirectoryInUseError, EmbeddedStoreError

_SOCKET_NAME: Final = "valkey.sock"
_LOCK_NAME: Final = "gateway.lock"
_LONGEST_SOCKET_PATH: Final = 103  # bytes every supported system can bind, without the closing zero
_LINGER_SECONDS: Final = 2.0  # the server of a gateway that was killed ends within moments
_POLL_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """A directory made ready for the embedded server: absolute, existing, readable only by its owner."""

    path: Path
    socket: Path

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"unix://{quote(str(self.socket))}"

    @property
    def server_log(self) -> Path:
        """What the server says about itself."""
        return self.path / "valkey.log"

    def remove_socket(self) -> None:
        """Leave nothing outside the directory. The caller holds its lock, and no server is running."""
        self.socket.unlink(missing_ok=True)
        if self.socket.parent != self.path:
            with contextlib.suppress(OSError):
                self.socket.parent.rmdir()


def prepare(path: Path) -> DataDirectory:
    """Make the directory, and find a socket path short enough to be bound.

    Raises:
        EmbeddedStoreError: It cannot be made or written, or the socket has no safe place.
    """
    path = path.expanduser().absolute()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise EmbeddedStoreError(f"The data directory {path} cannot be made: {error.strerror}.") from error
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise EmbeddedStoreError(
            f"The data directory {path} cannot be written; choose another or mend its owner."
        )
    return DataDirectory(path, _socket_path(path))


def hold(directory: DataDirectory) -> BinaryIO:
    """Lock the directory for this process until the returned file is closed.

    Raises:
        DataDirectoryInUseError: Another gateway holds it.
    """
    lock = (directory.path / _LOCK_NAME).open("a+b")
    deadline = time.monotonic() + _LINGER_SECONDS
    while not _try_lock(lock, fcntl.LOCK_EX):
        if time.monotonic() > deadline:
            pid = _holder(lock).get("pid", "unknown")
            lock.close()
            raise DataDirectoryInUseError(
                f"The data directory {directory.path} is in use by the gateway with process id {pid}. "
                "Stop that one, give this one another directory, or let both use one Redis server."
            )
        time.sleep(_POLL_SECONDS)
    lock.truncate(0)
    lock.write(json.dumps({"pid": os.getpid(), "url": directory.url}).encode())
    lock.flush()
    return lock


def running_url(path: Path) -> str | None:
    """Where the server of a gateway that now uses the directory can be reached; None if none does."""
    try:
        lock = (path.expanduser().absolute() / _LOCK_NAME).open("rb")
    except OSError:
        return None
    with lock:
        return None if _try_lock(lock, fcntl.LOCK_SH) else _holder(lock).get("url")


def _try_lock(lock: BinaryIO, kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(lock: BinaryIO) -> dict[str, Any]:
    lock.seek(0)
    try:
        holder: dict[str, Any] = json.loads(lock.read())
    except ValueError:  # locked a moment ago, not written yet
        return {}
    return holder


def _socket_path(path: Path) -> Path:
    """In the directory, or where that is too long, in a directory of ours below the temporary one."""
    own = path / _SOCKET_NAME
    if len(os.fsencode(own)) <= _LONGEST_SOCKET_PATH:
        return own
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"llmpo-{os.getuid()}-{digest}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    # The name can be guessed: another user who made the folder first could otherwise read everything.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise EmbeddedStoreError(
            f"{folder} belongs to someone else; use a data directory with a shorter path."
        )
    short = folder / _SOCKET_NAME
    if len(os.fsencode(short)) > _LONGEST_SOCKET_PATH:
        raise EmbeddedStoreError(f"{own} is too long for a socket; use a data directory with a shorter path.")
    return short
