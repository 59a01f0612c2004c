"""`llmpo hardness`: how many comparisons a world takes at best, and between whom."""

from __future__ import annotations

import json as json_format
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from gateway.cli.world_options import AsJson, Delta, WorldFile
from gateway.llm_po import worlds
from gateway.llm_po.errors import LlmPoError, UnsupportedError, WorldError
from gateway.llm_po.features import Features, one_hot
from gateway.llm_po.structured import solve
from gateway.llm_po.unstructured import champion_of, lower_bound, optimal_allocation
from gateway.llm_po.wins import FloatArray

SPACES = ("unstructured", "bradley_terry", "linear")

_TOLERANCE = 1e-4  # of the structured solver
_SMALLEST_LISTED = 1e-6
_SMALLEST_IN_TABLE = 0.0005


def hardness(
    world: WorldFile,
    space: Annotated[str, typer.Option(help=f"One of: {', '.join(SPACES)}.")] = "unstructured",
    delta: Delta = 0.05,
    json: AsJson = False,
) -> None:
    """How many comparisons a world takes at best, and between whom.

    `proportions` are by `loser-rival`; `gap` bounds how far above the optimum the hardness may be, as a
    share of it.
    """
    try:
        loaded = worlds.load(world)
        report = _report(loaded, space, delta)
    except LlmPoError as error:
        raise typer.BadParameter(str(error)) from error
    if json:
        typer.echo(json_format.dumps(report))
    else:
        Console().print(_hardness_table(report, loaded))


def _report(world: worlds.World, space: str, delta: float) -> dict[str, Any]:
    champion = champion_of(world.preferences)
    reached, proportions, gap = _optimum(world, space)
    return {
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


def _optimum(world: worlds.World, space: str) -> tuple[float, FloatArray, float]:
    """Hardness, proportions by loser and rival, and how far from the optimum they may be."""
    if space not in SPACES:
        raise UnsupportedError("space", space, SPACES)
    if space == "unstructured":
        closed = optimal_allocation(world.preferences)
        return closed.hardness, closed.proportions, 0.0
    features, scores = _features(world, space), world.scores
    found = solve(scores[None], features, tolerance=_TOLERANCE)
    loses = scores[:, None] < scores[None, :]
    return float(found.hardness[0]), found.proportions[0] * loses, float(found.gap[0])


def _features(world: worlds.World, space: str) -> Features:
    if space == "bradley_terry":
        return one_hot(world.policies)
    if world.features is None:
        raise WorldError(f'World {world.name!r} has no features; give "features" and "theta".')
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
    table.caption = (
        f"hardness {report['hardness']:.1f} comparisons per nat; "
        f"no method needs fewer than {report['lower_bound']:.0f} on average"
    )
    return table
