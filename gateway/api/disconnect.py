"""Notices a caller who hangs up while an answer is being made."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Final, Self

from starlette.types import Receive

# Most answers are complete before a separate task for watching would be worth while.
_BEGIN_AFTER_SECONDS: Final = 0.25


class DisconnectWatch:
    """Cancels the current task when the caller hangs up. Used as a context manager after the body was read.

    A server reports a hang-up only to a task that waits for the next message, so the watch waits for it. A
    server also reports one once the answer is complete; by then the watch has to be over.
    """

    __slots__ = ("_handle", "_receive", "_task", "_watcher", "caller_left")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._task = asyncio.current_task()
        self._handle: asyncio.TimerHandle | None = None
        self._watcher: asyncio.Task[None] | None = None
        self.caller_left = False

    def __enter__(self) -> Self:
        self._handle = asyncio.get_running_loop().call_later(_BEGIN_AFTER_SECONDS, self._begin)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """Watch no longer. May be called repeatedly."""
        if self._handle is not None:
            self._handle.cancel()
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
