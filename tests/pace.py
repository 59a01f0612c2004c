"""How long tests wait: as long as the framework lets them, and for stalling providers as fits the machine.

A machine with other work to do is slower, not wrong. So a test that waits for something to happen waits as
long as it may run at all, and the time after which a stalling provider is given up, which has to be short
for the tests to be fast, grows with how long a fixed piece of work takes here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from functools import cache
from typing import Final

PATIENCE_SECONDS: Final = 600.0
"""How long a test may run: `timeout` in pyproject.toml. A condition may take as long to come true."""

_SHORTEST_PAUSE_SECONDS: Final = 0.002
_LONGEST_PAUSE_SECONDS: Final = 0.05

_WORK: Final = 300_000
_USUAL_SECONDS: Final = 0.012
"""How long the work takes on an idle machine."""
_ROUNDS: Final = 8
_MOST: Final = 20.0


@cache
def slowness() -> float:
    """How many times longer than usual work takes here, from 1 to 20: the worst of 8 rounds, once.

    `LLMPO_TEST_SLOWNESS` sets it instead.
    """
    declared = os.environ.get("LLMPO_TEST_SLOWNESS")
    if declared:
        return float(declared)
    slowest = 0.0
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        sum(range(_WORK))
        slowest = max(slowest, time.perf_counter() - began)
    return min(_MOST, max(1.0, slowest / _USUAL_SECONDS))


def impatient(seconds: float) -> float:
    """After how many seconds a stalling provider is given up: `seconds` where the machine is idle."""
    return seconds * slowness()


def pauses() -> Iterator[float]:
    """Seconds between looks at a condition: 2 ms at first, then a tenth of the wait so far, 50 ms at most.

    Looking more often would keep the processor from what is waited for.
    """
    pause = _SHORTEST_PAUSE_SECONDS
    while True:
        yield pause
        pause = min(1.1 * pause, _LONGEST_PAUSE_SECONDS)
