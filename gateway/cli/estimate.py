"""`llmpo estimate`: how long an experiment will take and what it will cost, before anything runs."""

from __future__ import annotations

import json as json_text
import os
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table

from gateway.cli.estimate_tables import SourceTable, with_range
from gateway.cli.expected_traffic import ExpectedTraffic, has_implicit
from gateway.cli.printing import table_console
from gateway.cli.runs_progress import runs_progress
from gateway.config.gateway_file import GatewayConfig
from gateway.config.load import load_config
from gateway.experiments.promises import promised
from gateway.judging.estimating import JudgeEstimate
from gateway.simulation.advice import advice
from gateway.simulation.by_source import EFFECT, SourceEstimate, estimate_by_source, scenarios
from gateway.simulation.estimate import EffectEstimate, estimate, estimate_jobs
from gateway.simulation.prospect import EFFECTS, EstimateError, Prospect

_SUCCESS_RATE: Final = 0.8  # of ordinary policies, unless the operator says otherwise
_AGREEMENT: Final = 0.8
_WIDTH: Final = 96  # columns: a narrower table would break its lines


def estimate_experiment(
    config: Annotated[Path, typer.Option(help="The YAML file, as for `llmpo serve`.")],
    requests_per_day: Annotated[
        float, typer.Option(help="Requests to the experiment a day; sessions where the unit is a session.")
    ],
    feedback_rate: Annotated[
        float,
        typer.Option(
            help="Share of the answers that get feedback, or are asked again, in (0, 1]; "
            "no effect with `shadow`."
        ),
    ],
    implicit_rate: Annotated[
        float | None,
        typer.Option(
            help="Share of the answers with an implicit signal, in (0, 1]; --feedback-rate is then only "
            "about what users say."
        ),
    ] = None,
    agreement: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Share of the pairs about which a source that only informs agrees with people."
        ),
    ] = _AGREEMENT,
    experiment: Annotated[
        str | None, typer.Option(help="One experiment of the file; all of them by default.")
    ] = None,
    feedback_delay: Annotated[
        str, typer.Option(help="How long feedback takes, such as 30s, 10m, 2h.")
    ] = "10m",
    success_rate: Annotated[
        float,
        typer.Option(help="If answers are rated: share of good ones; two units with equal outcomes tie."),
    ] = _SUCCESS_RATE,
    tie_rate: Annotated[
        float | None,
        typer.Option(
            help="Share of comparisons that are ties; by default it follows from the other options."
        ),
    ] = None,
    cost_per_request: Annotated[
        float | None,
        typer.Option(min=0, help="Cost of one answer; by default computed from the model's prices."),
    ] = None,
    prompt_tokens: Annotated[int, typer.Option(min=0, help="Tokens of a request, for the prices.")] = 500,
    answer_tokens: Annotated[int, typer.Option(min=0, help="Tokens of an answer, for the prices.")] = 300,
    runs: Annotated[int | None, typer.Option(min=1, help="Simulated runs per effect.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Fixes every run.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Simulate an experiment of a configuration: comparisons, days and money to a decision."""
    loaded = load_config(config, os.environ, may_be_unset=True)  # no provider is called
    reports = []
    traffic = ExpectedTraffic(
        requests_per_day,
        feedback_rate,
        feedback_delay,
        success_rate,
        tie_rate,
        cost_per_request,
        prompt_tokens,
        answer_tokens,
        implicit_rate,
    )
    names = _chosen(loaded, experiment)
    if implicit_rate is not None and not any(has_implicit(loaded.experiments[name]) for name in names):
        raise typer.BadParameter("Nothing that users do is compared; leave --implicit-rate out.")
    for name in names:
        try:
            report = _report(loaded, name, traffic, agreement, runs, seed)
        except EstimateError as error:
            raise typer.BadParameter(str(error)) from error
        reports.append(report.to_json())
        if not json:
            table_console(least_width=_WIDTH).print(report)
    if json:
        typer.echo(json_text.dumps(reports[0] if len(reports) == 1 else reports))


def _report(
    loaded: GatewayConfig,
    name: str,
    traffic: ExpectedTraffic,
    agreement: float,
    runs: int | None,
    seed: int,
) -> EstimateReport:
    """The estimate for one experiment. Raises EstimateError."""
    prospect, prior = traffic.prospect(loaded, name), loaded.experiments[name].prior
    with runs_progress(estimate_jobs(prospect, runs, seed)) as on_batch:
        forecasts = estimate(prospect, runs, seed, on_batch=on_batch)
    medium = next(forecast for forecast in forecasts if forecast.effect == EFFECT)
    wanted = scenarios(prospect, traffic.sources(loaded, name), medium, agreement)
    with runs_progress([each.job(runs, seed) for each in wanted if each.known is None]) as on_batch:
        by_source = estimate_by_source(wanted, runs, seed, on_batch=on_batch)
    return EstimateReport(
        *(prospect, forecasts, by_source, agreement, traffic.judge(loaded, name)),
        has_earlier=prior is not None and prior.earlier,
    )


def _chosen(loaded: GatewayConfig, experiment: str | None) -> list[str]:
    names = list(loaded.experiments)
    if not names:
        raise typer.BadParameter("The file has no experiments; add one under `experiments`.")
    if experiment is not None and experiment not in names:
        near = get_close_matches(experiment, names, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(names)}."
        raise typer.BadParameter(f"The file has no experiment {experiment!r}. {hint}")
    return names if experiment is None else [experiment]


@dataclass(frozen=True, slots=True)
class EstimateReport:
    """The estimate for an experiment, for a program or a console."""

    prospect: Prospect
    forecasts: list[EffectEstimate]
    by_source: list[SourceEstimate]
    agreement: float
    judge: JudgeEstimate | None = None
    has_earlier: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        prospect = self.prospect
        return {
            "experiment": prospect.experiment,
            "policies": prospect.policies,
            "delta": prospect.delta,
            "epsilon": prospect.epsilon,
            "promise": promised(prospect.epsilon, prospect.promise),
            "collect": prospect.way.name,
            "comparisons_per_day": prospect.comparisons_per_day,
            "in_flight": prospect.in_flight,
            "tie_rate": 1 - prospect.decisive_share("medium"),
            "effects": [forecast.to_json() for forecast in self.forecasts],
            "agreement": self.agreement,
            "sources": [each.to_json() for each in self.by_source],
            "advice": advice(prospect, self.forecasts),
            **({} if self.judge is None else {"judge": self.judge.to_json()}),
        }

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        prospect = self.prospect
        ties = 1 - prospect.decisive_share("medium")
        yield (
            f"{prospect.experiment}: {prospect.policies} policies, {prospect.way.name}, epsilon "
            f"{prospect.epsilon:g} ({promised(prospect.epsilon, prospect.promise).replace('_', ' ')}); "
            f"{prospect.comparisons_per_day:.1f} comparisons a day, about {ties:.0%} "
            f"of them ties; {prospect.in_flight} wait for feedback at any time."
        )
        yield self.table()
        if self.by_source[1:]:
            yield SourceTable(self.by_source, self.agreement)
        if self.has_earlier:
            yield (
                "What the generation before counted informs as well. It is in the store, and no part of this."
            )
        if self.judge is not None:
            yield self.judge.sentence
        elif prospect.prices is None:
            yield "No cost: the price of a model is not known; give --cost-per-request."
        for sentence in advice(prospect, self.forecasts):
            yield f"- {sentence}"

    def table(self) -> Table:
        """One line per effect; its comparisons and days with the range of 10 to 90 % of the runs."""
        prospect = self.prospect
        table = Table("effect", "best preferred", box=None, pad_edge=False)
        headings = ["comparisons", "days"]
        headings += [] if prospect.caps is None else ["without caps"]
        headings += [] if prospect.prices is None else ["cost", "extra"]
        for heading in headings:
            table.add_column(heading, justify="right", no_wrap=True)
        for forecast in self.forecasts:
            cells = [
                with_range(forecast.comparisons, forecast.horizon, 0),
                with_range(forecast.days, forecast.horizon_days, 1),
            ]
            if forecast.without_caps is not None:
                days = forecast.without_caps.days["median"]
                cells.append(f">{forecast.horizon_days:,.0f}" if days is None else f"{days:,.1f}")
            money = (amounts for amounts in (forecast.money, forecast.extra_money) if amounts is not None)
            medians = (amounts["median"] for amounts in money)
            cells += ["-" if median is None else f"{median:,.2f}" for median in medians]
            table.add_row(forecast.effect, self.preferred(forecast.effect), *cells)
        table.caption = "median (10 to 90 % of the runs)"
        table.caption_justify = "left"
        return table

    def preferred(self, effect: str) -> str:
        """How often the best policy is preferred; if outcomes are good or bad, also the success rates."""
        if effect == "none":
            return "equal"
        preferred = f"{EFFECTS[effect]:.0%}"
        if self.prospect.success_rate is None:
            return preferred
        best = self.prospect.best_success_rate(effect)
        return f"{preferred} ({self.prospect.success_rate:.0%} -> {best:.0%})"
