"""A target that fails five times in a row is left alone, longer each time, and probed by one at a time."""

from __future__ import annotations

import pytest

from gateway.instrumentation.hooks import Hooks
from gateway.instrumentation.records import Ejected, EjectionEnded, GatewayEvent
from gateway.serving.ejection import FAILURES_IN_A_ROW, EjectionBook, Ticket
from gateway.serving.exchange import Respondent
from gateway.upstream.base import ModelTarget
from tests.gateway.serving.clock import Clock

WARM = Respondent(ModelTarget("large", "litellm", "openai", "large"), "support", "warm")
OTHER = Respondent(ModelTarget("small", "litellm", "openai", "small"))
GONE, BACK = Ejected("large", "support", "warm"), EjectionEnded("large", "support", "warm")


@pytest.fixture
def changes() -> list[GatewayEvent]:
    """Nothing changed yet."""
    return []


@pytest.fixture
def book(clock: Clock, changes: list[GatewayEvent]) -> EjectionBook:
    """Nothing has failed yet."""
    return EjectionBook(Hooks(changes.append), clock, longest_seconds=10.0)


def admitted(book: EjectionBook, respondent: Respondent = WARM) -> Ticket:
    """Permission to ask, which there must be."""
    ticket = book.admit(respondent)
    assert ticket is not None
    return ticket


def fail(book: EjectionBook, times: int, respondent: Respondent = WARM) -> None:
    """Ask and fail so often."""
    for _ in range(times):
        admitted(book, respondent).failed()


def insisting(book: EjectionBook) -> Ticket:
    """Permission to ask `WARM` because there is no other."""
    ticket = book.admit(WARM, even_if_ejected=True)
    assert ticket is not None
    return ticket


def is_ejected(book: EjectionBook) -> bool:
    """Whether requests for `WARM` go elsewhere; asked while no probe is due."""
    return book.admit(WARM) is None


def ejected(book: EjectionBook) -> EjectionBook:
    """The book once `WARM` is ejected for a second."""
    fail(book, FAILURES_IN_A_ROW)
    return book


def test_five_failures_in_a_row_eject(book: EjectionBook, changes: list[GatewayEvent]) -> None:
    """Four failures eject nothing, and no other target is affected."""
    fail(book, 4)
    assert not is_ejected(book)
    fail(book, 1)
    assert is_ejected(book)
    assert book.admit(WARM) is None
    assert book.admit(OTHER) is not None
    assert changes == [GONE]


def test_an_answer_in_between_starts_the_count_anew(book: EjectionBook, changes: list[GatewayEvent]) -> None:
    """What answers now and then is not ejected, and nothing is reported of it."""
    for _ in range(10):
        fail(book, 4)
        admitted(book).answered()
    assert not is_ejected(book)
    assert changes == []


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
    book: EjectionBook, clock: Clock, changes: list[GatewayEvent]
) -> None:
    """The target is back at once, and its former failures are forgotten."""
    ejected(book)
    clock.now += 1
    admitted(book).answered()
    assert changes == [GONE, BACK]
    fail(book, 4)
    assert not is_ejected(book)


def test_the_back_off_doubles_up_to_its_limit(
    book: EjectionBook, clock: Clock, changes: list[GatewayEvent]
) -> None:
    """The back-off is 1, 2, 4, 8 and then 10 seconds, which is the limit, and is reported once."""
    ejected(book)
    for seconds in (1.0, 2.0, 4.0, 8.0, 10.0, 10.0):
        clock.now += seconds - 0.01
        assert book.admit(WARM) is None
        clock.now += 0.01
        admitted(book).failed()
    assert changes == [GONE]


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
    """An unfinished probe neither brings the target back nor lengthens its back-off."""
    ejected(book)
    clock.now += 1
    admitted(book).released()
    assert admitted(book).is_probe


def test_failures_of_what_was_asked_before_do_not_lengthen_the_ejection(
    book: EjectionBook, clock: Clock
) -> None:
    """A hundred requests under way when the provider dies are one outage."""
    under_way = [admitted(book) for _ in range(100)]
    for ticket in under_way:
        ticket.failed()
    clock.now += 1
    assert book.admit(WARM) is not None


def test_an_old_answer_does_not_end_an_ejection(book: EjectionBook) -> None:
    """An answer that began before the failures says nothing about the present."""
    old = admitted(book)
    ejected(book)
    old.answered()
    assert is_ejected(book)


def test_with_nobody_else_left_the_ejected_is_asked_and_may_come_back(
    book: EjectionBook, changes: list[GatewayEvent]
) -> None:
    """A failure of the ejected target changes nothing, and an answer brings it back."""
    ejected(book)
    insisting(book).failed()
    assert is_ejected(book)
    insisting(book).answered()
    assert not is_ejected(book)
    assert changes == [GONE, BACK]


def test_only_the_first_word_about_an_attempt_counts(book: EjectionBook) -> None:
    """A stream that broke and is closed afterwards failed once."""
    ticket = admitted(book)
    for _ in range(2 * FAILURES_IN_A_ROW):
        ticket.failed()
        ticket.released()
    assert not is_ejected(book)


CHANGED = [
    WARM._replace(target=ModelTarget("large", "litellm", "openai", "large", api_base="http://other")),
    WARM._replace(fingerprint="another prompt"),
]


@pytest.mark.parametrize("changed", CHANGED, ids=["the model", "the policy"])
def test_what_the_operator_changed_begins_anew(
    book: EjectionBook, changes: list[GatewayEvent], changed: Respondent
) -> None:
    """The name stays, but neither earlier failures nor late ones of the former target count against it."""
    late = admitted(book)
    ejected(book)
    fail(book, FAILURES_IN_A_ROW - 1, changed)
    assert changes == [GONE, BACK]
    late.failed()
    admitted(book, changed).failed()
    assert (changes, book.admit(changed)) == ([GONE, BACK, GONE], None)


def test_a_file_that_was_read_again_changes_nothing(book: EjectionBook) -> None:
    """The same model and policy, made anew, stay ejected, whatever the policy's role is by then."""
    ejected(book)
    again = ModelTarget("large", "litellm", "openai", "large")
    assert book.admit(Respondent(again, "support", "warm", "incumbent")) is None
