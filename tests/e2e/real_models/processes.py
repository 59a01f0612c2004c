"""Server processes that live exactly as long as a `with` block, and no longer than this process."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

PR_SET_PDEATHSIG = 1
STOP_SECONDS = 10.0
REQUEST_SECONDS = 1.0
PAUSE_SECONDS = 0.02
LAST_WORDS_CHARACTERS = 2000


class ServerDiedError(RuntimeError):
    """A server ended, or never became ready; the message carries the end of its log."""


@contextmanager
def running(
    arguments: Sequence[str],
    *,
    ready_url: str,
    ready_seconds: float,
    log: Path,
    environment: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """Run `python ARGUMENTS` once `ready_url` answers 200, until the block ends.

    Args:
        arguments: For this interpreter, such as `-m` and a module.
        ready_url: Asked until it answers.
        ready_seconds: Longest wait for that.
        log: Gets what the process says.
        environment: Its environment, or this process's own.

    Raises:
        ServerDiedError: If it ends or stays silent.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=True,  # Ctrl-C ends this process, which ends its servers in order
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - no other thread runs yet
        )
    try:
        _wait_until_ready(process, ready_url, ready_seconds, log)
        yield
    finally:
        _stop(process)


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, seconds: float, log: Path) -> None:
    deadline = time.monotonic() + seconds
    while not _answers(url):
        if process.poll() is not None:
            raise ServerDiedError(f"ended with status {process.returncode}:\n{_last_words(log)}")
        if time.monotonic() > deadline:
            raise ServerDiedError(f"not ready at {url} after {seconds} s:\n{_last_words(log)}")
        time.sleep(PAUSE_SECONDS)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=REQUEST_SECONDS) as answer:  # noqa: S310 - our own loopback
            return bool(answer.status == HTTPStatus.OK)
    except (urllib.error.URLError, OSError):
        return False


def _last_words(log: Path) -> str:
    return log.read_text(errors="replace")[-LAST_WORDS_CHARACTERS:]


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _die_with_parent() -> None:
    """Linux ends the child with its parent, however the parent ends. Elsewhere only a clean exit does."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
