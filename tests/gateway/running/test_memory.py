"""What garbage collection is spared."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from gateway.running.memory import loading, settle_memory, starting


class Module:
    """Something that stays."""


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.enable()
    gc.set_threshold(*thresholds)


def is_collected(what: object) -> bool:
    """Whether a full collection looks at it."""
    return any(each is what for each in gc.get_objects())


def test_what_is_there_at_the_end_of_the_start_up_is_not_looked_at_again() -> None:
    """What comes later is."""
    early = Module()
    settle_memory()
    late = Module()
    assert not is_collected(early)
    assert is_collected(late)


def test_nor_is_what_is_loaded_later() -> None:
    """No collection runs while it is loaded."""
    with loading():
        assert not gc.isenabled()
        early = Module()
    late = Module()
    assert gc.isenabled()
    assert not is_collected(early)
    assert is_collected(late)


def test_a_library_that_cannot_be_loaded_does_not_end_garbage_collection() -> None:
    """A missing package is an error of one request's, not of the process."""
    with pytest.raises(ModuleNotFoundError), loading():
        raise ModuleNotFoundError
    assert gc.isenabled()


def test_nothing_is_collected_before_the_start_up_is_over() -> None:
    """Neither while more is loaded on the way; from the end of the start-up on, garbage is collected."""
    with starting():
        with loading():
            pass
        assert not gc.isenabled()
        settle_memory()
        assert gc.isenabled()


def test_a_start_that_fails_leaves_garbage_collection_on() -> None:
    """A command that refuses its configuration may have more to do."""
    with pytest.raises(LookupError), starting():
        raise LookupError
    assert gc.isenabled()
