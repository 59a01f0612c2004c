"""Pictures of a run: the growth of evidence, and the preferences between policies. Needs matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from gateway.llm_po.wins import pair_rates, pair_totals
from gateway.offline.outcome import Outcome
from gateway.plotting import line_style, pyplot, save

_MOST_LABELS: Final = 24
_DARK: Final = 0.35  # at this distance from one half the colours are too dark for black text


def draw_plots(directory: Path, outcome: Outcome) -> tuple[str, ...]:
    """Write both pictures, and return the names of the PNG files.

    Raises:
        PlotError: If matplotlib is not installed.
    """
    plt, pictures = pyplot(), RunPictures(outcome)
    for name, figure in (("evidence", pictures.evidence(plt)), ("preferences", pictures.preferences(plt))):
        save(figure, directory / name)
        plt.close(figure)
    return "evidence.png", "preferences.png"


class RunPictures:
    """The pictures of a run, each a figure of `pyplot`."""

    def __init__(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self._names: list[str] = [row["name"] for row in outcome.summary["policies"]]

    def evidence(self, plt: Any) -> Any:
        """The growth of the evidence for or against each policy up to the line."""
        figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
        names = self._names
        comparisons = [counted for counted, _ in self._outcome.evidence]
        nats = np.array([evidence for _, evidence in self._outcome.evidence])
        for policy, name in enumerate(names):
            axes.plot(comparisons, nats[:, policy], label=name, **line_style(policy))
        needed = self._outcome.summary["policies"][0]["needed_nats"]
        axes.axhline(needed, color="grey", linewidth=3, alpha=0.6, label="the line")
        axes.set_xlabel("comparisons")
        meaning = (
            "that it is not the winner"
            if self._outcome.summary["epsilon"] == 0
            else "that no policy beats it"
        )
        axes.set_ylabel(f"evidence {meaning} (nats)")
        if len(names) <= _MOST_LABELS:
            axes.legend(fontsize="small")
        return figure

    def preferences(self, plt: Any) -> Any:
        """How often each policy was preferred to each other."""
        names, wins = self._names, np.array(self._outcome.summary["wins"])
        size, rates, totals = len(names), pair_rates(wins), pair_totals(wins)
        figure, axes = plt.subplots(figsize=(2 + size * 0.7, 1.5 + size * 0.6), layout="constrained")
        image = axes.imshow(np.where(totals > 0, rates, np.nan), vmin=0, vmax=1, cmap="RdBu")
        axes.set_xticks(range(size), names, rotation=45, ha="right")
        axes.set_yticks(range(size), names)
        axes.set_title("share of comparisons in which the row was preferred")
        if size <= _MOST_LABELS:
            for row, column in np.argwhere(totals > 0):
                text = f"{rates[row, column]:.2f}\n{totals[row, column]}"
                is_on_dark = abs(rates[row, column] - 0.5) > _DARK
                colour = "white" if is_on_dark else "black"
                axes.text(column, row, text, ha="center", va="center", fontsize=7, color=colour)
        figure.colorbar(image)
        return figure
