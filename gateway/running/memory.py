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

    Requests that end well leave next to no garbage. Connections and failures leave some, which is collected
    ten thousand objects at a time: rarely, and before it takes megabytes.
    """
    gc.collect()
    gc.freeze()
    # With nothing left to walk: the next full one waits until a quarter more is alive than at the last.
    gc.collect()
    gc.set_threshold(*_THRESHOLDS)


@contextmanager
def loading() -> Iterator[None]:
    """Load a library while requests are served, without a collection that walks its objects, now or later."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
