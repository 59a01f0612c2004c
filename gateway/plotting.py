"""The only module that imports matplotlib, which comes with the extra `plots`, when a picture is drawn."""

from __future__ import annotations

from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any, Final

from gateway.errors import GatewayError

COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#8C6D31")
"""Colours that people with any common colour blindness can tell apart: those of Okabe and Ito, without their
yellow, which is too pale for lines."""

STROKES: Final = ("solid", "dashed", "dotted", "dashdot")
"""Patterns of a line, which tell lines apart in print without colour and where colours run out."""

_DOTS_PER_INCH: Final = 130
_INSTALL: Final = "Plots need matplotlib: pip install 'llmpo-gateway[plots]'."


class PlotError(GatewayError):
    """Pictures cannot be drawn or written here."""


def is_installed() -> bool:
    """Whether pictures can be drawn, without importing anything."""
    return find_spec("matplotlib") is not None


def check_installed() -> None:
    """Raise unless pictures can be drawn, before the work that they are to show.

    Raises:
        PlotError: If matplotlib is not installed.
    """
    if not is_installed():
        raise PlotError(_INSTALL)


def pyplot() -> Any:
    """`matplotlib.pyplot`, drawing to files.

    Raises:
        PlotError: If matplotlib is not installed.
    """
    try:
        import matplotlib as mpl  # noqa: PLC0415 - slow to load, and an optional extra
        import matplotlib.pyplot as plt  # noqa: PLC0415 - slow to load, and an optional extra
    except ImportError as error:
        raise PlotError(_INSTALL) from error
    mpl.use("agg")
    mpl.rcParams["svg.hashsalt"] = "llmpo"  # equal pictures give equal files
    return plt


def line_style(number: int) -> dict[str, str]:
    """Colour and stroke of line `number`; the first 32 all differ."""
    stroke, colour = list(product(STROKES, COLOURS))[number % (len(STROKES) * len(COLOURS))]
    return {"color": colour, "linestyle": stroke}


def plain_log_scale(axis: Any) -> None:
    """A logarithmic axis labelled 200, 500, 1,000: whole numbers, far enough apart to be read.

    Args:
        axis: `axes.xaxis` or `axes.yaxis`, its scale already logarithmic.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter  # noqa: PLC0415 - slow to load, and an optional extra

    axis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _position: f"{value:,.0f}"))
    axis.set_minor_formatter(NullFormatter())


def save(figure: Any, stem: Path) -> list[Path]:
    """Write a figure as PNG and SVG, and return the files."""
    files = [stem.with_name(f"{stem.name}.{kind}") for kind in ("png", "svg")]
    for file in files:
        metadata = {"Date": None} if file.suffix == ".svg" else {}
        figure.savefig(file, dpi=_DOTS_PER_INCH, metadata=metadata)
    return files
