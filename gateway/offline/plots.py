"""Pictures of a run: evidence on its way to the line, and who was preferred to whom. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gateway.llm_po.evidence import Ledger, Tally
from gateway.llm_po.stopping import Design, progress
from gateway.llm_po.wins import FloatArray, pair_rates, pair_totals
from gateway.offline.course import as_result
from gateway.plotting import pyplot, save
from policy_store.models import Comparison, Experiment, LogRecord

POINTS = 200
_MOST_LABELS = 24


@dataclass(frozen=True, slots=True, eq=False)
class EvidencePath:
    """Evidence as it grew.

    Attributes:
        comparisons: Shape (T,), how many had been counted.
        nats: Shape (T, K), evidence per policy; see `stopping.progress`.
        needed: Nats at the line.
        tally: What was counted in the end.
    """

    comparisons: FloatArray
    nats: FloatArray
    needed: float
    tally: Tally


def evidence_path(experiment: Experiment, records: Sequence[LogRecord]) -> EvidencePath:
    """Replay a log, noting the evidence now and then."""
    counted = [record for record in records if isinstance(record, Comparison)]
    design = Design(experiment.delta, experiment.epsilon, experiment.incumbent, experiment.costs)
    ledger = Ledger(design.policies, design.delta, design.epsilon)
    noted = set(np.linspace(0, len(counted), POINTS, dtype=int).tolist())
    numbers, nats = [0], [progress(ledger.tally(), design)[0]]
    for number, one in enumerate(counted, start=1):
        forecast = one.probability_millionths if one.plan_version else None
        ledger.count(one.first, one.second, as_result(one.result), forecast)
        if number in noted:
            numbers.append(number)
            nats.append(progress(ledger.tally(), design)[0])
    needed = float(progress(ledger.tally(), design)[1][0])
    return EvidencePath(np.array(numbers, dtype=float), np.stack(nats), needed, ledger.tally())


def draw_plots(directory: Path, experiment: Experiment, records: Sequence[LogRecord]) -> tuple[str, ...]:
    """Write both pictures; the names of the PNG files.

    Raises:
        PlotError: If matplotlib is not installed.
    """
    plt = pyplot()
    path = evidence_path(experiment, records)
    for name, figure in (
        ("evidence", _evidence_figure(plt, experiment, path)),
        ("preferences", _preferences_figure(plt, experiment, path.tally)),
    ):
        save(figure, directory / name)
        plt.close(figure)
    return "evidence.png", "preferences.png"


def _evidence_figure(plt: Any, experiment: Experiment, path: EvidencePath) -> Any:
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for policy, name in enumerate(experiment.policies):
        axes.plot(path.comparisons, path.nats[:, policy], label=name)
    axes.axhline(path.needed, color="black", linestyle="--", label="the line")
    axes.set_xlabel("comparisons")
    meaning = "that it is not the winner" if experiment.epsilon == 0 else "that no policy beats it"
    axes.set_ylabel(f"evidence {meaning} (nats)")
    if len(experiment.policies) <= _MOST_LABELS:
        axes.legend(fontsize="small")
    return figure


def _preferences_figure(plt: Any, experiment: Experiment, tally: Tally) -> Any:
    size = len(experiment.policies)
    rates, totals = pair_rates(tally.wins), pair_totals(tally.wins)
    shown = np.where(totals > 0, rates, np.nan)
    figure, axes = plt.subplots(figsize=(2 + size * 0.7, 1.5 + size * 0.6), layout="constrained")
    image = axes.imshow(shown, vmin=0, vmax=1, cmap="RdYlGn")
    axes.set_xticks(range(size), experiment.policies, rotation=45, ha="right")
    axes.set_yticks(range(size), experiment.policies)
    axes.set_title("share of comparisons in which the row was preferred")
    if size <= _MOST_LABELS:
        for row, column in np.argwhere(totals > 0):
            text = f"{rates[row, column]:.2f}\n{totals[row, column]}"
            axes.text(column, row, text, ha="center", va="center", fontsize=7)
    figure.colorbar(image)
    return figure
