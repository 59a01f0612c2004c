"""`llmpo simulate`: runs methods in worlds whose true preferences are known."""

from __future__ import annotations

import itertools
import json as json_text
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from gateway.cli.printing import table_console
from gateway.cli.runs_progress import runs_progress
from gateway.cli.simulation_tables import methods_table, runs_table
from gateway.cli.world_options import AsJson, Costs, Delta, MaxShares, parsed_costs, parsed_shares
from gateway.llm_po.errors import LlmPoError
from gateway.llm_po.exposure import Caps
from gateway.llm_po.lab.simulate import METHODS, STOPPING_RULES, Summary, Trial
from gateway.llm_po.lab.traces import checkpoints
from gateway.llm_po.lab.trial import SPACES
from gateway.llm_po.lab.world_files import load_world
from gateway.llm_po.lines import elimination_threshold
from gateway.simulation.runner import Job, run_jobs
from gateway.simulation.state import StateFile

_FARTHEST: Final = 20  # without a budget, curves end at this many times hardness x log(1/delta)
_FARTHEST_UNKNOWN: Final = 10_000  # and here if nothing can be identified


def simulate_worlds(
    world: Annotated[
        list[Path],
        typer.Option(
            help='JSON file with "P", "scores", "features" and "theta", "grid", or "rates"; may be repeated. '
            'Beside "rates", "reported", "reported_failures", "delays", "hold", "wait", and "later" with '
            '"drift_units" say how outcomes arrive; they are then matched as in the gateway.'
        ),
    ],
    method: Annotated[
        list[str],
        typer.Option(help=f"One of: {', '.join(METHODS)}; may be repeated, or separated by commas."),
    ] = ["llm-po"],  # noqa: B006 - typer reads the default
    seeds: Annotated[int, typer.Option(min=1, help="Independent runs of each combination.")] = 200,
    delta: Delta = 0.05,
    epsilon: Annotated[float, typer.Option(help="Margin, in [0, 0.5); 0 looks for the winner.")] = 0.0,
    max_comparisons: Annotated[int | None, typer.Option(min=1, help="Budget of a run.")] = None,
    last_look: Annotated[
        bool,
        typer.Option("--last-look", help="Look once more at the end of the budget, with a lower line."),
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Fixes every run.")] = 0,
    stopping: Annotated[
        list[str], typer.Option(help=f"One of: {', '.join(STOPPING_RULES)}; may be repeated.")
    ] = ["e-process"],  # noqa: B006 - typer reads the default
    space: Annotated[
        str | None,
        typer.Option(
            help=f"What is assumed of preferences: {', '.join(SPACES)}; by default whatever the stopping "
            "rule needs. With e-process the structure only informs forecasts, and the promise stays exact."
        ),
    ] = None,
    promise: Annotated[
        str,
        typer.Option(
            help="With a margin, the promise about a promoted policy: no_worse_than_any other, or "
            "no_worse_than_best (the policy preferred to every other), which takes fewer comparisons."
        ),
    ] = "no_worse_than_any",
    costs: Costs = None,
    objective: Annotated[str, typer.Option(help="What to keep small: comparisons or cost.")] = "comparisons",
    incumbent: Annotated[
        int,
        typer.Option(
            min=0,
            help="Index of the policy that serves now. It wins ties in cost, and answers what the caps "
            "leave over.",
        ),
    ] = 0,
    max_shares: MaxShares = None,
    min_share: Annotated[
        float,
        typer.Option(help="Exposure cap: the smallest share of the units that the incumbent answers."),
    ] = 0.0,
    answers: Annotated[
        int,
        typer.Option(
            min=1, max=2, help="Policies of a pair that answer a unit, for caps: 1 matched, 2 side by side."
        ),
    ] = 1,
    in_flight: Annotated[int, typer.Option(min=0, help="Outcomes that are delayed at any time.")] = 0,
    refresh_every: Annotated[
        int | None,
        typer.Option(min=1, help="Comparisons between plans; every 2 % of those so far by default."),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(min=1, help="Processes at once; one per core by default. Results do not depend on it."),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            "--state",
            "--resume",
            help="Keep finished runs in this file, and continue from the runs already in it.",
        ),
    ] = None,
    plots: Annotated[Path | None, typer.Option(help="Draw PNG and SVG pictures into this directory.")] = None,
    json: AsJson = False,
) -> None:
    """Run methods in worlds many times: how long they take, and how often they are wrong."""
    try:
        loaded = [load_world(path) for path in world]
        stated: dict[str, Any] = {
            "delta": delta,
            "epsilon": epsilon,
            "max_comparisons": max_comparisons,
            "last_look": last_look,
            "in_flight": in_flight,
            "refresh_every": refresh_every,
            "space": space,
            "costs": parsed_costs(costs),
            "objective": objective,
            "promise": promise,
            "incumbent": incumbent,
        }
        has_caps = max_shares is not None or min_share > 0
        trials = [
            Trial(
                one,
                named,
                rule,
                **stated,
                caps=Caps(incumbent, parsed_shares(max_shares, one.policies), min_share, answers)
                if has_caps
                else None,
            )
            for one, named, rule in itertools.product(loaded, _listed(method), _listed(stopping))
        ]
        jobs = _jobs(trials, seeds, seed, with_curves=plots is not None)
        settings = {
            "--seeds": seeds,
            "--seed": seed,
            "--delta": delta,
            "--epsilon": epsilon,
            "--max-comparisons": max_comparisons,
            "--last-look": last_look or None,
            "--in-flight": in_flight,
            "--refresh-every": refresh_every,
            "--space": space,
            "--costs": costs,
            "--objective": None if objective == "comparisons" else objective,  # as before there was a choice
            "--promise": None if promise == "no_worse_than_any" else promise,
            "--incumbent": incumbent or None,
            "--max-shares": max_shares,
            "--min-share": min_share or None,
            "--answers": answers if has_caps else None,
            "--plots": plots is not None,
        }
        kept = None if state is None else StateFile(state, settings)
        with runs_progress(jobs) as on_batch:
            summaries = list(run_jobs(jobs, processes, kept, on_batch).values())
    except LlmPoError as error:
        raise typer.BadParameter(str(error)) from error
    _print(summaries, json)
    if plots is not None:
        from gateway.simulation.plots import draw  # noqa: PLC0415 - only where pictures are asked for

        for file in draw(plots, list(zip(jobs, summaries, strict=True))):
            typer.echo(f"wrote {file}", err=True)


