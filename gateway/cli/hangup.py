"""SIGHUP reloads the configuration. The signal is blocked while a process is not ready for that.

A signal that comes before its handler is installed would end the process. So it is blocked until then, and a
worker inherits the block from the supervisor that starts it.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

_HANGUP: Final = {signal.SIGHUP}


def hold_hangups() -> None:
    """Block SIGHUP from now on."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _HANGUP)


@contextmanager
def hangups_wait() -> Iterator[None]:
    """Block SIGHUP in a `with` block; processes started there keep it blocked."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HANGUP)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def handled_hangups(reload: Callable[[], object]) -> Iterator[None]:
    """Handle SIGHUP, including a blocked one, with this call; afterwards it is blocked again."""
    previous = signal.signal(signal.SIGHUP, lambda _signal, _frame: reload())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANGUP)
    try:
        yield
    finally:
        hold_hangups()
        signal.signal(signal.SIGHUP, previous)
