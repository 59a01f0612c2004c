"""The results of simulated runs, as tables for a console."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from gateway.llm_po.lab.simulate import Summary


def runs_table(summary: Summary) -> Table:
    """The figures of one method in one world."""
    values = summary.to_json()
    title = f"{values['method']} with {values['stopping']} in {values['world']}"
    table = Table(title=title, show_header=False)
    table.add_row("runs", str(values["seeds"]))
    mean, stderr = values["mean_comparisons"], values["stderr"]
    table.add_row("comparisons", f"{mean:.1f} ± {stderr:.1f} (standard error)")
    if "answered" in values:
        table.add_row("units taking part", f"{values['mean_units']:.1f}")
        table.add_row("answered by each policy", ", ".join(f"{share:.1%}" for share in values["answered"]))
    unit = "comparisons"
    if "mean_cost" in values:
        unit = "of cost"
        table.add_row("cost", f"{values['mean_cost']:.4g}")
    if values["ratio"] is not None:
        table.add_row("hardness", f"{values['hardness']:.1f} {unit} per nat")
        table.add_row("times hardness x log(1/delta)", f"{values['ratio']:.2f}")
    table.add_row("ended", _ended(values))
    promise = f"promised: at most {values['delta']:.1%} of the runs"
    table.add_row("wrong promotions", f"{values['wrong']} ({promise})")
    return table


def methods_table(summaries: Sequence[Summary]) -> Table:
    """Several methods or worlds, one line each."""
    table = Table(
        box=None, pad_edge=False, caption="x T: times hardness x log(1/delta)", caption_justify="left"
    )
    for heading in ("world", "method", "stopping"):
        table.add_column(heading, overflow="fold")
    for heading in ("comparisons", "x T", "wrong"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("ended")
    for summary in summaries:
        values = summary.to_json()
        ratio = "-" if values["ratio"] is None else f"{values['ratio']:.2f}"
        table.add_row(
            *(values["world"], values["method"], values["stopping"]),
            f"{values['mean_comparisons']:.0f} ± {values['stderr']:.0f}",
            ratio,
            f"{values['wrong']} of {values['seeds']}",
            _ended(values),
        )
    return table


def _ended(values: dict[str, Any]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in values["outcomes"].items() if count)
