"""Keeps objects that live as long as the process out of garbage collection."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_THRESHOLDS: Final = (10_000, 10, 10)


def settle_memory() -> None:
    """Take everything allocated so far out of garbage collection, and collect less often from now on.

    Modules, routes and configuration stay until the end. Otherwise each full collection would walk all of
    them while requests wait. Call this at the end of the start-up.

    Successful requests leave almost no garbage. Connections and failures leave some; it is collected after
    every ten thousand objects, which is rare but early enough that it never takes megabytes.
    """
    gc.collect()
    gc.freeze()
    # Nothing is left to walk here. The next full collection comes only once a quarter more objects are alive
    # than at the last.
    gc.collect()
    gc.set_threshold(*_THRESHOLDS)
    gc.enable()


@contextmanager
def starting() -> Iterator[None]:
    """Collect nothing before `settle_memory`, or the end of the block where the start fails.

    What a start allocates stays, so collections would find nothing and take a quarter of its time.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def loading() -> Iterator[None]:
    """Load code, so that no collection walks its objects, now or later."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
