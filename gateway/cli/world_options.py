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
        "A comparison costs as much as its two requests."
    ),
]


MaxShares = Annotated[
    str | None,
    typer.Option(
        help="Exposure caps: the largest share of the units that each policy may answer, separated by "
        "commas: 1,0.1,1; 1 is no cap. The incumbent has none."
    ),
]


def parsed_shares(shares: str | None, policies: int) -> tuple[float, ...]:
    """The largest share of each policy; 1 for each if none were given.

    Raises:
        BadParameter: If they are not numbers separated by commas.
    """
    return (1.0,) * policies if shares is None else _numbers(shares, "--max-shares", "1,0.1,1")


def parsed_costs(costs: str | None) -> tuple[float, ...] | None:
    """Costs per request, or None if none were given.

    Raises:
        BadParameter: If they are not numbers separated by commas.
    """
    return None if costs is None else _numbers(costs, "--costs", "1,20,3")


def _numbers(text: str, option: str, example: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(
            f"{option} is {text!r}; give one number per policy, separated by commas, such as {example}."
        ) from error
