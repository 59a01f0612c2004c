"""Figures of several rounds as results give them: the median, with the smallest and the largest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median


def spread(values: Sequence[float], digits: int) -> str:
    """Median and range."""
    return f"{median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value that this share of the values, which are sorted, stay below."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def rounds_table(titles: Mapping[str, str], found: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """A Markdown table with a row for each figure and a column for each thing measured.

    Args:
        titles: The figures, by their names in a round.
        found: The rounds of each thing.
    """
    lines = [f"| | {' | '.join(found)} |", f"|---|{'---|' * len(found)}"]
    for key, title in titles.items():
        cells = [spread([figures[key] for figures in rounds], 0) for rounds in found.values()]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)
