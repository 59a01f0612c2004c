"""Pictures of a simulation as PNG and SVG: time to a decision, leaders over time, growth of evidence."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from gateway.llm_po.lab.simulate import Summary
from gateway.plotting import COLOURS, STROKES, PlotError, plain_log_scale, pyplot, save
from gateway.simulation.runner import Job

_SIZE: Final = (8.0, 4.5)  # inches
_MOST_BANDS: Final = 3  # more of them would hide one another


def draw(directory: Path, results: Sequence[tuple[Job, Summary]]) -> list[Path]:
    """Draw every world's pictures and return the files written.

    Args:
        directory: The directory for the files; created if it does not exist.
        results: Jobs, each with the summary of its runs.

    Raises:
        PlotError: If matplotlib is not installed, or the directory cannot be written to.
    """
    plt = pyplot()
    written = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for world, chosen in _by_world(results).items():
            file_name = re.sub(r"[^A-Za-z0-9._-]+", "_", world)
            for kind, picture in WorldPictures(chosen).kinds().items():
                figure, axes = plt.subplots(figsize=_SIZE, layout="constrained")
                if picture(axes):
                    axes.set_title(world)
                    written += save(figure, directory / f"{file_name}-{kind}")
                plt.close(figure)
    except OSError as error:
        raise PlotError(f"Plots cannot be written to {directory}: {error.strerror or error}.") from error
    return written


def _by_world(results: Sequence[tuple[Job, Summary]]) -> dict[str, dict[str, tuple[Job, Summary]]]:
    """World -> label -> result; labels include the stopping rule only if there are several."""
    rules = {job.trial.stopping for job, _ in results}
    worlds: dict[str, dict[str, tuple[Job, Summary]]] = {}
    for job, summary in results:
        trial = job.trial
        label = trial.method if len(rules) == 1 else f"{trial.method}, {trial.stopping}"
        worlds.setdefault(trial.world.name, {})[label] = (job, summary)
    return worlds


class WorldPictures:
    """The pictures of one world.

    Args:
        chosen: By label: a job in this world, and the summary of its runs.
    """

    def __init__(self, chosen: Mapping[str, tuple[Job, Summary]]) -> None:
        self._chosen = chosen
        methods = list(dict.fromkeys(job.trial.method for job, _ in chosen.values()))
        rules = list(dict.fromkeys(job.trial.stopping for job, _ in chosen.values()))
        # A colour per method and a stroke per stopping rule, the same in every picture of the world.
        self._styles = {
            label: {
                "color": COLOURS[methods.index(job.trial.method) % len(COLOURS)],
                "linestyle": STROKES[rules.index(job.trial.stopping) % len(STROKES)],
            }
            for label, (job, _) in chosen.items()
        }

    def kinds(self) -> dict[str, Callable[[Any], bool]]:
        """By file name: the function that draws each picture and says whether there was anything to draw."""
        return {"comparisons": self.comparisons, "selection": self.selection, "evidence": self.evidence}

    def comparisons(self, axes: Any) -> bool:
        """Distribution of comparisons to a decision: median, quartiles, and 10 to 90 %."""
        labels = list(self._chosen)[::-1]
        counts = [[ending.comparisons for ending in self._chosen[label][1].endings] for label in labels]
        median = {"color": COLOURS[0], "linewidth": 2}
        axes.boxplot(
            counts,
            orientation="horizontal",
            whis=(10, 90),
            showfliers=False,
            tick_labels=labels,
            medianprops=median,
        )
        _scale_comparisons(axes)
        axes.set_xlabel("comparisons to a decision (box: quartiles; whiskers: 10 to 90 % of the runs)")
        axes.grid(axis="x", alpha=0.3)
        return True

    def selection(self, axes: Any) -> bool:
        """Share of runs whose leader is a right choice, against the comparisons made."""
        for label, (job, summary) in self._chosen.items():
            leads = np.array([ending.leads for ending in summary.endings], dtype=np.float64)
            axes.plot(job.budgets, leads.mean(axis=0), label=label, **self._styles[label])
        _scale_comparisons(axes)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("comparisons")
        axes.set_ylabel("probability of correct selection")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
        return True

    def evidence(self, axes: Any) -> bool:
        """Evidence as a share of what a decision needs, median and 10 to 90 %; False if no rule has it."""
        paths = {
            label: (job.budgets, np.array([ending.progress for ending in summary.endings], dtype=np.float64))
            for label, (job, summary) in self._chosen.items()
        }
        drawn = {label: path for label, path in paths.items() if path[1].shape[1]}
        for label, (budgets, shares) in drawn.items():
            low, middle, high = np.quantile(shares, (0.1, 0.5, 0.9), axis=0)
            axes.plot(budgets, middle, label=label, **self._styles[label])
            if len(drawn) <= _MOST_BANDS:
                axes.fill_between(
                    budgets, low, high, color=self._styles[label]["color"], alpha=0.15, linewidth=0
                )
        if not drawn:
            return False
        _scale_comparisons(axes)
        axes.set_xlabel("comparisons")
        band = " (band: 10 to 90 % of the runs)" if len(drawn) <= _MOST_BANDS else " (median of the runs)"
        axes.set_ylabel(f"evidence / needed{band}")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
        return True


def _scale_comparisons(axes: Any) -> None:
    axes.set_xscale("log")
    plain_log_scale(axes.xaxis)
