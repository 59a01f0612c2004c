"""SIGHUP means: read the configuration anew. It waits while a process is not ready to do so.

A signal that came before its handler would end the process. It is blocked until then, and a worker inherits
that from the supervisor that starts it.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

_HANGUP: Final = {signal.SIGHUP}


def hold_hangups() -> None:
    """Let SIGHUP wait from now on."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _HANGUP)


@contextmanager
def hangups_wait() -> Iterator[None]:
    """Let SIGHUP wait for the length of a `with` block, here and in processes that it starts for good."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HANGUP)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def handled_hangups(reload: Callable[[], object]) -> Iterator[None]:
    """Handle SIGHUP, one that waits included, by this call; afterwards it waits again."""
    previous = signal.signal(signal.SIGHUP, lambda _signal, _frame: reload())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANGUP)
    try:
        yield
    finally:
        hold_hangups()
        signal.signal(signal.SIGHUP, previous)
