"""Prints tables: as wide as the terminal, or in full if they go to a file or another program."""

from __future__ import annotations

import os
from typing import Final

from rich.console import Console

_IN_FULL: Final = 10_000  # columns


def table_console(*, least_width: int = 0) -> Console:
    """A console for tables on standard output.

    Rich takes 80 columns for what is not a terminal, and shortens cells to fit. Here only `COLUMNS` limits
    such output.

    Args:
        least_width: Columns that the tables get on narrower terminals too, whose lines then break.
    """
    console = Console(highlight=False, soft_wrap=bool(least_width))
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _IN_FULL
    console.width = max(console.width, least_width)
    return console
