"""Pictures of a simulation, as PNG and SVG: how long decisions take, who leads when, how evidence grows."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gateway.llm_po.simulate import Summary
from gateway.plotting import PlotError, pyplot, save
from gateway.simulation.runner import Job

_SIZE = (8.0, 4.5)  # inches


def draw(directory: Path, results: Sequence[tuple[Job, Summary]]) -> list[Path]:
    """Draw every world's pictures and return the files written.

    Args:
        directory: Where to; made if it does not exist.
        results: Jobs with what they came to.

    Raises:
        PlotError: If matplotlib is not installed, or the directory cannot be written to.
    """
    plt = pyplot()
    pictures: dict[str, Callable[[Any, Mapping[str, tuple[Job, Summary]]], bool]] = {
        "comparisons": _draw_comparisons,
        "selection": _draw_selection,
        "evidence": _draw_evidence,
    }
    written = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for world, chosen in _by_world(results).items():
            for kind, picture in pictures.items():
                figure, axes = plt.subplots(figsize=_SIZE, layout="constrained")
                if picture(axes, chosen):
                    axes.set_title(world)
                    written += save(figure, directory / f"{_file_name(world)}-{kind}")
                plt.close(figure)
    except OSError as error:
        raise PlotError(f"Plots cannot be written to {directory}: {error.strerror or error}.") from error
    return written


def _by_world(results: Sequence[tuple[Job, Summary]]) -> dict[str, dict[str, tuple[Job, Summary]]]:
    """World -> label -> result; the stopping rule is part of a label only where there are several."""
    rules = {job.trial.stopping for job, _ in results}
    worlds: dict[str, dict[str, tuple[Job, Summary]]] = {}
    for job, summary in results:
        trial = job.trial
        label = trial.method if len(rules) == 1 else f"{trial.method}, {trial.stopping}"
        worlds.setdefault(trial.world.name, {})[label] = (job, summary)
    return worlds


def _draw_comparisons(axes: Any, chosen: Mapping[str, tuple[Job, Summary]]) -> bool:
    """Distribution of comparisons to a decision: median, quartiles, and 10 to 90 %."""
    labels = list(chosen)[::-1]
    counts = [[ending.comparisons for ending in chosen[label][1].endings] for label in labels]
    axes.boxplot(counts, orientation="horizontal", whis=(10, 90), showfliers=False, tick_labels=labels)
    axes.set_xscale("log")
    axes.set_xlabel("comparisons to a decision (box: quartiles; whiskers: 10 to 90 % of the runs)")
    axes.grid(axis="x", alpha=0.3)
    return True


def _draw_selection(axes: Any, chosen: Mapping[str, tuple[Job, Summary]]) -> bool:
    """Share of runs whose leader is a right choice, against the comparisons made."""
    for label, (job, summary) in chosen.items():
        leads = np.array([ending.leads for ending in summary.endings], dtype=np.float64)
        axes.plot(job.budgets, leads.mean(axis=0), label=label)
    axes.set_xscale("log")
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("comparisons")
    axes.set_ylabel("probability of correct selection")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    return True


def _draw_evidence(axes: Any, chosen: Mapping[str, tuple[Job, Summary]]) -> bool:
    """Evidence as a share of what a decision needs, median and 10 to 90 %; False where no rule goes by it."""
    is_drawn = False
    for label, (job, summary) in chosen.items():
        paths = np.array([ending.progress for ending in summary.endings], dtype=np.float64)
        if paths.shape[1] == 0:
            continue
        low, middle, high = np.quantile(paths, (0.1, 0.5, 0.9), axis=0)
        (line,) = axes.plot(job.budgets, middle, label=label)
        axes.fill_between(job.budgets, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
        is_drawn = True
    if is_drawn:
        axes.set_xscale("log")
        axes.set_xlabel("comparisons")
        axes.set_ylabel("evidence / needed (band: 10 to 90 % of the runs)")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    return is_drawn


def _file_name(world: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", world)
