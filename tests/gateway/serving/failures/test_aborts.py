"""Callers who hang up, by the hundred: nothing is left of them, and no caller gets another's bytes."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.live import Live, entry, experiment, live_gateway
from tests.gateway.protocols import both_protocols
from tests.gateway.recorder import Recorder
from tests.gateway.serving.failures.crowd import Crowd, echo
from tests.gateway.whole import eventually
from tests.pace import impatient

pytestmark = both_protocols

AT_ONCE = 20
BATCH = 500
MODELS = ["small", "support", "duel"]


@pytest.fixture
async def gateway(upstream: FakeUpstream) -> AsyncIterator[Live]:
    """A plain model, an experiment, and one that answers side by side."""
    base = upstream.api_base
    live = experiment(base)
    async with live_gateway(
        [live, replace(live, name="duel", collect="side_by_side")],
        [entry("small", base), entry("large", base)],
        http2=upstream.is_http2,
    ) as gateway:
        yield gateway


def open_files() -> int:
    """Descriptors of this process: sockets of callers, gateway and provider alike."""
    return len(list(Path("/proc/self/fd").iterdir()))


def resident_mb() -> float:
    """Memory of this process."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def forget(gateway: Live, upstream: FakeUpstream) -> None:
    """Drop what the test's own recorders remember, having checked that they heard of no failure."""
    assert gateway.observer.failed == []
    assert gateway.observer.model_failures == []
    vars(gateway.observer).update(vars(Recorder()))
    upstream.seen.clear()


async def at_rest(upstream: FakeUpstream, tasks: int) -> None:
    """Wait until providers are free, within a second, and nothing works for those who left."""
    await eventually(lambda: upstream.in_flight == 0, "every provider free", seconds=impatient(1.0))
    # Connections kept for later have a task each in the fake provider.
    await eventually(lambda: len(asyncio.all_tasks()) <= tasks + 3 * AT_ONCE, "no task left")


async def aborts_leave_nothing(gateway: Live, upstream: FakeUpstream, times: int) -> float:
    """Warm up, let callers abandon so many requests, and compare. Gives the growth in megabytes."""
    for model in ("small", "large"):
        upstream.on(model, echo(0.002))
    before = len(asyncio.all_tasks())
    crowd = Crowd(gateway.url, MODELS, seed=3, fields={"duel": {"n": 2}})
    await crowd.ask_until_left(max(60, times // 10), at_once=AT_ONCE)
    await at_rest(upstream, before)
    forget(gateway, upstream)
    files, memory = open_files(), resident_mb()

    for _ in range(0, times, BATCH):
        await crowd.ask_until_left(min(times, BATCH), at_once=AT_ONCE)
        forget(gateway, upstream)

    await at_rest(upstream, before)
    assert min(crowd.left.values()) > times / 10, crowd.left
    # Connections to the provider are kept for later, two descriptors each: both ends are in this process.
    assert open_files() <= files + 2 * AT_ONCE
    return resident_mb() - memory


async def test_three_hundred_aborts_leave_nothing_and_mix_nothing(
    gateway: Live, upstream: FakeUpstream
) -> None:
    """Streamed or not, before or after the first byte, among others who stay."""
    assert await aborts_leave_nothing(gateway, upstream, 300) < 20


@pytest.mark.long
@pytest.mark.timeout(1200)
async def test_ten_thousand_aborts_leave_no_memory(gateway: Live, upstream: FakeUpstream) -> None:
    """An aborted request leaves less than a kilobyte, with provider and callers in the same process."""
    assert await aborts_leave_nothing(gateway, upstream, 10_000) < 10
