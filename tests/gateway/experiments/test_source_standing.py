"""How a source agrees with people, pair by pair."""

from __future__ import annotations

import pytest

from gateway.experiments.priors import InformingSource
from gateway.experiments.source_standing import standing

_PEOPLE = ((0, 9, 4), (3, 0, 5), (1, 5, 0))


def test_pairs_with_a_preference_on_both_sides_are_compared() -> None:
    """A pair in which people or the source prefer neither says nothing."""
    found = standing(InformingSource("judge", ((0, 2, 1), (7, 0, 3), (0, 1, 0))), _PEOPLE, 0.4)
    assert (found.comparisons, found.used) == (14, 0.4)
    assert (found.pairs, found.agreed) == (2, 1)
    assert found.low == pytest.approx(0.0945, abs=1e-3)
    assert found.high == pytest.approx(0.9055, abs=1e-3)


def test_without_pairs_nothing_is_known() -> None:
    """The interval is then everything."""
    found = standing(InformingSource("run", ((0, 3), (1, 0))), ((0, 0), (0, 0)), None)
    assert (found.pairs, found.agreed, found.low, found.high) == (0, 0, 0.0, 1.0)
