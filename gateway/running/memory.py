"""What lives as long as the process is kept out of garbage collection."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_THRESHOLDS: Final = (10_000, 10, 10)


def settle_memory() -> None:
    """Take all that was allocated so far out of garbage collection, and collect less often from now on.

    Modules, routes and configuration stay until the end. Left in, each full collection walks them all while
    requests wait. Call it at the end of the start-up.

    Requests that end well leave next to no garbage. What connections and failures leave is collected some ten
    thousand objects at a time: rarely, and before it takes megabytes.
    """
    gc.collect()
    gc.freeze()
    gc.collect()  # over nothing: a full collection waits until a quarter more is alive than at the last one
    gc.set_threshold(*_THRESHOLDS)


@contextmanager
def loading() -> Iterator[None]:
    """Loading a library while requests are served: no collection walks the half of it, now or later."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
