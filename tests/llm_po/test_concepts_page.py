"""The worked example of docs/concepts.md says what the code computes."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest

from gateway.llm_po.evidence import increments
from gateway.llm_po.lines import NANO
from gateway.llm_po.unstructured import bernoulli_kl, lower_bound, optimal_allocation

PAGE = (Path(__file__).parents[2] / "docs" / "concepts.md").read_text(encoding="utf-8")
EXAMPLE = PAGE.split("## Example: three policies")[1]


def _table(columns: slice) -> np.ndarray:
    rows = re.findall(r"^\| \*\*\d\*\* \|(.*)\|$", EXAMPLE, flags=re.MULTILINE)
    cells = [[cell.strip() for cell in row.split("|")][columns] for row in rows]
    return np.array([[float(cell) if cell else 0.0 for cell in row] for row in cells])


def test_table_of_information_follows_from_the_table_of_preferences() -> None:
    """D is kl(mu, 1/2) below one half."""
    mu, information = _table(slice(0, 3)), _table(slice(3, 6))

    assert information == pytest.approx(np.where(mu < 0.5, bernoulli_kl(mu, 0.5), 0.0), abs=5e-5)


def test_optimum_and_bounds_are_the_ones_on_the_page() -> None:
    """The page has the computed hardness, proportions, yardstick and lower bound."""
    allocation = optimal_allocation(_table(slice(0, 3)))

    assert f"T* = {allocation.hardness:.2f}" in EXAMPLE
    assert allocation.proportions[1, 0] == pytest.approx(0.948, abs=5e-4)
    assert allocation.proportions[2, 1] == pytest.approx(0.052, abs=5e-4)
    assert f"= {allocation.hardness * math.log(20):.0f}` comparisons" in EXAMPLE
    assert f"= {lower_bound(allocation.hardness, 0.05):.0f}`" in EXAMPLE


def test_increments_are_the_ones_on_the_page() -> None:
    """What one comparison of 1 with 0 adds, forecast at .4 for 1 (so .6 for 0, the first of the pair)."""
    _, _, if_first, if_second = (amount / NANO for amount in increments(600_000, 0.0))

    assert (round(if_first, 3), round(if_second, 3)) == (0.182, -0.223)
    assert 0.6 * if_first + 0.4 * if_second == pytest.approx(0.0201, abs=5e-5)
    assert 0.5 * if_first + 0.5 * if_second == pytest.approx(-0.0204, abs=5e-5)
