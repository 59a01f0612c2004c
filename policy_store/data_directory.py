"""The directory of the embedded server's data and socket, with a lock so that only one gateway uses it.

The server inherits the locked file, so the lock lasts until both gateway and server have ended, for whatever
reason. So two servers never write the same append-only file.
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
_LONGEST_SOCKET_PATH: Final = 103  # bytes; works on every supported system, without the final zero
_LINGER_SECONDS: Final = 2.0  # the server of a killed gateway ends within this time
_POLL_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """A directory made ready for the embedded server: absolute, existing, readable only by its owner."""

    path: Path
    socket: Path

    @property
    def url(self) -> str:
        """The URL for clients."""
        return f"unix://{quote(str(self.socket))}"

    @property
    def server_log(self) -> Path:
        """The path of the server's own log."""
        return self.path / "valkey.log"

    def remove_socket(self) -> None:
        """Remove the socket if it is outside the directory. The caller holds the lock; no server runs."""
        self.socket.unlink(missing_ok=True)
        if self.socket.parent != self.path:
            with contextlib.suppress(OSError):
                self.socket.parent.rmdir()


def prepare(path: Path) -> DataDirectory:
    """Create the directory, and find a socket path that is short enough to be bound.

    Raises:
        EmbeddedStoreError: The directory cannot be created or written, or the socket has no safe place.
    """
    path = path.expanduser().absolute()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise EmbeddedStoreError(f"The data directory {path} cannot be created: {error.strerror}.") from error
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise EmbeddedStoreError(
            f"The data directory {path} cannot be written; choose another one or correct its owner."
        )
    return DataDirectory(path, _socket_path(path))


def hold(directory: DataDirectory) -> BinaryIO:
    """Lock the directory for this process until the returned file is closed.

    Raises:
        DataDirectoryInUseError: Another gateway holds it.
    """
    lock = (directory.path / _LOCK_NAME).open("a+b")
    deadline = time.monotonic() + _LINGER_SECONDS
    while not _try_lock(lock):
        if time.monotonic() > deadline:
            pid = _holder(lock).get("pid", "unknown")
            lock.close()
            raise DataDirectoryInUseError(
                f"The data directory {directory.path} is in use by the gateway with process id {pid}. "
                "Stop that one, give this one another directory, or let both use one Redis server."
            )
        time.sleep(_POLL_SECONDS)
    lock.truncate(0)
    lock.write(json.dumps({"pid": os.getpid()}).encode())
    lock.flush()
    return lock


def _try_lock(lock: BinaryIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(lock: BinaryIO) -> dict[str, Any]:
    lock.seek(0)
    try:
        holder: dict[str, Any] = json.loads(lock.read())
    except ValueError:  # just locked, not written yet
        return {}
    return holder


def _socket_path(path: Path) -> Path:
    """The socket's path: in the directory or, if that is too long, in our own temporary directory."""
    own = path / _SOCKET_NAME
    if len(os.fsencode(own)) <= _LONGEST_SOCKET_PATH:
        return own
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"llmpo-{os.getuid()}-{digest}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    # The name can be guessed, so another user who created the folder first could read everything.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise EmbeddedStoreError(
            f"{folder} belongs to another user; use a data directory with a shorter path."
        )
    short = folder / _SOCKET_NAME
    if len(os.fsencode(short)) > _LONGEST_SOCKET_PATH:
        raise EmbeddedStoreError(f"{own} is too long for a socket; use a data directory with a shorter path.")
    return short
