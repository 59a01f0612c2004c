"""Formats estimates with as few digits as their precision justifies; every command uses it."""

from __future__ import annotations

import math
from typing import Final

_LONG: Final = 90  # seconds, or minutes, from which the next unit is used
_FEW: Final = 20  # counts below it are told exactly, others in tens


def rough_count(count: float) -> int:
    """So many, or a few more."""
    return math.ceil(count) if count < _FEW else math.ceil(count / 10) * 10


def rough_duration(seconds: float) -> str:
    """A duration in the unit that people would use."""
    if seconds < _LONG:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < _LONG else f"{minutes / 60:.1f} h"
