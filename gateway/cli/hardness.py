"""`llmpo hardness`: how many comparisons a world takes at best, and between whom."""

from __future__ import annotations

import json as json_format
from typing import Annotated, Any, Final, Literal

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from gateway.cli.world_options import AsJson, Costs, Delta, WorldFile, parsed_costs
from gateway.llm_po.errors import DesignError, LlmPoError, UnsupportedError, WorldError
from gateway.llm_po.lab import reference, worlds
from gateway.llm_po.lab.trial import SPACES
from gateway.llm_po.structured.features import Features, one_hot
from gateway.llm_po.structured.solver import solve
from gateway.llm_po.unstructured import champion_of, lower_bound, optimal_allocation
from gateway.llm_po.wins import BoolArray, FloatArray

_TOLERANCE: Final = 1e-4  # of the structured solver
_SMALLEST_LISTED: Final = 1e-6
_SMALLEST_IN_TABLE: Final = 0.0005

SolverName = Literal["fast", "reference"]


def hardness(
    world: WorldFile,
    space: Annotated[str, typer.Option(help=f"One of: {', '.join(SPACES)}.")] = "unstructured",
    delta: Delta = 0.05,
    costs: Costs = None,
    solver: Annotated[
        SolverName,
        typer.Option(help="`fast`: what plans are made with. `reference`: the convex program, by cvxpy."),
    ] = "fast",
    json: AsJson = False,
) -> None:
    """How many comparisons a world takes at best, and between whom.

    `proportions` are by `loser-rival`, equals by `higher-lower`; `gap` bounds how far above the optimum the
    hardness may be, as a share of it; the reference bounds nothing, takes minutes for 32 policies, and agrees
    within a thousandth. With --costs it is the cheapest way, not the one of fewest comparisons:
    hardness and lower bound are then of cost, in the unit of the costs, and proportions of comparisons.
    """
    try:
        loaded = worlds.load(world)
        report = _report(loaded, space, delta, parsed_costs(costs), solver)
    except LlmPoError as error:
        raise typer.BadParameter(str(error)) from error
    if json:
        typer.echo(json_format.dumps(report))
    else:
        Console().print(_hardness_table(report, loaded))


def _report(
    world: worlds.World, space: str, delta: float, costs: tuple[float, ...] | None, solver: SolverName
) -> dict[str, Any]:
    champion = champion_of(world.preferences)
    optimum = {"fast": _optimum, "reference": _reference_optimum}[solver]
    reached, proportions, gap = optimum(world, _known(space), _pair_costs(world, costs))
    report = {
        "space": space,
        "hardness": reached,
        "lower_bound": lower_bound(reached, delta),
        "champion": champion,
        "proportions": {
            f"{loser}-{rival}": float(proportions[loser, rival])
            for loser in range(world.policies)
            for rival in range(world.policies)
            if proportions[loser, rival] > _SMALLEST_LISTED
        },
        "gap": gap,
    }
    return report if costs is None else report | {"costs": list(costs)}


def _pair_costs(world: worlds.World, costs: tuple[float, ...] | None) -> FloatArray | None:
    """What a comparison of each pair costs: both its requests."""
    if costs is None:
        return None
    if len(costs) != world.policies:
        raise DesignError(f"costs has {len(costs)} entries for K = {world.policies}; give one each.")
    each = np.array(costs)
    return np.asarray(each[:, None] + each[None, :])


def _optimum(world: worlds.World, space: str, costs: FloatArray | None) -> tuple[float, FloatArray, float]:
    """Hardness, proportions by loser and rival, and how far from the optimum they may be."""
    if space == "unstructured":
        closed = optimal_allocation(world.preferences, costs)
        return closed.hardness, closed.proportions, 0.0
    features, scores = _features(world, space), world.scores
    found = solve(scores[None], features, costs=costs, tolerance=_TOLERANCE)
    return float(found.hardness[0]), found.proportions[0] * _loses(scores), float(found.gap[0])


def _reference_optimum(
    world: worlds.World, space: str, costs: FloatArray | None
) -> tuple[float, FloatArray, None]:
    """The optimum from the convex programs, which tell no gap."""
    if space == "unstructured":
        solved = reference.solve_allocation(world.preferences, costs)
        return solved.hardness, solved.proportions, None
    scores = world.scores
    weights, worst = reference.solve_structured(scores, _features(world, space), costs=costs)
    shares = (weights + weights.T) / weights.sum()
    return 2 * worst, shares * _loses(scores), None


def _loses(scores: FloatArray) -> BoolArray:
    """Where the row is behind the column, and once for each pair of equals, which is still compared."""
    is_equal = scores[:, None] == scores[None, :]
    return np.asarray((scores[:, None] < scores[None, :]) | np.tril(is_equal, -1))


def _known(space: str) -> str:
    if space not in SPACES:
        raise UnsupportedError("space", space, SPACES)
    return space


def _features(world: worlds.World, space: str) -> Features:
    if space == "bradley_terry":
        return one_hot(world.policies)
    if world.features is None:
        raise WorldError(f'World {world.name!r} has no features; give "features" and "theta", or a "grid".')
    return world.features


def _hardness_table(report: dict[str, Any], world: worlds.World) -> Table:
    labels, champion = world.labels, report["champion"]
    chances = [chance for rival, chance in enumerate(world.preferences[champion]) if rival != champion]
    table = Table(
        title=f"{labels[champion]} is preferred to each other at least {min(chances):.1%} of the time"
    )
    table.add_column("compare")
    table.add_column("with")
    table.add_column("share", justify="right")
    for pair, share in report["proportions"].items():
        if share >= _SMALLEST_IN_TABLE:
            loser, rival = map(int, pair.split("-"))
            table.add_row(labels[loser], labels[rival], f"{share:.1%}")
    table.caption = _caption(report)
    return table


def _caption(report: dict[str, Any]) -> str:
    reached, bound = report["hardness"], report["lower_bound"]
    if "costs" in report:
        return f"a nat costs {reached:.4g}; no method spends less than {bound:.4g} on average"
    return f"hardness {reached:.1f} comparisons per nat; no method needs fewer than {bound:.0f} on average"
