"""Second attempts cost nothing where they help and are few where nothing does."""

from __future__ import annotations

from gateway.upstream.retry_budget import RetryBudget


def test_where_everything_fails_the_total_is_bounded() -> None:
    """For n requests there are at most n (1 + ratio) + burst attempts."""
    budget = RetryBudget(ratio=0.1, burst=100)
    retries = 0
    for _ in range(1000):
        budget.pay_in()
        retries += budget.take()
    assert retries == 199  # the first payment finds the bucket full


def test_where_second_attempts_succeed_they_are_never_refused() -> None:
    """A second attempt that succeeds gives back what it took from the budget."""
    budget = RetryBudget(ratio=0.0, burst=1)
    for _ in range(1000):
        assert budget.take()
        budget.give_back()


def test_overlapping_attempts_share_the_budget() -> None:
    """Those under way have taken theirs already, however many arrive before the first has failed."""
    budget = RetryBudget(ratio=0.1, burst=5)
    assert [budget.take() for _ in range(8)] == [True] * 5 + [False] * 3


def test_ten_requests_pay_for_one_more() -> None:
    """Tenths add up to a whole."""
    budget = RetryBudget(ratio=0.1, burst=1)
    assert budget.take()
    for _ in range(9):
        budget.pay_in()
        assert not budget.take()
    budget.pay_in()
    assert budget.take()


def test_idle_times_save_up_no_more_than_the_burst() -> None:
    """A quiet night does not pay for a storm in the morning."""
    budget = RetryBudget(ratio=0.5, burst=3)
    for _ in range(1000):
        budget.pay_in()
        budget.give_back()
    assert sum(budget.take() for _ in range(10)) == 3
