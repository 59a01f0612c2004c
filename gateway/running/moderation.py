"""Limits the number of log lines of one kind, so that callers cannot fill the log."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Literal

WINDOW_SECONDS: Final = 60.0

LineVerdict = Literal["write", "write_last", "withhold"]


class Moderation:
    """Counts the lines within a window of time.

    Args:
        lines: Most lines within a window. The last of them should say that no more follow.
        timer: Monotonic seconds.
    """

    def __init__(self, lines: int, timer: Callable[[], float] = time.monotonic) -> None:
        self._lines = lines
        self._timer = timer
        self._since = -WINDOW_SECONDS
        self._written = 0

    def verdict(self) -> LineVerdict:
        """What to do with the next line."""
        now = self._timer()
        if now - self._since >= WINDOW_SECONDS:
            self._since, self._written = now, 0
        self._written += 1
        if self._written > self._lines:
            return "withhold"
        return "write_last" if self._written == self._lines else "write"
