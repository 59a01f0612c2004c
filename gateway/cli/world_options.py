"""Options that commands about known worlds share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

WorldFile = Annotated[
    Path,
    typer.Option(
        "--world",
        help='JSON file: {"P": ..., "labels": ...}, {"scores": ...}, {"grid": ...}, "rates" or features.',
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Delta = Annotated[float, typer.Option(help="Error level, in (0, 1).")]
Costs = Annotated[
    str | None,
    typer.Option(
        help="Cost per request of each policy, any one unit, separated by commas: 1,20,3. "
        "A comparison costs what both its requests do."
    ),
]


def parsed_costs(costs: str | None) -> tuple[float, ...] | None:
    """Costs per request, or None where none were given.

    Raises:
        BadParameter: If they are not numbers separated by commas.
    """
    if costs is None:
        return None
    try:
        return tuple(float(part) for part in costs.split(","))
    except ValueError as error:
        raise typer.BadParameter(
            f"--costs is {costs!r}; give one number per policy, separated by commas, such as 1,20,3."
        ) from error
