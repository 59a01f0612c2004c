"""The one door to matplotlib, which comes with the extra `plots`: imported when a picture is drawn."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gateway.errors import GatewayError

_DOTS_PER_INCH = 130
_INSTALL = "Plots need matplotlib: pip install 'llmpo-gateway[plots]'."


class PlotError(GatewayError):
    """Pictures cannot be drawn or written here."""


def is_installed() -> bool:
    """Whether pictures can be drawn, without importing anything."""
    return find_spec("matplotlib") is not None


def check_installed() -> None:
    """Raise unless pictures can be drawn: before the work they are to show.

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
        import matplotlib as mpl  # noqa: PLC0415 - an optional extra, and slow to import
        import matplotlib.pyplot as plt  # noqa: PLC0415
    except ImportError as error:
        raise PlotError(_INSTALL) from error
    mpl.use("agg")
    mpl.rcParams["svg.hashsalt"] = "llmpo"  # the same picture gives the same file
    return plt


def save(figure: Any, stem: Path) -> list[Path]:
    """Write a figure as PNG and SVG; the files written."""
    files = [stem.with_name(f"{stem.name}.{kind}") for kind in ("png", "svg")]
    for file in files:
        metadata = {"Date": None} if file.suffix == ".svg" else {}
        figure.savefig(file, dpi=_DOTS_PER_INCH, metadata=metadata)
    return files
