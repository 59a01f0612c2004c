"""The features of policies, by which a structured space explains preferences.

Linear Bradley-Terry says `logit mu[i, j] = (z_i - z_j)' theta`. One-hot rows `z` are plain Bradley-Terry; a
grid such as 4 models x 4 prompts x 2 temperatures has one column per level beyond the first of each axis, so
that what is learned about a model in one combination counts in all the others.

Only differences of rows matter, and only the space that their columns span. So all later code works in
`Features.basis`, an orthonormal basis of the centred columns: rescaling, shifting, mixing or repeating
columns changes no fit and no allocation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Final

import numpy as np
import numpy.typing as npt

from gateway.llm_po.checks import reals, whole_array
from gateway.llm_po.errors import FeatureError
from gateway.llm_po.scalars import FEWEST_POLICIES, shown, whole_number
from gateway.llm_po.wins import FloatArray, IntArray

_RANK_TOLERANCE: Final = 1e-9  # relative to the largest singular value; smaller ones are rounding errors
_LARGEST: Final = 1e100
_SAME: Final = 1e-6  # distance in the basis, with rows of the order of 1, below which policies are one


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """A row of numbers per policy.

    Attributes:
        rows: Shape (K, d), finite.
        labels: The policies' names in an error; `policy 0`, `policy 1`, ... if none are given.
        basis: Shape (K, r): orthonormal columns that span the centred columns of `rows`; r <= d.

    Raises:
        FeatureError: If the rows are not a finite matrix, or two policies have equal rows.
    """

    rows: FloatArray
    labels: tuple[str, ...] = ()
    basis: FloatArray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        rows = _checked_rows(self.rows)
        labels = self.labels or tuple(f"policy {index}" for index in range(rows.shape[0]))
        if len(labels) != rows.shape[0]:
            raise FeatureError(f"features has {rows.shape[0]} rows and {len(labels)} labels; give one each.")
        centred = rows - rows.mean(axis=0)
        spread = np.abs(centred).max(axis=0)
        scaled = centred / np.where(spread > 0, spread, 1.0)  # all columns on one scale
        left, singular, _ = np.linalg.svd(scaled, full_matrices=False)
        is_spanned = singular > _RANK_TOLERANCE * max(float(singular.max()), _RANK_TOLERANCE)
        basis = np.asarray(left[:, is_spanned])
        _check_distinct(basis, labels)
        for name, value in (("rows", rows), ("labels", labels), ("basis", basis)):
            object.__setattr__(self, name, value)

    @property
    def policies(self) -> int:
        """K, the number of policies."""
        return int(self.rows.shape[0])

    @property
    def rank(self) -> int:
        """r, the number of directions in which policies differ: K - 1 for plain Bradley-Terry."""
        return int(self.basis.shape[1])

    def relabelled(self, order: IntArray) -> Features:
        """These policies in another order: position `i` holds old policy `order[i]`.

        Raises:
            FeatureError: If `order` names anything but policies, or one of them twice.
        """
        order = whole_array(np.asarray(order), "order", 0, self.policies - 1, FeatureError)
        return Features(self.rows[order], tuple(self.labels[int(index)] for index in order))


def one_hot(policies: int) -> Features:
    """Plain Bradley-Terry: every policy has a column of its own.

    Raises:
        FeatureError: If there are fewer than two.
    """
    return Features(np.eye(whole_number(policies, "policies", FEWEST_POLICIES, FeatureError)))


@dataclass(frozen=True, slots=True)
class Grid:
    """Policies that are all combinations of the levels of some axes.

    Attributes:
        axes: Axis name to its level names, at least one axis, each with at least one level.
        interactions: Groups of axes whose effects may not simply add up; each group adds a column for every
            combination of their levels beyond the first.

    Raises:
        FeatureError: If an axis is empty or repeats a level, or an interaction names no two known axes.
    """

    axes: Mapping[str, Sequence[str]]
    interactions: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.axes, Mapping):
            raise FeatureError(f"The axes are {shown(self.axes)}; give each axis's name and its levels.")
        if not self.axes:
            raise FeatureError("The grid has no axes; give at least one, with two levels.")
        for name, levels in self.axes.items():
            if not are_names(levels) or not levels or len(set(levels)) != len(levels):
                raise FeatureError(f"Axis {name!r} has levels {shown(levels)}; give each a name of its own.")
        for group in self.interactions:
            if not are_names(group):
                raise FeatureError(f"Interaction {shown(group)} is not a group of axes; give their names.")
            unknown = [name for name in group if name not in self.axes]
            if unknown or len(set(group)) < 2 or len(set(group)) != len(group):
                raise FeatureError(
                    f"Interaction {list(group)} does not name two or more different axes; "
                    f"axes: {', '.join(self.axes) or 'none'}."
                )

    @property
    def combinations(self) -> list[tuple[str, ...]]:
        """One level per axis for each policy; the last axis varies fastest."""
        return list(product(*self.axes.values()))

    def features(self, labels: tuple[str, ...] = ()) -> Features:
        """Dummy-coded rows in the order of `combinations`; the first level of each axis is the baseline.

        Raises:
            FeatureError: If the grid holds fewer than two policies.
        """
        columns = zip(*self.combinations, strict=True)
        names = labels or tuple(map("-".join, self.combinations))
        return coded(dict(zip(self.axes, columns, strict=True)), self.interactions, names)


def coded(
    levels: Mapping[str, Sequence[str]],
    interactions: tuple[tuple[str, ...], ...] = (),
    labels: tuple[str, ...] = (),
) -> Features:
    """Dummy-coded features of policies that need not be all combinations.

    Args:
        levels: Axis name to the level of each policy; the first policy's level is the axis's baseline.
        interactions: Groups of axes, as in `Grid`.
        labels: The policies' names.

    Raises:
        FeatureError: If there are fewer than two policies, two share all their levels, axes disagree about
            how many there are, or an interaction names an unknown axis.
    """
    for axis, column in levels.items():
        if not are_names(column):
            raise FeatureError(f"Axis {axis!r} has levels {shown(column)}; give one name per policy.")
    lengths = {axis: len(column) for axis, column in levels.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise FeatureError(f"Axes give levels of {lengths} policies; give every axis one level per policy.")
    for axis in {axis for group in interactions for axis in group} - set(levels):
        raise FeatureError(f"Interaction names axis {axis!r}; axes: {', '.join(levels)}.")
    dummies: dict[str, FloatArray] = {}
    for axis, column in levels.items():  # a column per further level that occurs: one where a policy has it
        others = [level for level in dict.fromkeys(column) if level != column[0]]
        dummies[axis] = np.array([[float(level == other) for other in others] for level in column])
    columns = [*dummies.values(), *(_products([dummies[axis] for axis in group]) for group in interactions)]
    return Features(np.concatenate(columns, axis=1), labels)


def are_names(values: object) -> bool:
    """Whether it is a sequence of texts."""
    return isinstance(values, Sequence) and all(isinstance(value, str) for value in values)


def _products(parts: list[FloatArray]) -> FloatArray:
    """Products of one column from each part, in every combination."""
    joint = parts[0]
    for part in parts[1:]:
        joint = (joint[:, :, None] * part[:, None, :]).reshape(joint.shape[0], -1)
    return joint


def _checked_rows(rows: npt.ArrayLike) -> FloatArray:
    array = reals(rows, "features", (None, None), FeatureError)
    if array.shape[0] < FEWEST_POLICIES or array.shape[1] < 1:
        raise FeatureError(f"features has shape {array.shape}; (K, d) with K >= 2 and d >= 1 is needed.")
    if np.abs(array).max() > _LARGEST:
        row, column = map(int, np.unravel_index(int(np.abs(array).argmax()), array.shape))
        raise FeatureError(
            f"features[{row}][{column}] is {array[row, column]}; give numbers up to {_LARGEST:g}, in another "
            "unit."
        )
    return array


def _check_distinct(basis: FloatArray, labels: tuple[str, ...]) -> None:
    distance = np.linalg.norm(basis[:, None] - basis[None], axis=2)
    distance[np.tril_indices(len(labels))] = np.inf
    if not basis.shape[1] or distance.min() < _SAME:
        first, second = map(int, np.unravel_index(int(distance.argmin()), distance.shape))
        raise FeatureError(
            f"features cannot tell {labels[first]!r} and {labels[second]!r} apart; add a column in which "
            "they differ, or drop one of the two."
        )
