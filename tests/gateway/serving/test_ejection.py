"""A target that fails five times in a row is left alone, longer each time, and probed by one at a time."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from gateway.serving.ejection import FAILURES_IN_A_ROW, Admission, EjectionBook, Target

WARM = Target("large", "support", "warm")
OTHER = Target("small")


@dataclass
class Changes:
    """An observer that remembers."""

    ejected: list[Target] = field(default_factory=list)
    readmitted: list[Target] = field(default_factory=list)

    def target_ejected(self, target: Target) -> None:
        self.ejected.append(target)

    def target_readmitted(self, target: Target) -> None:
        self.readmitted.append(target)


class Clock:
    """Seconds a test turns forward."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """At some moment."""
    return Clock()


@pytest.fixture
def changes() -> Changes:
    """Nothing changed yet."""
    return Changes()


@pytest.fixture
def book(clock: Clock, changes: Changes) -> EjectionBook:
    """Nobody failed yet."""
    return EjectionBook(changes, clock, longest_seconds=10.0)


def admitted(book: EjectionBook, target: Target = WARM) -> Admission:
    """Leave to ask, which there must be."""
    admission = book.admit(target)
    assert admission is not None
    return admission


def fail(book: EjectionBook, times: int, target: Target = WARM) -> None:
    """Ask and fail so often."""
    for _ in range(times):
        admitted(book, target).failed()


def ejected(book: EjectionBook) -> EjectionBook:
    """The book once `WARM` is ejected for a second."""
    fail(book, FAILURES_IN_A_ROW)
    return book


def test_five_failures_in_a_row_eject(book: EjectionBook, changes: Changes) -> None:
    """Not four; and nobody else is touched."""
    fail(book, 4)
    assert not book.is_ejected(WARM)
    fail(book, 1)
    assert book.is_ejected(WARM)
    assert book.admit(WARM) is None
    assert book.admit(OTHER) is not None
    assert changes.ejected == [WARM]


def test_an_answer_in_between_starts_the_count_anew(book: EjectionBook, changes: Changes) -> None:
    """What answers now and then is not ejected, and nothing is reported of it."""
    for _ in range(10):
        fail(book, 4)
        admitted(book).answered()
    assert not book.is_ejected(WARM)
    assert changes == Changes()


def test_after_the_back_off_one_probe_at_a_time_is_let_through(book: EjectionBook, clock: Clock) -> None:
    """The first to ask is the probe; all others go elsewhere until it has ended."""
    ejected(book)
    clock.now += 0.999
    assert book.admit(WARM) is None
    clock.now += 0.001
    probe = admitted(book)
    assert probe.is_probe
    assert book.admit(WARM) is None


def test_a_probe_that_is_answered_brings_the_target_back(
    book: EjectionBook, clock: Clock, changes: Changes
) -> None:
    """At once and for all, with a clean record."""
    ejected(book)
    clock.now += 1
    admitted(book).answered()
    assert changes.readmitted == [WARM]
    fail(book, 4)
    assert not book.is_ejected(WARM)


def test_the_back_off_doubles_up_to_its_limit(book: EjectionBook, clock: Clock, changes: Changes) -> None:
    """1, 2, 4, 8 and then 10 seconds, the limit; reported once."""
    ejected(book)
    for seconds in (1.0, 2.0, 4.0, 8.0, 10.0, 10.0):
        clock.now += seconds - 0.01
        assert book.admit(WARM) is None
        clock.now += 0.01
        admitted(book).failed()
    assert changes.ejected == [WARM]


def test_a_provider_is_left_alone_as_long_as_it_asks(book: EjectionBook, clock: Clock) -> None:
    """A `retry-after` longer than the back-off counts, within the limit."""
    fail(book, 4)
    admitted(book).failed(at_least_seconds=7.0)
    clock.now += 6.9
    assert book.admit(WARM) is None
    clock.now += 0.1
    admitted(book).failed(at_least_seconds=86_400.0)
    clock.now += 10.0
    assert book.admit(WARM) is not None


def test_a_probe_whose_caller_left_makes_room_for_the_next(book: EjectionBook, clock: Clock) -> None:
    """It showed nothing, so neither is the target back nor its back-off longer."""
    ejected(book)
    clock.now += 1
    admitted(book).released()
    assert book.is_ejected(WARM)
    assert admitted(book).is_probe


def test_failures_of_what_was_asked_before_do_not_lengthen_the_ejection(
    book: EjectionBook, clock: Clock
) -> None:
    """A hundred requests under way when the provider dies are one outage."""
    under_way = [admitted(book) for _ in range(100)]
    for admission in under_way:
        admission.failed()
    clock.now += 1
    assert book.admit(WARM) is not None


def test_an_old_answer_does_not_end_an_ejection(book: EjectionBook) -> None:
    """It was begun before the failures, so it says nothing about now."""
    old = admitted(book)
    ejected(book)
    old.answered()
    assert book.is_ejected(WARM)


def test_with_nobody_else_left_the_ejected_is_asked_and_may_come_back(
    book: EjectionBook, changes: Changes
) -> None:
    """Its failure changes nothing, its answer brings it back."""
    ejected(book)
    book.insist(WARM).failed()
    assert book.is_ejected(WARM)
    book.insist(WARM).answered()
    assert not book.is_ejected(WARM)
    assert changes.readmitted == [WARM]


def test_only_the_first_word_about_an_attempt_counts(book: EjectionBook) -> None:
    """A stream that broke and is closed afterwards failed once."""
    admission = admitted(book)
    for _ in range(2 * FAILURES_IN_A_ROW):
        admission.failed()
        admission.released()
    assert not book.is_ejected(WARM)
