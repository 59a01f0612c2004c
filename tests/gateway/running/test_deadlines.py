"""Deadlines that share a timer come when they should, and those that were called off never."""

from __future__ import annotations

import asyncio
import time
from functools import partial

import pytest

from gateway.running.deadlines import Deadlines
from tests.pace import PATIENCE_SECONDS

LATE_SECONDS = 1 / 32


@pytest.mark.parametrize("order", [(0.0, 0.05, 0.1), (0.1, 0.05, 0.0)], ids=["ascending", "descending"])
async def test_each_comes_in_its_turn(order: tuple[float, ...]) -> None:
    """Whatever is asked for first, deadlines come in the order of their times and never early."""
    loop, deadlines, came = asyncio.get_running_loop(), Deadlines(), list[tuple[float, float]]()
    begun, over = loop.time(), loop.create_future()

    def come(seconds: float) -> None:
        came.append((seconds, loop.time() - begun))
        if len(came) == len(order):
            over.set_result(None)

    for seconds in order:
        deadlines.after(seconds, partial(come, seconds))
    async with asyncio.timeout(PATIENCE_SECONDS):
        await over
    assert [seconds for seconds, _ in came] == sorted(order)
    assert all(at >= seconds for seconds, at in came)


async def test_what_is_called_off_does_not_come() -> None:
    """A deadline may be called off before its time, even by one of the same moment, and more than once."""
    deadlines, over, came = Deadlines(), asyncio.get_running_loop().create_future(), list[str]()
    early = deadlines.after(0.01, partial(came.append, "early"))
    early.cancel()
    early.cancel()

    def come() -> None:
        came.append("rival")
        for each in rivals:
            each.cancel()

    rivals = [deadlines.after(0.01, come), deadlines.after(0.01, come)]
    deadlines.after(0.06, partial(over.set_result, None))
    async with asyncio.timeout(PATIENCE_SECONDS):
        await over
    assert came == ["rival"]


async def test_a_deadline_may_ask_for_the_next() -> None:
    """What comes may ask for another one, which comes as well."""
    deadlines, over = Deadlines(), asyncio.get_running_loop().create_future()
    deadlines.after(0.0, lambda: deadlines.after(0.0, partial(over.set_result, None)))
    async with asyncio.timeout(PATIENCE_SECONDS):
        await over


async def test_those_of_an_earlier_moment_may_call_off_the_later_ones() -> None:
    """If the loop is late for two moments, the first may call off all of the second; others still come."""
    deadlines, over, came = Deadlines(), asyncio.get_running_loop().create_future(), list[str]()
    late = deadlines.after(0.01 + 2 * LATE_SECONDS, partial(came.append, "late"))
    deadlines.after(0.0, late.cancel)
    deadlines.after(0.02 + 4 * LATE_SECONDS, partial(over.set_result, None))
    time.sleep(0.02 + 3 * LATE_SECONDS)  # noqa: ASYNC251 - the loop is to be late
    async with asyncio.timeout(PATIENCE_SECONDS):
        await over
    assert came == []


async def test_a_call_that_fails_keeps_no_other_from_coming() -> None:
    """Those of the same moment and of later ones come, and the loop learns of each failure."""
    loop, deadlines, faults, came = asyncio.get_running_loop(), Deadlines(), list[object](), list[int]()
    loop.set_exception_handler(lambda _, said: faults.append(said["exception"]))

    def come(number: int) -> None:
        came.append(number)
        if number % 2:
            raise ValueError(number)

    over = loop.create_future()
    for number in range(6):
        deadlines.after(0.0, partial(come, number))
    deadlines.after(2 * LATE_SECONDS, partial(over.set_result, None))
    async with asyncio.timeout(PATIENCE_SECONDS):
        await over
    assert sorted(came) == list(range(6))
    assert [type(fault) for fault in faults] == [ValueError] * 3


async def test_a_limit_ends_what_takes_too_long() -> None:
    """The caller gets a TimeoutError, and its task is not left as one that is to be cancelled."""
    deadlines = Deadlines()
    with pytest.raises(TimeoutError), deadlines.limit(0.01):
        await asyncio.sleep(PATIENCE_SECONDS)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(LATE_SECONDS)


async def test_a_limit_in_time_changes_nothing() -> None:
    """What is done in time, or fails by itself, is not touched, then or later."""
    deadlines = Deadlines()
    with deadlines.limit(0.02):
        await asyncio.sleep(0)
    with pytest.raises(ValueError, match="own"), deadlines.limit(0.02):
        raise ValueError("own")
    await asyncio.sleep(0.02 + 2 * LATE_SECONDS)


async def test_being_cancelled_is_not_being_late() -> None:
    """A task cancelled for another reason gets CancelledError, even if its time is over as well."""

    async def wait() -> None:
        with Deadlines().limit(0.01):
            try:
                await asyncio.sleep(PATIENCE_SECONDS)
            except asyncio.CancelledError:
                waiting.cancel()
                raise

    waiting = asyncio.create_task(wait())
    await asyncio.wait([waiting], timeout=PATIENCE_SECONDS)
    assert waiting.cancelled()
