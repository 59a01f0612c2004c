"""Parts of the estimate for a console: ranges of runs, and what each source of comparisons is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table

from gateway.simulation.by_source import SourceEstimate
from gateway.simulation.prospect import EFFECTS


@dataclass(frozen=True, slots=True)
class SourceTable:
    """One line for each source, and for all of them.

    Attributes:
        estimates: What the experiment takes with each.
        agreement: About which share of the pairs a source that informs agrees with people.
    """

    estimates: Sequence[SourceEstimate]
    agreement: float

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        effect = self.estimates[0].forecast.effect
        yield (
            f"By source, for a {effect} effect ({EFFECTS[effect]:.0%}): what is evidence, by itself and "
            "together; and what only informs, beside all the evidence, if it agrees with people about "
            f"{self.agreement:.0%} of the pairs."
        )
        table = Table("source", "counts as", box=None, pad_edge=False)
        for heading in ("a day", "comparisons", "days", "cost", "judge"):
            table.add_column(heading, justify="right", no_wrap=True)
        for each in self.estimates:
            table.add_row(*_cells(each))
        yield table


def _cells(each: SourceEstimate) -> list[str]:
    about, forecast = each.scenario.about, each.forecast
    cost = None if forecast.money is None else forecast.money["median"]
    if about is None:
        kind, a_day = ("evidence" if each.scenario.known is not None else "", "")
    else:
        kind = "evidence" if about.is_evidence else "informs"
        a_day = f"{about.per_day:,.1f}" if about.per_day else f"{about.beforehand:,} before"
    return [
        each.scenario.name,
        kind,
        a_day,
        with_range(forecast.comparisons, forecast.horizon, 0),
        with_range(forecast.days, forecast.horizon_days, 1),
        *(f"{usd:,.2f}" if usd else "-" for usd in (cost, each.judge_usd)),
    ]


def with_range(values: dict[str, float | None], horizon: float, digits: int) -> str:
    """The median of the runs and, if they differ, the range from 10 to 90 %."""
    low, middle, high = (
        f">{horizon:,.0f}" if values[name] is None else f"{values[name]:,.{digits}f}"
        for name in ("p10", "median", "p90")
    )
    return middle if low == high else f"{middle} ({low} - {high})"
