"""Notices a caller who hangs up while an answer is being made."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Final, Self

from starlette.types import Receive

from gateway.running.deadlines import Deadline, Deadlines

# Most answers are complete before a separate task for watching would be worth while.
_BEGIN_AFTER_SECONDS: Final = 0.25


class DisconnectWatch:
    """Cancels the current task when the caller hangs up. Used as a context manager after the body was read.

    A server reports a hang-up only to a task that waits for the next message, so the watch waits for it. A
    server also reports one once the answer is complete; by then the watch has to be over.
    """

    __slots__ = ("_beginning", "_deadlines", "_receive", "_task", "_watcher", "caller_left")

    def __init__(self, receive: Receive, deadlines: Deadlines) -> None:
        self._receive = receive
        self._deadlines = deadlines
        self._task = asyncio.current_task()
        self._beginning: Deadline | None = None
        self._watcher: asyncio.Task[None] | None = None
        self.caller_left = False

    def __enter__(self) -> Self:
        self._beginning = self._deadlines.after(_BEGIN_AFTER_SECONDS, self._begin)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """Watch no longer. May be called repeatedly."""
        if self._beginning is not None:
            self._beginning.cancel()
        if self._watcher is not None:
            self._watcher.cancel()

    def _begin(self) -> None:
        self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.caller_left = True
        if self._task is not None:
            self._task.cancel()
