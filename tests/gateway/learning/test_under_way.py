"""How many outcomes are under way, read from when answers were given and compared."""

from __future__ import annotations

import pytest

from gateway.learning.under_way import under_way
from policy_store.log_records import Comparison, Result


def compared(at: float, given_at: tuple[int, ...]) -> Comparison:
    """A comparison of two units."""
    return Comparison(1, 0, 1, Result.WIN, 500_000, 1, "matched:thumb", at, given_at=given_at)


def test_outcomes_under_way_are_their_rate_times_their_delay() -> None:
    """Of five comparisons in ten seconds, with 30 s from an answer to its report and a lag of one second."""
    latest = [compared(1_000.0 - 2 * back, (900, 970 - 2 * back)) for back in range(5)]
    assert under_way(latest, 1_002.0, 1.0) == pytest.approx(2 * 5 / 10 * (30 + 1))


def test_a_burst_is_no_rate() -> None:
    """Comparisons of one moment are spread over the lag at least, and slow reports change nothing.

    A change shows as soon as the quickest users report.
    """
    latest = [compared(50.0, given) for given in ((49, 50), (1, 1), (20, 1))]
    assert under_way(latest, 50.0, 2.0) == pytest.approx(2 * 3 / 2 * 2)


@pytest.mark.parametrize("latest", [[], [compared(9.0, ())], [compared(9.0, (0, 5))], [compared(9.0, (5,))]])
def test_nothing_is_known_without_the_times_of_answers(latest: list[Comparison]) -> None:
    """Earlier versions logged none, and a judge's verdict matched no outcomes: then nothing is damped."""
    assert under_way(latest, 10.0, 1.0) == 0.0
