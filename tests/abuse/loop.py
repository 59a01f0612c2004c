"""How long one caller keeps the event loop from all others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Holds(NamedTuple):
    """What a piece of work took of the loop, in seconds of processor time.

    Attributes:
        longest: Without giving anyone else a turn.
        total: Altogether.
    """

    longest: float
    total: float


async def watched(work: Awaitable[T]) -> tuple[T, Holds]:
    """The result of some work, and how it held the loop.

    A callback takes its turn in every round of the loop; what passes between two of them is one hold.
    Processor time of this thread counts, so that what else runs on the machine does not.
    """
    loop, clock = asyncio.get_running_loop(), time.thread_time
    task = asyncio.ensure_future(work)
    longest = total = 0.0
    last = clock()

    def tick() -> None:
        nonlocal longest, total, last
        now = clock()
        longest, total, last = max(longest, now - last), total + now - last, now
        if not task.done():
            loop.call_soon(tick)

    loop.call_soon(tick)
    result = await task
    tick()
    return result, Holds(longest, total)
