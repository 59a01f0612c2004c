"""Turns a grid into named policies: every combination of the levels of a few axes.

    grid: {model: [small, large], system: {short: "Be brief.", long: "Explain."}, temperature: [0, 0.7]}

gives the policies `small-short-0`, `small-short-0.7`, `small-long-0`, ... The grid is expanded in the plain
data of a file, before validation, so that all later code sees a list of policies.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from itertools import product
from math import prod
from typing import Any, Final

POLICY_AXES: Final = ("model", "system", "template")
MOST_COMBINATIONS: Final = 1_000
"""Most combinations that are expanded; the limit on policies refuses fewer than these already."""

Levels = dict[str, Any]


class GridProblem(Exception):  # noqa: N818 - becomes a fault where its place in the file is known
    """A grid that cannot be expanded: what is wrong with it, and what would be right."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem} {remedy}")
        self.problem = problem
        self.remedy = remedy


def expand(grid: Any) -> dict[str, Any]:
    """The policies by name, in plain data; the last axis varies fastest.

    Raises:
        GridProblem: If an axis has no levels or two policies would have one name.
    """
    policies: dict[str, Any] = {}
    for levels in combinations(grid):
        name = policy_name(levels)
        if name in policies:
            raise GridProblem(f"Two policies would be called {name!r}.", "Give the levels names that differ.")
        values = {axis: axis_levels(axis, grid[axis])[level] for axis, level in levels.items()}
        policy = {axis: value for axis, value in values.items() if axis in POLICY_AXES}
        params = {axis: value for axis, value in values.items() if axis not in POLICY_AXES}
        policies[name] = {**policy, "params": params} if params else policy
    return policies


def with_caps(policies: Mapping[str, Any], grid: Any, shares: Any, incumbent: Any) -> dict[str, Any]:
    """The policies of a grid with their exposure caps; validation reports a cap that is not a number.

    Args:
        policies: The result of `expand`.
        grid: The grid.
        shares: The largest share, by a policy's name, or by a level for each policy that has it.
        incumbent: The incumbent, to which a level's cap does not apply.

    Raises:
        GridProblem: If a cap names neither a policy nor a level.
    """
    caps = dict(shares) if isinstance(shares, dict) else {}
    levels = {policy_name(chosen): set(chosen.values()) for chosen in combinations(grid)}
    known = {*levels, *(level for chosen in levels.values() for level in chosen)}
    for name in map(str, caps):
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"The grid has: {', '.join(sorted(known))}."
            raise GridProblem(f"`max_share` names {name!r}, which is no policy or level of the grid.", hint)
    capped = {}
    for name, policy in policies.items():
        meant = {name} if name == incumbent else {name, *levels[name]}
        own = [share for key, share in caps.items() if str(key) in meant and isinstance(share, int | float)]
        capped[name] = {**policy, "max_share": min(own)} if own else policy
    return capped


def expanded(grid: Any) -> dict[str, Any] | None:
    """The policies of a grid; None if the value is not a grid, which validation reports."""
    try:
        return expand(grid)
    except GridProblem:
        return None


def combinations(grid: Any) -> Iterator[dict[str, str]]:
    """For every policy, the name of its level on each axis.

    Raises:
        GridProblem: If there is no `model` axis, an axis has no levels, or there are too many combinations.
    """
    if not isinstance(grid, dict) or "model" not in grid:
        raise GridProblem("The grid does not say which models.", "Give it a `model:` list.")
    axes = {axis: axis_levels(axis, levels) for axis, levels in grid.items()}
    size = prod(map(len, axes.values()))
    if size > MOST_COMBINATIONS:
        raise GridProblem(f"The grid has {size} combinations.", "Leave axes or levels out.")
    return (dict(zip(axes, chosen, strict=True)) for chosen in product(*axes.values()))


def policy_name(levels: Mapping[str, str]) -> str:
    """Level names joined by dashes; characters that a name cannot have become underscores."""
    return "-".join(re.sub(r"[^A-Za-z0-9._]", "_", level) for level in levels.values())


def axis_levels(axis: str, levels: Any) -> Levels:
    """The levels of an axis, from name to value.

    Raises:
        GridProblem: If there are none, or they are neither a list nor a mapping.
    """
    if isinstance(levels, dict) and levels:
        return {str(name): value for name, value in levels.items()}
    if isinstance(levels, list | tuple) and levels and axis not in {"system", "template"}:
        return {str(value): value for value in levels}
    remedy = (
        "Give `name: text` lines."
        if axis in {"system", "template"}
        else "Give a list, or `name: value` lines."
    )
    raise GridProblem(f"The axis {axis!r} has no levels.", remedy)
