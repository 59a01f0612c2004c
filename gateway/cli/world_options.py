"""Options that commands about known worlds share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

WorldFile = Annotated[
    Path, typer.Option("--world", help='JSON file: {"P": ..., "labels": ...}, {"scores": ...} or features.')
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Delta = Annotated[float, typer.Option(help="Error level, in (0, 1).")]
