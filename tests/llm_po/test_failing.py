"""Evidence that a candidate fails: soon for one that always does, hardly ever for one that does not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gateway.llm_po.errors import DesignError
from gateway.llm_po.failing import FAILING_LEVEL, failing_line, failing_nats


def first_reached(failures: np.ndarray) -> int | None:
    """After which request the line is first reached; None if never."""
    failed = np.cumsum(failures)
    for asked, count in enumerate(failed, start=1):
        if failing_nats(asked, int(count)) >= failing_line(1):
            return asked
    return None


def test_a_candidate_that_always_fails_is_known_after_a_few_requests() -> None:
    """Thirteen failures suffice for one candidate, a few more where there are more candidates."""
    assert first_reached(np.ones(100, dtype=int)) == 13
    assert failing_nats(17, 17) >= failing_line(15)


@pytest.mark.parametrize(("rate", "most"), [(0.95, 40), (0.8, 120)])
def test_a_candidate_that_often_fails_is_known_soon(rate: float, most: int) -> None:
    """The clearer it is, the sooner."""
    rng = np.random.default_rng(7)
    found = [first_reached(rng.random(1_000) < rate) for _ in range(50)]
    assert max(each or 10_000 for each in found) < 4 * most
    assert sorted(each or 10_000 for each in found)[25] < most


def test_a_candidate_that_fails_half_of_the_time_stays() -> None:
    """At the border the line is reached in at most one of a thousand runs, looked at after every request."""
    rng = np.random.default_rng(11)
    runs, length = 2_000, 400
    failed = np.cumsum(rng.random((runs, length)) < 0.5, axis=1)
    asked = np.arange(1, length + 1)
    needed = np.zeros(length, dtype=np.int64)
    for n in asked:  # the fewest failures of n requests that reach the line; more of more requests
        needed[n - 1] = needed[max(n - 2, 0)]
        while needed[n - 1] <= n and failing_nats(n, needed[n - 1]) < failing_line(1):
            needed[n - 1] += 1
    reached = int((failed >= needed).any(axis=1).sum())
    assert reached <= runs * FAILING_LEVEL + 3 * math.sqrt(runs * FAILING_LEVEL)


def test_an_outage_after_a_good_record_ends_nothing() -> None:
    """A candidate that answered a hundred times may fail as often before anything is said against it."""
    assert failing_nats(200, 100) < 0
    assert failing_nats(220, 120) < failing_line(1)


def test_answers_that_are_still_under_way_only_delay_it() -> None:
    """Requests without a known end count as answered, which is less evidence than there is."""
    assert failing_nats(30, 14) < failing_nats(15, 14) < failing_nats(14, 14)


@pytest.mark.parametrize(("asked", "failed"), [(3, 4), (-1, 0), (1.5, 1), (3, True)])
def test_counts_that_are_none_are_refused(asked: object, failed: object) -> None:
    """Nobody fails more often than asked."""
    with pytest.raises(DesignError):
        failing_nats(asked, failed)  # type: ignore[arg-type]
