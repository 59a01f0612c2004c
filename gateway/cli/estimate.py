"""`llmpo estimate`: how long an experiment will take and what it will cost, before anything runs."""

from __future__ import annotations

import json as json_text
import os
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from pydantic import TypeAdapter, ValidationError
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table

from gateway.cli.printing import table_console
from gateway.cli.runs_progress import runs_progress
from gateway.config.experiments import ExperimentSpec
from gateway.config.gateway_file import GatewayConfig
from gateway.config.load import load_config
from gateway.config.values import Duration
from gateway.errors import ConfigError
from gateway.experiments.collecting import WAYS
from gateway.experiments.definitions import inference_of
from gateway.experiments.exposure import exposure_caps, exposure_issues
from gateway.experiments.judge import judge_issues, judged_models
from gateway.experiments.promises import promised
from gateway.experiments.structure import structure_of
from gateway.judging.estimating import JudgeEstimate, judge_estimate
from gateway.llm_po.exposure import Caps
from gateway.simulation.advice import advice
from gateway.simulation.estimate import EffectEstimate, estimate, estimate_jobs
from gateway.simulation.prospect import EFFECTS, EstimateError, Prospect
from gateway.upstream.prices import model_prices

_SUCCESS_RATE: Final = 0.8  # of ordinary policies, unless the operator says otherwise
_TIE_RATE: Final = 0.2  # of answers side by side
_DAY: Final = timedelta(days=1)
_LEAST_SHARE: Final = 1e-9  # a share of 0 is refused in words of its own
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
    )
    for name in _chosen(loaded, experiment):
        try:
            prospect = traffic.prospect(loaded, name)
        except EstimateError as error:
            raise typer.BadParameter(str(error)) from error
        with runs_progress(estimate_jobs(prospect, runs, seed)) as on_batch:
            forecasts = estimate(prospect, runs, seed, on_batch=on_batch)
        report = EstimateReport(prospect, forecasts, traffic.judge(loaded, name))
        reports.append(report.to_json())
        if not json:
            table_console(least_width=_WIDTH).print(report)
    if json:
        typer.echo(json_text.dumps(reports[0] if len(reports) == 1 else reports))


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
class ExpectedTraffic:
    """What an operator expects of traffic, feedback and costs, by the names of the options."""

    requests_per_day: float
    feedback_rate: float
    feedback_delay: str
    success_rate: float
    tie_rate: float | None
    cost_per_request: float | None
    prompt_tokens: int
    answer_tokens: int

    @property
    def shortest_delay(self) -> timedelta:
        """How long feedback takes; a longer `feedback.hold` takes its place.

        Raises:
            BadParameter: If the text is no duration.
        """
        try:
            delay: timedelta = TypeAdapter(Duration).validate_python(self.feedback_delay)
        except ValidationError as error:
            raise typer.BadParameter(
                f"--feedback-delay is {self.feedback_delay!r}; write it as 30s, 10m, 2h or 1d."
            ) from error
        return delay

    def prices(self, config: GatewayConfig, spec: ExperimentSpec) -> tuple[float, ...] | None:
        """Money per request of each policy, or None where the price of a model is not known."""
        models = [spec.policies[name].model for name in sorted(spec.policies)]
        if self.cost_per_request is not None:
            return (self.cost_per_request,) * len(models)
        known = model_prices(config.entry(model) for model in set(models))
        if not known.keys() >= set(models):
            return None
        return tuple(known[model].of(self.prompt_tokens, self.answer_tokens) for model in models)

    def judge(self, config: GatewayConfig, name: str) -> JudgeEstimate | None:
        """What the judge of an experiment compares and costs; None without one.

        Raises:
            ConfigError: If the judge cannot be used, or a price is not known.
        """
        spec = config.experiments[name]
        if spec.judge is None:
            return None
        prices = model_prices(config.entry(model) for model in judged_models(config))
        if issues := list(judge_issues(config)):
            raise ConfigError(issues)
        return judge_estimate(
            spec,
            prices,
            requests_per_day=self.requests_per_day,
            prompt_tokens=self.prompt_tokens,
            answer_tokens=self.answer_tokens,
        )

    def prospect(self, config: GatewayConfig, name: str) -> Prospect:
        """An experiment as it would run, with its policies in the order of their names."""
        spec = config.experiments[name]
        names, levels = sorted(spec.policies), spec.levels()
        structure = structure_of(inference_of(spec, names), names)
        way, ties_follow = WAYS[spec.traffic.collect], self.tie_rate is None
        if issues := list(exposure_issues(name, spec)):
            raise ConfigError(issues)
        declared, incumbent = exposure_caps(spec), names.index(spec.incumbent)
        judge = self.judge(config, name)
        paid = judge.compared_per_day if judge is not None and judge.is_evidence else None
        return Prospect(
            experiment=name,
            policies=len(names),
            incumbent=incumbent,
            costs=tuple(spec.policies[policy].cost for policy in names),
            delta=spec.delta,
            epsilon=spec.epsilon,
            way=way,
            share=spec.traffic.share,
            min_comparisons=spec.promotion.min_comparisons,
            min_days=spec.promotion.min_duration / _DAY,
            max_comparisons=spec.max_comparisons,
            units_per_day=self.requests_per_day
            if paid is None
            else paid / max(spec.traffic.share, _LEAST_SHARE),
            feedback_rate=self.feedback_rate if paid is None else 1.0,
            feedback_delay_days=max(self.shortest_delay, spec.feedback.hold or timedelta()) / _DAY,
            tie_rate=_TIE_RATE if self.tie_rate is None else self.tie_rate,
            success_rate=self.success_rate if way.rates_answers and ties_follow else None,
            prices=self.prices(config, spec) if paid is None else None,
            stopping=structure.stopping,
            features=structure.features,
            levels=tuple(tuple(levels[policy].values()) for policy in names) if levels else None,
            objective=structure.objective,
            promise=spec.promise,
            last_look=spec.last_look,
            caps=Caps(incumbent, declared.most(names), declared.least, declared.answers_per_unit)
            if declared.are_set
            else None,
        )


@dataclass(frozen=True, slots=True)
class EstimateReport:
    """The estimate for an experiment, for a program or a console."""

    prospect: Prospect
    forecasts: list[EffectEstimate]
    judge: JudgeEstimate | None = None

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
                _range(forecast.comparisons, forecast.horizon, 0),
                _range(forecast.days, forecast.horizon_days, 1),
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


def _range(values: dict[str, float | None], horizon: float, digits: int) -> str:
    low, middle, high = (
        f">{horizon:,.0f}" if values[name] is None else f"{values[name]:,.{digits}f}"
        for name in ("p10", "median", "p90")
    )
    return middle if low == high else f"{middle} ({low} - {high})"
