"""`llmpo hardness`: how many comparisons a world takes at best, and between whom."""

from __future__ import annotations

import json as json_format
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from gateway.cli.world_options import AsJson, Delta, WorldFile
from gateway.llm_po import worlds
from gateway.llm_po.errors import LlmPoError, UnsupportedError
from gateway.llm_po.unstructured import lower_bound, optimal_allocation

SPACES = ("unstructured",)


def hardness(
    world: WorldFile,
    space: Annotated[str, typer.Option(help=f"One of: {', '.join(SPACES)}.")] = "unstructured",
    delta: Delta = 0.05,
    json: AsJson = False,
) -> None:
    """How many comparisons a world takes at best, and between whom."""
    try:
        if space not in SPACES:
            raise UnsupportedError("space", space, SPACES)
        loaded = worlds.load(world)
        report = _hardness(loaded, space, delta)
    except LlmPoError as error:
        raise typer.BadParameter(str(error)) from error
    if json:
        typer.echo(json_format.dumps(report))
    else:
        Console().print(_hardness_table(report, loaded.labels))


def _hardness(world: worlds.World, space: str, delta: float) -> dict[str, Any]:
    allocation = optimal_allocation(world.preferences)
    shares = allocation.proportions
    return {
        "space": space,
        "hardness": allocation.hardness,
        "lower_bound": lower_bound(allocation.hardness, delta),
        "champion": allocation.champion,
        "proportions": {
            f"{loser}-{rival}": float(shares[loser, rival])
            for loser in range(world.policies)
            for rival in range(world.policies)
            if shares[loser, rival] > 0
        },
        "gap": allocation.gap,
    }


def _hardness_table(report: dict[str, Any], labels: tuple[str, ...]) -> Table:
    table = Table(title=f"{labels[report['champion']]} beats every other by at least {report['gap']:.1%}")
    table.add_column("compare")
    table.add_column("with")
    table.add_column("share", justify="right")
    for pair, share in report["proportions"].items():
        loser, rival = map(int, pair.split("-"))
        table.add_row(labels[loser], labels[rival], f"{share:.1%}")
    table.caption = (
        f"hardness {report['hardness']:.1f} comparisons per nat; "
        f"no method needs fewer than {report['lower_bound']:.0f} on average"
    )
    return table
