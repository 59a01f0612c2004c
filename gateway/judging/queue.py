"""The requests that wait for a judge in this process: bounded in number and bytes, a few compared at once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from gateway.instrumentation.hooks import Hooks
from gateway.instrumentation.records import JudgeQueueChanged, NotJudged
from gateway.judging.unseen import Dropped, UnseenPair
from gateway.running.logs import get_logger

_CANCEL_SECONDS: Final = 0.5

_log = get_logger(__name__)


@dataclass(slots=True)
class _Line:
    """The requests of one experiment."""

    waiting: deque[UnseenPair] = field(default_factory=deque)
    running: int = 0
    size: int = 0


class JudgeQueue:
    """Has requests compared one after the other, `judge.concurrency` of each experiment at once.

    A request that finds no room is dropped, and counted by reason: no caller ever waits for a judge.

    Args:
        compare: Has one compared; tells itself what comes of it.
        hooks: Hear what is dropped, and how many wait.
        drain_seconds: How long those that wait may still be compared when the process ends.
    """

    def __init__(
        self, compare: Callable[[UnseenPair], Awaitable[None]], hooks: Hooks, *, drain_seconds: float
    ) -> None:
        self._compare = compare
        self._hooks = hooks
        self._drain_seconds = drain_seconds
        self._lines: dict[str, _Line] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False

    def offer(self, unseen: UnseenPair) -> None:
        """Have a request compared soon, if there is room for it."""
        name, limits = unseen.experiment.name, unseen.judge.spec
        line = self._lines.setdefault(name, _Line())
        if self._is_closed:
            self._drop(name, Dropped.SHUTDOWN)
        elif line.running >= limits.concurrency and len(line.waiting) >= limits.queue:
            self._drop(name, Dropped.QUEUE_FULL)
        elif line.size + unseen.size > limits.queue_bytes:
            self._drop(name, Dropped.MEMORY_FULL)
        else:
            line.size += unseen.size
            line.waiting.append(unseen)
            self._start_next(name, line)

    async def aclose(self) -> None:
        """Compare what waits for at most `drain_seconds`, and give up the rest."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self._drain_seconds
        self._is_closed = True
        while self._tasks and (left := due - loop.time()) > 0:
            await asyncio.wait(self._tasks, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        for name, line in self._lines.items():
            while line.waiting:
                line.waiting.popleft()
                self._drop(name, Dropped.SHUTDOWN)
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks, timeout=_CANCEL_SECONDS)

    def _start_next(self, name: str, line: _Line) -> None:
        while line.waiting and line.running < line.waiting[0].judge.spec.concurrency:
            line.running += 1
            task = asyncio.create_task(self._run(name, line, line.waiting.popleft()), name="judging")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._hooks.tell(JudgeQueueChanged(name, len(line.waiting)))

    async def _run(self, name: str, line: _Line, unseen: UnseenPair) -> None:
        try:
            await self._compare(unseen)
        except asyncio.CancelledError:
            self._drop(name, Dropped.SHUTDOWN)
            raise
        except Exception as error:  # noqa: BLE001 - one request must not end the judging of others
            # Its text may quote the request, so only its kind is logged.
            _log.error("judging_failed", experiment=name, error=type(error).__name__)
            self._drop(name, Dropped.ERROR)
        finally:
            line.running -= 1
            line.size -= unseen.size
            self._start_next(name, line)

    def _drop(self, name: str, why: Dropped) -> None:
        self._hooks.tell(NotJudged(name, why.value))
