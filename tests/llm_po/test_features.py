"""Features of policies: one-hot rows, grids, and what cannot serve as features."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gateway.llm_po.errors import FeatureError
from gateway.llm_po.structured.features import Features, Grid, coded, one_hot


def test_one_hot_leaves_every_policy_its_own_score() -> None:
    """Plain Bradley-Terry has K - 1 directions, and its basis is orthonormal and centred."""
    features = one_hot(5)

    assert features.rank == 4
    assert features.basis.T @ features.basis == pytest.approx(np.eye(4))
    assert features.basis.sum(axis=0) == pytest.approx(np.zeros(4))


def test_grid_has_a_column_per_level_beyond_the_first() -> None:
    """A grid of 4 x 4 x 2 has 32 policies and 3 + 3 + 1 columns, and the first row is all baseline."""
    features = Grid({"model": "abcd", "prompt": "wxyz", "temperature": "01"}).features()

    assert features.rows.shape == (32, 7)
    assert not features.rows[0].any()
    assert features.rows[-1].tolist() == [0, 0, 1, 0, 0, 1, 1]
    assert features.labels[1] == "a-w-1"


def test_interaction_adds_the_products_of_its_axes() -> None:
    """Two axes with their interaction are as free as plain Bradley-Terry over their combinations."""
    grid = Grid({"model": "abc", "prompt": "xy"}, interactions=(("model", "prompt"),))

    assert grid.features().rows.shape == (6, 5)
    assert grid.features().rank == one_hot(6).rank


def test_basis_depends_on_the_span_of_the_columns_only() -> None:
    """Rescaling, shifting, mixing and repeating columns spans the same space."""
    rows = np.random.default_rng(1).normal(size=(7, 3))
    mixed = np.concatenate([1e4 * rows @ [[1, 2, 0], [0, 1, 5], [3, 0, 1]] + 40, rows[:, :1]], axis=1)

    plain, other = Features(rows).basis, Features(mixed).basis

    assert plain @ plain.T == pytest.approx(other @ other.T, abs=1e-9)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]], "'policy 0' and 'policy 2' apart; add a column"),
        ([[1.0], [1.0]], "'policy 0' and 'policy 1' apart"),
        ([[0.0], [math.nan]], r"features\[1\]\[0\] is nan"),
        ([0.0, 1.0], "shape"),
        ([[1.0, 2.0]], "K >= 2"),
        ([["a"], ["b"]], "numeric"),
        ([[1.0], [1.0, 2.0]], "numeric"),
    ],
)
def test_what_cannot_be_features_is_refused(rows: list[list[float]], message: str) -> None:
    """The error names the policies or the number, and the remedy."""
    with pytest.raises(FeatureError, match=message):
        Features(np.asarray(rows, dtype=object) if message == "numeric" else rows)  # type: ignore[arg-type]


def test_labels_name_the_policies_in_an_error() -> None:
    """An operator reads the names given in the configuration."""
    with pytest.raises(FeatureError, match="'short' and 'brief'"):
        Features(np.ones((2, 1)), ("short", "brief"))
    with pytest.raises(FeatureError, match="2 rows and 1 labels"):
        Features(np.eye(2), ("short",))


@pytest.mark.parametrize(
    ("axes", "interactions", "message"),
    [
        ({"model": ()}, (), "'model' has levels"),
        ({"model": ("a", "a")}, (), "name of its own"),
        ({"model": ("a", "b")}, (("model", "prompt"),), "axes: model"),
        ({"model": ("a", "b")}, (("model",),), "two or more different axes"),
    ],
)
def test_what_cannot_be_a_grid_is_refused(
    axes: dict[str, tuple[str, ...]], interactions: tuple[tuple[str, ...], ...], message: str
) -> None:
    """Empty axes, repeated levels and interactions of unknown axes are named."""
    with pytest.raises(FeatureError, match=message):
        Grid(axes, interactions)


def test_single_policy_is_no_grid() -> None:
    """One level everywhere leaves nothing to compare."""
    with pytest.raises(FeatureError, match="K >= 2"):
        Grid({"model": ("a",)}).features()


@pytest.mark.parametrize(
    ("levels", "interactions", "named"),
    [
        ({}, (), "{}"),
        ({"model": "ab", "prompt": "xyz"}, (), "'prompt': 3"),
        ({"model": "ab"}, (("model", "colour"),), "'colour'"),
    ],
)
def test_levels_that_do_not_describe_policies_are_refused(
    levels: dict[str, str], interactions: tuple[tuple[str, ...], ...], named: str
) -> None:
    """No axes, axes of different lengths, an interaction of an axis there is none of: each by name."""
    with pytest.raises(FeatureError, match=named):
        coded(levels, interactions)


def test_grid_without_axes_is_refused() -> None:
    """Policies of a grid without axes could not differ."""
    with pytest.raises(FeatureError, match="no axes"):
        Grid({})
