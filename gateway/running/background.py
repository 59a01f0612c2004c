"""Background tasks that run as long as the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

from gateway.running.logs import get_logger

_log = get_logger(__name__)

RESTART_SECONDS: Final = 1.0
CANCEL_AGAIN_SECONDS: Final = 0.5


@asynccontextmanager
async def background(
    name: str, run: Callable[[], Coroutine[Any, Any, None]], *, restart_seconds: float = RESTART_SECONDS
) -> AsyncIterator[None]:
    """Run a task for the length of a `with` block; one that fails is logged and started again."""

    async def persist() -> None:
        while True:
            try:
                return await run()
            except Exception:  # noqa: BLE001 - the gateway must not go on without the task, whatever it was
                _log.exception("background_task_failed", task=name)
                await asyncio.sleep(restart_seconds)

    task = asyncio.create_task(persist(), name=name)
    try:
        yield
    finally:
        await stop(task)


async def stop(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait until it has ended.

    One cancellation may get lost: when it arrives together with a result, `asyncio.wait_for` of Python 3.11,
    which Redis clients use, returns the result. So the cancellation is repeated.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=CANCEL_AGAIN_SECONDS)
