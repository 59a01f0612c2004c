"""What the default threshold for a question asked again finds, on the pairs that are measured."""

from __future__ import annotations

import pytest

from benchmarks.reasked import DEFAULT, own


@pytest.mark.parametrize(("place", "found"), [(0, 57), (1, 0)], ids=["few changes", "other words"])
def test_almost_the_same_words_are_found_and_no_other_question(place: int, found: int) -> None:
    """As the page on it says; another measure of similarity has to change these figures and the page."""
    row = next(row for row in list(own())[place].rows() if row["threshold"] == DEFAULT)
    assert (row["found"], row["same"]) == (found, 60)
    assert (row["mistaken"], row["other"]) == (0, 90)
