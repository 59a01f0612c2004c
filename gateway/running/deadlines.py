"""Deadlines of many requests on one timer of the event loop.

Nearly every deadline is called off long before it has come, and starting and stopping a timer of the loop
costs as much as parsing a request. So deadlines are kept in groups, by the thirty-second of a second in which
they come, and the timer is set to the earliest group only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf
from types import TracebackType
from typing import Any, Final, Self, cast

_GROUPS_A_SECOND: Final = 32
_LONGEST_SECONDS: Final = 365 * 86_400.0  # an operator may write any number


class Deadline:
    """Something that is called unless it is called off."""

    __slots__ = ("_deadlines", "_number", "call")

    def __init__(self, deadlines: Deadlines, number: int, call: Callable[[], None]) -> None:
        self._deadlines = deadlines
        self._number = number
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        """Call it off. May be called repeatedly, and after it came."""
        if self.call is not None:
            self.call = None
            self._deadlines.forget(self, self._number)

    def come(self) -> None:
        """Make the call, unless it was called off."""
        call, self.call = self.call, None
        if call is not None:
            call()


class Deadlines:
    """What is to be called, and when: a thirty-second of a second late at most, and never early."""

    def __init__(self) -> None:
        self._groups: dict[int, set[Deadline]] = {}
        self._next: float = inf
        self._timer: asyncio.TimerHandle | None = None

    def after(self, seconds: float, call: Callable[[], None]) -> Deadline:
        """Have something called after so many seconds."""
        loop = asyncio.get_running_loop()
        number = int((loop.time() + min(seconds, _LONGEST_SECONDS)) * _GROUPS_A_SECOND) + 1
        deadline = Deadline(self, number, call)
        group = self._groups.get(number)
        if group is not None:
            group.add(deadline)
            return deadline
        self._groups[number] = {deadline}
        if number < self._next:
            self._set_timer(loop, number)
        return deadline

    def forget(self, deadline: Deadline, number: int) -> None:
        """Let go of a deadline of the group with this number."""
        group = self._groups.get(number)
        if group is not None:
            group.discard(deadline)
            if not group:
                del self._groups[number]

    def limit(self, seconds: float) -> TimeLimit:
        """A limit on the time of what the current task does inside of it."""
        return TimeLimit(self, seconds)

    def _set_timer(self, loop: asyncio.AbstractEventLoop, number: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next = number
        self._timer = loop.call_at(number / _GROUPS_A_SECOND, self._run)

    def _run(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time() * _GROUPS_A_SECOND
        self._next, self._timer = inf, None
        for number in sorted(each for each in self._groups if each <= now):
            for deadline in self._groups.pop(number):
                # By the loop, which reports a call that fails and goes on; and calls may change groups.
                loop.call_soon(deadline.come)
        if self._groups:
            self._set_timer(loop, min(self._groups))


class TimeLimit:
    """`asyncio.timeout` on shared deadlines: when the time is over, the task is cancelled; TimeoutError."""

    __slots__ = ("_deadline", "_deadlines", "_is_over", "_requests", "_seconds", "_task")

    def __init__(self, deadlines: Deadlines, seconds: float) -> None:
        self._deadlines = deadlines
        self._seconds = seconds
        self._is_over = False

    def __enter__(self) -> Self:
        self._task = cast("asyncio.Task[Any]", asyncio.current_task())  # only tasks wait
        self._requests = self._task.cancelling()
        self._deadline = self._deadlines.after(self._seconds, self._expire)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._deadline.cancel()
        # Another request to cancel the task takes precedence.
        if self._is_over and self._task.uncancel() <= self._requests and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def _expire(self) -> None:
        self._is_over = True
        self._task.cancel()