def _jobs(trials: Sequence[Trial], seeds: int, seed: int, *, with_curves: bool) -> list[Job]:
    """The trials as jobs.

    Raises:
        BadParameter: If a trial would never end, or two trials have the same name.
    """
    jobs = []
    for trial in trials:
        _check_that_it_ends(trial)
        name = f"{trial.world.name}, {trial.method}, {trial.stopping}"
        jobs.append(Job(name, trial, seeds, seed, checkpoints(_farthest(trial)) if with_curves else ()))
    names = [job.name for job in jobs]
    twice = sorted({job.trial.world.name for job in jobs if names.count(job.name) > 1})
    if twice:
        raise typer.BadParameter(f'Two worlds are called {twice[0]!r}; give one another "name" in its file.')
    return jobs


def _farthest(trial: Trial) -> int:
    """The number of comparisons at which the curves of a trial end."""
    if trial.max_comparisons is not None:
        return trial.max_comparisons
    hardness = replace(trial, objective="comparisons").hardness  # curves always count comparisons
    if math.isfinite(hardness):
        return math.ceil(_FARTHEST * hardness * elimination_threshold(trial.delta))
    return _FARTHEST_UNKNOWN


def _listed(values: Sequence[str]) -> list[str]:
    """Values that were repeated or separated by commas, each once."""
    parts = (part.strip() for value in values for part in value.split(","))
    return list(dict.fromkeys(part for part in parts if part))


def _check_that_it_ends(trial: Trial) -> None:
    """Refuse a run without a margin and a budget if equals at the top could never be told apart."""
    world = trial.world
    best = (world.preferences >= world.preferences.T).all(axis=1)
    if trial.max_comparisons is None and trial.epsilon == 0 and world.champion is None and best.any():
        raise typer.BadParameter(
            f"In world {world.name!r} {int(best.sum())} policies are beaten by no other, and no number of "
            "comparisons tells equals apart: give --epsilon or --max-comparisons."
        )
    outcomes = world.outcomes
    if trial.max_comparisons is None and outcomes is not None and outcomes.hides_outcomes:
        raise typer.BadParameter(
            f"In world {world.name!r} a unit counts after {outcomes.hold} units, and until "
            f"{max(outcomes.delays)} some outcomes are not known: all that count are equal. Give a longer "
            '"hold", or --max-comparisons.'
        )


def _print(summaries: Sequence[Summary], json: bool) -> None:
    if json:
        values = [summary.to_json() for summary in summaries]
        typer.echo(json_text.dumps(values[0] if len(values) == 1 else values))
    elif len(summaries) == 1:
        table_console().print(runs_table(summaries[0]))
    else:
        table_console().print(methods_table(summaries))
